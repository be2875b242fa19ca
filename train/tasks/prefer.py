"""Who says which text of a pool is better: a judge, or an order of kinds that asks nobody.

An order of kinds is what a run without a judge learns by: `[rewrite, rollout]` takes every rewrite
for better than every rollout. It costs nothing, and knows nothing of the texts.
"""

from collections.abc import Mapping, Sequence

from prewrite.engine.config import EngineConfig
from prewrite.judge.pool import Pool
from prewrite.judge.probe import probe_judges
from prewrite.judge.scorer import PoolScorer, PoolScores
from prewrite.train.config.phases import Kind
from prewrite.train.config.rollouts import RolloutsConfig


class Preferred:
    """Scores of a pool by kind: the first of n kinds gets n - 1, the last 0."""

    def __init__(self, kinds: Sequence[Kind]) -> None:
        self._scores: dict[str, float] = {kind: float(n) for n, kind in enumerate(reversed(kinds))}

    async def __call__(self, pools: Sequence[Pool]) -> list[PoolScores]:
        """Score the pools of one document, as a `PoolScorer` does."""
        return [PoolScores({name: self._score(name) for name in p.candidates}, {}) for p in pools]

    def _score(self, name: str) -> float:
        kind, _, _ = name.partition("-")  # `rollout-3` is one of the kind `rollout`
        return self._scores[kind]


def scorer_of(
    config: RolloutsConfig, engines: Mapping[str, EngineConfig]
) -> PoolScorer | Preferred | None:
    """The one that `config` names, if it names one; loads a judge's engines. EngineError where an
    endpoint's verdicts cannot be read.
    """
    if config.judge:
        scorer = PoolScorer.load(config.judge, engines)
        if any(engines[name].kind == "endpoint" for name in config.judge.panel):
            probe_judges(config.judge, engines, scorer.criteria)
        return scorer
    return Preferred(config.prefer) if config.prefer else None
