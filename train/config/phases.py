"""Phases of the curriculum: what each learns from, and when it ends."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from prewrite.base.config import Section, refuse, refuse_value

BASE = ("original", "rewrite")
"""The texts of every set."""

KINDS = (*BASE, "rollout")
"""The kinds of candidates of every recipe, by their numbers; further rewrites that a recipe names
come after them (`TrainConfig.kinds`)."""


def _stored(name: str) -> str:
    if name not in BASE and not re.fullmatch(r"rewrite_[a-z][a-z0-9_]*", name):
        raise refuse_value(name, f"{', '.join(BASE)}, or rewrite_<name> of a set of templates")
    return name


def _any_kind(name: str) -> str:
    if name == "rollout":
        return name
    try:
        return _stored(name)
    except PydanticCustomError:
        accepted = f"{', '.join(BASE)}, rollout, or rewrite_<name> of a set of templates"
        raise refuse_value(name, accepted) from None


Stored = Annotated[str, AfterValidator(_stored)]
"""A candidate that shards hold."""

Kind = Annotated[str, AfterValidator(_any_kind)]
"""One of those, or what the policy samples in the online phase."""


class _Component(Section):
    kind: str
    weight: float = Field(1.0, gt=0, description="weight of this objective in the sum")

    @property
    def name(self) -> str:
        """What metrics call it."""
        return self.kind


class Nll(_Component):
    """Next-token loss on one kind of candidate."""

    kind: Literal["nll"] = Field(description="next-token loss on one text")
    text: Stored = Field("original", description="which text is learnt")

    @property
    def name(self) -> str:
        """What metrics call it: one phase may learn several kinds."""
        return f"nll_{self.text}"


class RfNll(_Component):
    """Next-token loss on the candidate with the highest score."""

    kind: Literal["rf_nll"] = Field(
        description="next-token loss on the text with the highest score"
    )


class Dpo(_Component):
    """The highest-scoring candidate against the lowest."""

    kind: Literal["dpo"] = Field(
        description="the text with the highest score against that with the lowest"
    )
    beta: float = Field(0.1, gt=0, description="strength of the reference")
    normalise: bool = Field(False, description="divide log-probabilities by the number of tokens")
    reference: Literal["frozen", "stored"] = Field(
        "frozen", description="a second model in memory, or what `prewrite train reference` stored"
    )


class Grpo(_Component):
    """All candidates of a cut point, each by its advantage."""

    kind: Literal["grpo"] = Field(description="every text, weighted by its score above the mean")
    variant: Literal["dr_grpo", "grpo"] = Field(
        "dr_grpo",
        description="advantages as they are and one divisor for all lengths; or divided by the "
        "pool's standard deviation and by the text's length",
    )
    tokens: int = Field(
        128, ge=1, description="what sums over a text's tokens are divided by; for `dr_grpo`"
    )
    ratio_cap: float = Field(
        2.0,
        ge=1,
        description="largest weight of a rollout token that is likelier now than when it was "
        "sampled",
    )
    kl: float = Field(
        0.0,
        ge=0,
        description="strength of the frozen reference: so much of a rollout's score is taken for "
        "each nat that it is likelier under the policy than under the reference",
    )


Objective = Annotated[Nll | RfNll | Dpo | Grpo, Field(discriminator="kind")]


ObjectiveName = Literal["nll", "rf_nll", "dpo", "grpo"]
Written = Objective | ObjectiveName | list[Objective | ObjectiveName]
"""An objective, as a recipe has it."""


def _components(value: Any) -> Any:
    """`nll`, `{kind: dpo}` and lists of both: a list of mappings."""
    items = value if isinstance(value, list) else [value]
    return [{"kind": item} if isinstance(item, str) else item for item in items]


class Plateau(Section):
    """A phase ends sooner when its loss no longer falls."""

    steps: int = Field(
        ge=1, description="steps in each of the two windows whose mean losses are compared"
    )
    improvement: float = Field(
        0.01, ge=0, description="the phase ends when the loss falls by less than this share"
    )


class Until(Section):
    """When a phase ends: at a step or a sample, counted from the start of the run, or sooner."""

    step: int | None = Field(
        None,
        ge=1,
        description="the phase ends when the run has made so many steps; this or `samples`",
    )
    samples: int | None = Field(
        None, ge=1, description="the phase ends when the run has consumed so many samples"
    )
    plateau: Plateau | None = Field(None, description="sooner, when the loss no longer falls")
    reward: float | None = Field(
        None,
        gt=0,
        le=1,
        description="sooner, when a prompted task's rollouts on `train.rollouts.probe` earn so "
        "much on average",
    )
    win_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="sooner, when rollouts win so often against the stored texts of "
        "`train.rollouts.probe`",
    )

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (self.step is None) == (self.samples is None):
            found = "neither step nor" if self.step is None else "both step and"
            raise refuse(f"step: found {found} samples; accepted: one of them")
        return self


class Phase(Section):
    """One phase of the curriculum.

    Each objective is named once, `nll` once for each text.
    """

    name: str = Field(
        pattern=r"^[a-z0-9_-]+$",
        description="name of the phase in logs: small letters, digits, `_`, `-`",
    )
    objective: Annotated[
        list[Objective], BeforeValidator(_components, json_schema_input_type=Written)
    ] = Field(
        min_length=1,
        description="a name (`nll`), a mapping (`{kind: dpo, beta: 0.2}`), or a list of both, "
        "which is a weighted sum",
    )
    candidates: list[Kind] = Field(
        [],
        validate_default=True,
        description="texts that are laid out: `original`, `rewrite`, `rewrite_<name>` of a set of "
        "templates, `rollout`; empty: of original and rewrite those that the objective learns "
        "from; with `rollout` the phase is online",
    )
    filter: str | None = Field(
        None,
        description="in this phase, only chunks for which this condition holds, besides "
        "`train.data.filter`",
    )
    until: Until
    learning_rate: Literal["continue", "restart"] = Field(
        "continue", description="go on with the schedule, or start it anew with a warm-up"
    )

    @field_validator("candidates")
    @classmethod
    def _needed(cls, candidates: list[Kind], info: ValidationInfo) -> list[Kind]:
        parts = info.data.get("objective", [])
        learnt = {part.text for part in parts if isinstance(part, Nll)}
        if candidates or not parts:
            return candidates
        base = [kind for kind in BASE if kind in learnt or not learnt_only(parts)]
        return [*base, *sorted(learnt - {*BASE})]

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name in twice(part.name for part in self.objective):
            raise refuse(f"objective: found {name} twice; accepted: once, with a weight")
        for kind in twice(self.candidates):
            raise refuse(f"candidates: found '{kind}' twice")
        shown = ", ".join(self.candidates)
        for part in self.objective:
            if isinstance(part, Nll) and part.text not in self.candidates:
                raise refuse(
                    f"candidates: found {shown}; accepted: with {part.text}, which nll learns"
                )
            if not isinstance(part, Nll) and len(self.candidates) < 2 and not self.online:
                raise refuse(
                    f"candidates: found {shown}; accepted: two of {', '.join(BASE)}, rollout, or "
                    f"rollout alone, which {part.kind} compares"
                )
        if not self.online and any(isinstance(p, Grpo) and p.kl for p in self.objective):
            raise refuse(
                "objective: found a kl in a phase without rollouts; accepted: 0, for it compares "
                "what the policy has sampled"
            )
        if self.online and self.reference == "stored":
            raise refuse(
                "objective: found reference: stored; accepted with rollouts, which no set holds: "
                "frozen"
            )
        if self.online and learnt_only(self.objective):
            raise refuse(
                "candidates: found rollout; accepted with an objective that compares: rf_nll, dpo, "
                "grpo"
            )
        return self

    @property
    def online(self) -> bool:
        """Whether the phase samples rollouts."""
        return "rollout" in self.candidates

    @property
    def stored(self) -> list[Stored]:
        """The candidates out of shards."""
        base = [kind for kind in BASE if kind in self.candidates]
        return base + [kind for kind in self.candidates if kind not in (*BASE, "rollout")]

    @property
    def needs_scores(self) -> bool:
        """Whether an objective reads scores."""
        return not learnt_only(self.objective)

    @property
    def reference(self) -> Literal["frozen", "stored"] | None:
        """Where the reference log-probabilities come from, if any are needed."""
        for part in self.objective:
            if isinstance(part, Dpo):
                return part.reference
        return "frozen" if any(map(needs_reference, self.objective)) else None


def needs_reference(part: Objective) -> bool:
    """Whether a component compares the policy with a reference."""
    return isinstance(part, Dpo) or (isinstance(part, Grpo) and part.kl > 0)


def learnt_only(parts: Sequence[Objective]) -> bool:
    """Whether no component compares candidates."""
    return all(isinstance(part, Nll) for part in parts)


def twice(names: Iterable[str]) -> list[str]:
    """The names that stand more than once."""
    return [name for name, times in Counter(names).items() if times > 1]


def end_step(phase: Phase, samples: int) -> int:
    """The step before which `phase` ends at the latest, with `samples` a step."""
    if phase.until.step is not None:
        return phase.until.step
    assert phase.until.samples is not None
    return -(-phase.until.samples // samples)
