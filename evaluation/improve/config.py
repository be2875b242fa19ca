"""The section `improve`: the commands of a round, and what it is measured on."""

import re
import shlex
from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, model_validator

from prewrite.base.config import Location, Recipe, Section, WrittenLocation, near, refuse
from prewrite.evaluation.command_steps import READS
from prewrite.evaluation.improve.guards import PartName
from prewrite.evaluation.improve.state import PARTS

PLACE = re.compile(r"\{([a-z_]+(?:\.[a-z0-9_]+)?)\}")
"""A placeholder in a command."""

MAKING = ("number", "round", "made", "sets", "from", "to", *PARTS)
MEASURING = ("model", "measured")

Command = Annotated[str, Field(min_length=1)]


class PartConfig(Section):
    """One of the three models that rounds improve."""

    start: Location = Field(description="the model before the first round")
    make: list[Command] = Field(
        min_length=1,
        description="commands that make a candidate, without `prewrite`; the last one leaves it in "
        "`{made}/model`, as `train … train.output={made}` does",
    )
    measure: list[Command] = Field(
        min_length=1,
        description="commands that measure the model `{model}` on the anchor, the last one into "
        "`{measured}`: a judge report, a scored set, or an evaluation",
    )


class ImproveConfig(Section):
    """Rounds of improvement."""

    judge: PartConfig = Field(description="the judge: commands that make and measure it")
    rewriter: PartConfig = Field(description="the rewriter")
    policy: PartConfig = Field(description="the policy, which all of it is for")
    anchor: dict[str, Location] = Field(
        {},
        description="name → a set, a file or a model that candidates are measured with and never "
        "trained on; commands of `measure` have it as `{anchor.NAME}`",
    )
    last_anchor: dict[str, Location] = Field(
        {},
        description="a second anchor with the same names, which is opened once, after the last "
        "round",
    )
    documents: list[float] = Field(
        [0.0, 1.0],
        min_length=2,
        max_length=2,
        description="the rounds' part of all documents, as `input.share`; each round has an equal "
        "slice of it, `{from}` to `{to}`",
    )
    rounds: int = Field(ge=1, description="rounds, at most")
    comparisons: int = Field(
        ge=1,
        description="comparisons that are planned, at least three a round; each has its share of "
        "the error of 5 %",
    )
    gain: float = Field(
        gt=0,
        le=1,
        description="the smallest mean gain that a gate is to find in four of five cases; it says "
        "how many documents an anchor needs",
    )
    output: WrittenLocation = Field(description="folder of the rounds, on a local disk")

    @model_validator(mode="after")
    def _anchored(self) -> "ImproveConfig":
        for key in ("anchor", "last_anchor"):
            if not getattr(self, key):
                raise refuse(
                    f"{key}: found none; accepted: what candidates are measured with and never "
                    "trained on, as {texts: data/anchor, judge: models/anchor-judge}"
                )
        if self.anchor.keys() != self.last_anchor.keys():
            raise refuse(
                f"last_anchor: found {', '.join(self.last_anchor)}; accepted: the names of anchor, "
                f"{', '.join(self.anchor)}"
            )
        return self

    @model_validator(mode="after")
    def _planned(self) -> "ImproveConfig":
        if self.comparisons < (most := self.rounds * len(PARTS)):
            raise refuse(
                f"comparisons: found {self.comparisons}; accepted with {self.rounds} rounds: at "
                f"least {most}, {len(PARTS)} a round"
            )
        first, last = self.documents
        if not 0 <= first < last <= 1:
            raise refuse(
                f"documents: found [{first:g}, {last:g}]; accepted: two numbers from 0 to 1, the "
                "first one smaller"
            )
        return self

    @model_validator(mode="after")
    def _commands_known(self) -> "ImproveConfig":
        for name in PARTS:
            part = self.part(name)
            for number, line in enumerate(part.make):
                refuse_command(f"{name}.make.{number}", line, MAKING)
            anchors = tuple(f"anchor.{one}" for one in self.anchor)
            for number, line in enumerate(part.measure):
                refuse_command(f"{name}.measure.{number}", line, (*MEASURING, *anchors))
            _refuse_absent(f"{name}.make", part.make, "{made}")
            for needed in ("{model}", "{measured}", "{anchor."):
                _refuse_absent(f"{name}.measure", part.measure, needed)
        for number, line in enumerate(self.policy.make):
            if "train.model.path={policy}" in line:
                raise refuse(
                    f"policy.make.{number}: found train.model.path={{policy}}; accepted: the same "
                    "base in every round, for it learns from the sets of all rounds so far"
                )
        return self

    def part(self, name: PartName) -> PartConfig:
        """The part called `name`."""
        found: PartConfig = getattr(self, name)
        return found

    def slice(self, number: int) -> tuple[float, float]:
        """The documents of a round, from 1."""
        first, last = self.documents
        ends = [first + (last - first) * at / self.rounds for at in (number - 1, number)]
        return round(ends[0], 9), round(ends[1], 9)


class ImproveRecipe(Recipe):
    """What `prewrite improve` reads."""

    improve: ImproveConfig


def split(line: str) -> tuple[str, str, list[str]] | None:
    """Command, recipe and overrides of a command line; None where it is none."""
    try:
        words = shlex.split(line)
    except ValueError:
        return None
    if "--config" not in words[1:-1]:
        return None
    at = words.index("--config")
    return " ".join(words[:at]), words[at + 1], words[at + 2 :]


def refuse_command(key: str, line: str, places: tuple[str, ...]) -> None:
    """Refuse what is no command that may be a step, or has an unknown placeholder."""
    found = split(line)
    if found is None:
        raise refuse(f"{key}: found '{line}'; accepted: COMMAND --config FILE key.sub=value …")
    if found[0] not in READS:
        raise refuse(
            f"{key}: found the command '{found[0]}';{near(found[0], READS)} accepted: "
            f"{', '.join(READS)}"
        )
    for name in placeholders(line):
        if name not in places:
            accepted = ", ".join(f"{{{one}}}" for one in places)
            raise refuse(f"{key}: found {{{name}}}; accepted: {accepted}")


def placeholders(line: str) -> Iterator[str]:
    """The names between curly brackets."""
    return (found[1] for found in PLACE.finditer(line))


def _refuse_absent(key: str, lines: list[str], needed: str) -> None:
    if not any(needed in line for line in lines):
        shown = "{anchor.NAME}" if needed.startswith("{anchor") else needed
        raise refuse(f"{key}: found no {shown}; accepted: commands that use it")
