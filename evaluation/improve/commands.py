"""The commands of a round, with the placeholders of the recipe filled in."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from prewrite.evaluation.command_steps import CommandStep
from prewrite.evaluation.improve.config import PLACE, ImproveConfig, split
from prewrite.evaluation.improve.guards import PartName
from prewrite.evaluation.improve.state import PARTS, RoundState


def made(config: ImproveConfig, number: int, part: PartName) -> str:
    """The folder of a candidate."""
    return f"{config.output}/round-{number}/{part}"


def making(
    config: ImproveConfig,
    number: int,
    part: PartName,
    models: Mapping[PartName, str],
    good: Sequence[int],
) -> list[CommandStep]:
    """The commands that make the candidate of a part. models: what it is made with; good: earlier
    rounds whose sets count.
    """
    first, last = config.slice(number)
    rounds = [f"{config.output}/round-{one}" for one in (*good, number)]
    values: dict[str, str] = {
        "number": str(number),
        "round": f"{config.output}/round-{number}",
        "made": made(config, number, part),
        "sets": json.dumps([{"set": f"{one}/set"} for one in rounds]),
        "from": f"{first:g}",
        "to": f"{last:g}",
    }
    values |= {name: model for name, model in models.items()}
    return [*_filled(f"round-{number}.{part}", config.part(part).make, values)]


def measuring(
    config: ImproveConfig, part: PartName, model: str, measured: str, anchor: Mapping[str, str]
) -> list[CommandStep]:
    """The commands that measure a model. measured: where the last one leaves what it found."""
    values = {"model": model, "measured": measured}
    values |= {f"anchor.{name}": place for name, place in anchor.items()}
    name = f"measured.{Path(measured).parent.name}.{Path(measured).name}"
    return [*_filled(name, config.part(part).measure, values)]


def upcoming(config: ImproveConfig, state: RoundState) -> Iterator[CommandStep]:
    """All commands of the round that is next or under way, as far as it is known now: with the
    models of today.
    """
    models = {name: one.model for name, one in state.models.items()}
    for part in PARTS[PARTS.index(state.part) :]:
        yield from making(config, state.round, part, models, state.good)
        for name in ("candidate", "incumbent"):
            folder = made(config, state.round, part)
            model = f"{folder}/model" if name == "candidate" else models[part]
            where = f"{config.output}/measured/anchor/{part}-{name}"
            yield from measuring(config, part, model, where, config.anchor)


def shown(step: CommandStep) -> str:
    """A step as a person would type it."""
    return f"prewrite {shlex.join(step.arguments)}"


def _filled(name: str, lines: Sequence[str], values: Mapping[str, str]) -> Iterator[CommandStep]:
    for number, line in enumerate(lines, 1):
        found = split(line)
        assert found, "the recipe refuses others"
        command, path, overrides = found
        filled = [PLACE.sub(lambda one: values[one[1]], word) for word in (path, *overrides)]
        yield CommandStep(f"{name}.{number}", command, filled[0], filled[1:])
