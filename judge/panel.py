"""Several judges on one pool: their mean, and how far they are apart.

A candidate has a score where every judge has one: a mean over those that could be read would favour
what only a lenient judge reads.
"""

from collections.abc import Sequence
from statistics import fmean, pstdev

from judge.pool import Result


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
