"""Several judges on the pools of a document: each is asked, and their scores are averaged.

All questions travel together, criterion by criterion and pool by pool, so that the engine's prefix
cache serves rubric and context. A candidate has a score where every judge has one: a mean over
those that could be read would favour what only a lenient judge reads.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, pstdev

from prewrite.judge.config import JudgeConfig
from prewrite.judge.criteria import Criterion
from prewrite.judge.judge import Judge, fence_for
from prewrite.judge.pool import Pool, Question, Result, play
from prewrite.judge.readout import Verdict
from prewrite.judge.votes import Aggregate, counted
from prewrite.shards.manifest import Usage
from prewrite.shards.schema import Row


@dataclass(frozen=True)
class PanelResult:
    """What a panel says of one pool on one criterion. results: by the judge's name, which is None
    where no engine judges. usage: what it cost; a question that was put before costs nothing.
    """

    results: Mapping[str | None, Result]
    usage: Usage

    @property
    def counts(self) -> Counter[str]:
        """Verdicts by status, ties and conflicts; what there is none of is not in it."""
        counts: Counter[str] = Counter()
        for result in self.results.values():
            counts.update(f"verdict:{v.status}" for _, verdicts in result.answers for v in verdicts)
            counts += Counter({"pool:ties": result.ties, "pool:conflicts": result.conflicts})
        return counts


class Panel:
    """Judges that are asked together."""

    def __init__(self, judges: Sequence[Judge], config: JudgeConfig) -> None:
        self.judges, self.config = judges, config
        self._graded = config.readout == "distribution"
        self._without_engine = [Judge(None, None, config)]

    async def __call__(
        self, questions: Sequence[tuple[Criterion, Pool]], texts: Sequence[str]
    ) -> list[PanelResult]:
        """What is said of each pool on its criterion. texts: all that stands in these prompts,
        which makes their fence.
        """
        criteria = {criterion.name: criterion for criterion, _ in questions}
        fences = {name: fence_for(criterion, texts) for name, criterion in criteria.items()}
        said = (self._ask(criterion, pool, fences[criterion.name]) for criterion, pool in questions)
        return await asyncio.gather(*said)

    async def _ask(self, criterion: Criterion, pool: Pool, fence: str) -> PanelResult:
        costs: list[Usage] = []

        async def result_of(judge: Judge) -> Result:
            async def ask(question: Question) -> Sequence[Verdict]:
                verdicts, usage = await judge.ask(question, fence)
                costs.append(usage)
                return verdicts

            how = self.config.aggregate(criterion)
            return await play(criterion, pool, ask, self.config.pools, self._graded, how)

        judges = self.judges if criterion.needs_engine else self._without_engine
        results = await asyncio.gather(*(result_of(judge) for judge in judges))
        named = {judge.name: result for judge, result in zip(judges, results, strict=True)}
        return PanelResult(named, sum(costs, Usage()))


def fence_texts(pools: Iterable[Pool]) -> list[str]:
    """All that stands in the prompts about `pools`, each text once; the pieces of a context joined,
    for two may spell a tag between them.
    """
    texts = (("".join(p.context), p.reference, *p.candidates.values()) for p in pools)
    return [*dict.fromkeys(text for some in texts for text in some)]


def mean_scores(results: Sequence[Result]) -> dict[str, float]:
    """Candidate → mean score 0..1 over the judges."""
    return {name: fmean(values) for name, values in _common(results).items()}


def disagreement(results: Sequence[Result]) -> float | None:
    """Standard deviation of the scores between the judges, mean over the candidates; None for one
    judge, or where no candidate has a score of every judge.
    """
    common = _common(results)
    if len(results) < 2 or not common:
        return None
    return fmean(pstdev(values) for values in common.values())


def told_disagreement(
    criterion: Criterion, verdicts: Iterable[Row], how: Aggregate
) -> float | None:
    """`disagreement` by verdicts on single texts, as `judgements/` has those on one row."""
    told: dict[str | None, dict[str, list[float]]] = {}
    for verdict in verdicts:
        values = told.setdefault(verdict["judge"], {}).setdefault(verdict["candidate"], [])
        values += [] if verdict["value"] is None else [verdict["value"]]
    means = [
        {name: fmean(counted(criterion, v, how)) for name, v in one.items() if v}
        for one in told.values()
    ]
    return disagreement([Result((), scores) for scores in means])


def consistency(results: Sequence[Result]) -> float | None:
    """Share of pairs whose two orders agree, mean over the judges that were asked in both."""
    known = [result.consistency for result in results if result.consistency is not None]
    return fmean(known) if known else None


def _common(results: Sequence[Result]) -> dict[str, list[float]]:
    """The scores of every candidate that all judges scored."""
    if not results:
        return {}
    names = [name for name in results[0].scores if all(name in r.scores for r in results)]
    return {name: [result.scores[name] for result in results] for name in names}
