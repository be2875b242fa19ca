"""What rollouts have earned, as a rollout worker tells it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from prewrite.judge.scorer import PoolScores
from prewrite.shards.manifest import Usage
from prewrite.train.messages import Rollout, RolloutPrompt

SampledPrompt = tuple[RolloutPrompt, tuple[Rollout, ...]]


@dataclass(frozen=True)
class Earned:
    """What the texts of one pool have earned; `train.messages.RolloutGroup` says what each is.

    usage: what asking took. kept: the rollouts as far as they are learnt; None: whole.
    """

    scores: dict[str, float] = field(default_factory=dict)
    values: dict[str, dict[str, float]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)
    kept: tuple[Rollout, ...] | None = None

    @classmethod
    def of(cls, scored: PoolScores) -> Self:
        """What judges say of a pool."""
        return cls(scored.scores, scored.values, scored.counts, scored.usage)


class Earnings(Protocol):
    """Weighs rollouts."""

    async def __call__(self, sampled: Sequence[SampledPrompt]) -> list[Earned]:
        """What the rollouts of each prompt of a document earn; EngineError when a judge is dead."""
        ...
