"""What is refused before anything runs: every command of every round is read as its command would,
and held against the rules of the rounds.
"""

from collections.abc import Mapping

from prewrite.base.apart import lies_in
from prewrite.base.config import Recipe, load
from prewrite.base.errors import ConfigError
from prewrite.evaluation.command_steps import CommandStep, Plain
from prewrite.evaluation.improve import anchor as anchors
from prewrite.evaluation.improve.commands import making, measuring
from prewrite.evaluation.improve.config import ImproveConfig
from prewrite.evaluation.improve.guards import PartName
from prewrite.evaluation.improve.human import refuse_little_human
from prewrite.evaluation.improve.slices import DocumentsRead, documents_read, refuse_again
from prewrite.evaluation.improve.state import PARTS, PartModels

CommandRecipes = Mapping[str, type[Recipe]]
"""Command → the recipe that it reads."""


def refuse_anchors(config: ImproveConfig, start: PartModels) -> None:
    """ConfigError for an anchor that is not there, has too few documents, or descends from what it
    judges; InputError for one that a model at the start has learnt from.
    """
    for key, anchor in ((anchors.FIRST, config.anchor), (anchors.LAST, config.last_anchor)):
        anchors.digests(key, anchor)
        anchors.refuse_kin(key, anchor, start)
        anchors.refuse_few_documents(key, anchor, config.comparisons, config.gain)
        for part, one in start.items():
            anchors.refuse_learnt(key, anchor, part, one.model)
    anchors.refuse_shared(config.anchor, config.last_anchor)


def refuse_commands(config: ImproveConfig, known: CommandRecipes) -> None:
    """ConfigError for a command that would be refused in any round, or breaks a rule of the rounds;
    InputError for labels that may not be learnt from. known: the recipes of all commands that may
    be steps.
    """
    models = {part: config.part(part).start for part in PARTS}
    read = list[DocumentsRead]()
    for number in range(1, config.rounds + 1):
        for part in PARTS:
            for step in making(config, number, part, models, range(1, number)):
                recipe = _read(step, known)
                _refuse_anchor(step, part, recipe, config)
                if step.command == "train":
                    refuse_little_human(step.name, recipe.train)
                read += documents_read(number, step, recipe, config.output)
    refuse_again(read)
    for part in PARTS:
        folder = f"{config.output}/measured/anchor/{part}"
        for step in measuring(config, part, models[part], folder, config.anchor):
            _read(step, known)


def _read(step: CommandStep, known: CommandRecipes) -> Plain:
    """The recipe of a step; ConfigError where its command would refuse it, naming the step."""
    try:
        load(known[step.command], step.config, step.overrides)
        return load(Plain, step.config, step.overrides)
    except ConfigError as error:
        raise ConfigError(f"{step.name} ({step.command}): {error}") from None


def _refuse_anchor(step: CommandStep, part: PartName, recipe: Plain, config: ImproveConfig) -> None:
    """Refuse an anchor among what is trained on, and what its judge has labelled."""
    sets = [one["set"] for one in recipe.train.get("data", [])] if step.command == "train" else []
    labels = recipe.train.get("task", {}).get("kind") == "judge"
    for key in (anchors.FIRST, anchors.LAST):
        for one in sets if labels else ():
            anchors.refuse_labelled(key, getattr(config, key), part, one, step.name)
        for name, place in getattr(config, key).items():
            if any(lies_in(one, place) for one in sets):
                raise ConfigError(
                    f"{step.name}: found improve.{key}.{name}, {place}, under train.data; "
                    "accepted: sets that are no anchor"
                )
