"""Rate the texts of pools: what the criteria say of each, and one score a text.

For texts that stand in no set: rollouts beside the stored texts that they compete with. What a set
holds already is not asked again where it still holds: a criterion that looks at one candidate alone
says the same in any pool, while a win rate depends on who else plays.

A text that could not be judged on a criterion that counts has no score: the pool shrinks, and
`Rated.counts` says why. An empty text (a policy may end at once) is judged like any other by a
model that is asked and by a function; a likelihood it has none, for it has no tokens.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from prewrite.engine.config import EngineConfig
from prewrite.judge.combine import combined
from prewrite.judge.config import JudgeConfig
from prewrite.judge.criteria import load_criterion
from prewrite.judge.judge import load_judges
from prewrite.judge.panel import Panel, PanelResult, mean_scores
from prewrite.judge.pool import Pool
from prewrite.shards.manifest import Usage

CandidateValues = Mapping[str, float]
"""Candidate → value 0..1."""


@dataclass(frozen=True)
class Rated:
    """What is said of one pool.

    scores: candidate → combined score; a candidate without a value on a criterion that counts is
    not in it. values: criterion → candidate → 0..1, what was known included. counts: verdicts by
    status, ties and conflicts, as in a manifest; usage: what was asked; both without what was
    known.
    """

    scores: dict[str, float]
    values: dict[str, dict[str, float]]
    counts: Counter[str] = field(default_factory=Counter)
    usage: Usage = field(default_factory=Usage)


class Rater:
    """Rates pools with the judges that `config` names among `engines`, which it loads.

    Raises EngineError where one cannot be loaded or lacks a verdict as one token, ConfigError for
    a criterion that cannot be used.
    """

    def __init__(self, config: JudgeConfig, engines: Mapping[str, EngineConfig]) -> None:
        self.config = config
        self.criteria = [load_criterion(name) for name in config.criteria]
        self._weights = config.weights_of(self.criteria)
        self._panel = Panel(load_judges(config, engines, self.criteria), config)

    async def __call__(
        self, pools: Sequence[Pool], known: Sequence[Mapping[str, CandidateValues]]
    ) -> list[Rated]:
        """Rate the pools of one document. known: of each pool, criterion → candidate → the value
        that the same judges gave it before; EngineError when a judge is dead.
        """
        given = [self._given(*pair) for pair in zip(pools, known, strict=True)]
        places = [(criterion, index) for criterion in self.criteria for index in range(len(pools))]
        questions = [(c, _without(pools[index], given[index][c.name])) for c, index in places]
        found = await self._panel(questions, _texts(pools))
        said: list[dict[str, PanelResult]] = [{} for _ in pools]
        for (criterion, index), one in zip(places, found, strict=True):
            said[index][criterion.name] = one
        return [self._rated(*each) for each in zip(pools, given, said, strict=True)]

    def _given(
        self, pool: Pool, known: Mapping[str, CandidateValues]
    ) -> dict[str, dict[str, float]]:
        """What need not be asked of a pool, by criterion."""
        return {
            c.name: {
                name: value
                for name, value in known.get(c.name, {}).items()
                if c.kind != "pairwise" and name in pool.candidates
            }
            for c in self.criteria
        }

    def _rated(
        self, pool: Pool, given: Mapping[str, dict[str, float]], said: Mapping[str, PanelResult]
    ) -> Rated:
        found = {c: given[c] | mean_scores([*one.results.values()]) for c, one in said.items()}
        values = {
            criterion: {name: some[name] for name in pool.candidates if name in some}
            for criterion, some in found.items()
        }
        totals = {
            name: combined(
                self.config.combine, self._weights, [some.get(name) for some in values.values()]
            )
            for name in pool.candidates
        }
        return Rated(
            {name: total for name, total in totals.items() if total is not None},
            values,
            sum((one.counts for one in said.values()), Counter[str]()),
            sum((one.usage for one in said.values()), Usage()),
        )


def _without(pool: Pool, known: CandidateValues) -> Pool:
    """The pool of those that are still to be judged."""
    rest = {name: text for name, text in pool.candidates.items() if name not in known}
    return replace(pool, candidates=rest)


def _texts(pools: Sequence[Pool]) -> list[str]:
    """All that stands in the prompts about `pools`, each text once; the pieces of a context
    joined, for two may spell a tag between them.
    """
    texts = (("".join(p.context), p.reference, *p.candidates.values()) for p in pools)
    return [*dict.fromkeys(text for some in texts for text in some)]
