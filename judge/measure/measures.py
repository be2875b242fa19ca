"""What is measured: each a small function of plain arrays.

Every value is a float from 0 to 1 on one text (of a pair: on one of the two, the same in both
orders). A measure that the data do not allow is not measured and says why; it is never a number.

Intervals are 95 %, over documents: see `base.intervals`. An item whose document is not known is one
by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from prewrite.base import intervals

FEWEST = 10
"""Items below which nothing is measured: an interval of a share is then wider than a half."""
FEWEST_BINNED = 50
"""The same for the calibration error, which few items a bin push up."""
BINS = 10
RESAMPLES = 1000

Array = NDArray[np.float64]
Documents = Sequence[str] | None
"""The document of each item; None: each item is one by itself."""


@dataclass(frozen=True)
class Measure:
    """A value with its interval from `n` items; value None: not measured, because of `why`."""

    value: float | None
    n: int
    low: float | None = None
    high: float | None = None
    why: str | None = None


@dataclass(frozen=True)
class Bin:
    """One bin of a calibration curve: mean value of the judge, mean label, items."""

    judged: float
    labelled: float
    n: int


def none(why: str, n: int = 0) -> Measure:
    """Not measured."""
    return Measure(None, n, why=why)


def share(hits: Sequence[bool], documents: Documents = None) -> Measure:
    """The share of `hits`."""
    n = len(hits)
    if n < FEWEST:
        return _few(n, FEWEST)
    return Measure(sum(hits) / n, n, *intervals.share(hits, _own(n, documents)))


def mean(values: ArrayLike, documents: Documents = None, seed: int = 0) -> Measure:
    """The mean of `values`."""
    return _bootstrapped(np.mean, [values], documents, seed)


def agreement(judged: Sequence[int], labels: Sequence[int], documents: Documents = None) -> Measure:
    """The share of items on which two name the same class."""
    return share([a == b for a, b in zip(judged, labels, strict=True)], documents)


def kappa(
    judged: Sequence[int],
    labels: Sequence[int],
    ordinal: bool,
    documents: Documents = None,
    seed: int = 0,
) -> Measure:
    """Cohen's kappa: agreement beyond chance, 0 for a guess and 1 for no mistake; with quadratic
    weights where the classes (0, 1, …) have an order (Cohen, Psychol. Bull. 70, 1968).
    """
    if len(set(labels)) < 2 and len(labels) >= FEWEST:
        return none("every label is the same: nothing to agree on beyond chance", len(labels))
    names, codes = np.unique([judged, labels], return_inverse=True)
    distance = np.subtract.outer(names, names) ** 2 if ordinal else names[:, None] != names
    sides = list(codes.reshape(2, -1))
    return _bootstrapped(lambda a, b: _kappa(a, b, distance), sides, documents, seed)


def _kappa(judged: NDArray[Any], labels: NDArray[Any], distance: NDArray[Any]) -> float:
    """scikit-learn's has the same value at eighty times the cost, and a bootstrap needs it 1000
    times.
    """
    size = len(distance)
    seen = np.bincount(judged * size + labels, minlength=size * size).reshape(size, size)
    chance = np.outer(seen.sum(1), seen.sum(0)) / len(judged)
    worst = float((distance * chance).sum())
    return 1 - float((distance * seen).sum()) / worst if worst else float("nan")


def order_inconsistency(
    first: ArrayLike, second: ArrayLike, documents: Documents = None
) -> Measure:
    """The share of pairs in which the two orders name different winners.

    first, second: the values for the same text, standing first and standing second. A tie is a
    third outcome: it differs from either winner.
    """
    sides = [np.sign(np.asarray(values, float) - 0.5) for values in (first, second)]
    return share((sides[0] != sides[1]).tolist(), documents)


def position_bias(
    first: ArrayLike, second: ArrayLike, documents: Documents = None, seed: int = 0
) -> Measure:
    """Mean value of whichever text stands first, less 0.5: above 0 the first is preferred."""
    values = (np.asarray(first, float) + 1 - np.asarray(second, float)) / 2 - 0.5
    return mean(values, documents, seed)


def rank_correlation(
    a: ArrayLike, b: ArrayLike, documents: Documents = None, seed: int = 0
) -> Measure:
    """Spearman's rho. With the lengths (of a pair: how much longer it is than the other) as `a`
    and the values as `b` it is the length bias; with the values of two judges, their likeness.
    """
    for values in (a, b):
        array = np.asarray(values, float)
        if len(array) >= FEWEST and np.ptp(array) == 0:
            return none("one side never varies", len(array))
    return _bootstrapped(_spearman, [a, b], documents, seed)


def _spearman(a: Array, b: Array) -> float:
    """Scipy's own has a p-value besides, and a bootstrap needs it 1000 times."""
    return float(np.corrcoef(stats.rankdata(a), stats.rankdata(b))[0, 1])


def longer_preferred(
    differences: ArrayLike, values: ArrayLike, documents: Documents = None
) -> Measure:
    """The share of pairs won by the longer text, among those of unequal length without a tie.

    differences: characters of the text less those of the other.
    """
    sides = np.sign(np.asarray(differences, float)) * np.sign(np.asarray(values, float) - 0.5)
    kept = np.flatnonzero(sides)
    names = _own(len(sides), documents)
    return share((sides[kept] > 0).tolist(), [names[number] for number in kept])


def self_agreement(
    votes: Sequence[Sequence[float]], documents: Documents = None, seed: int = 0
) -> Measure:
    """How likely two votes on the same question say the same: the mean over questions of the share
    of their pairs of votes that are equal. Questions with fewer than two votes say nothing.
    """
    asked = zip(votes, _own(len(votes), documents), strict=True)
    pairs = [(_equal_pairs(values), name) for values, name in asked if len(values) > 1]
    if not pairs:
        return none("no question has two votes")
    return mean([share for share, _ in pairs], [name for _, name in pairs], seed)


def _equal_pairs(values: Sequence[float]) -> float:
    counts = np.unique(np.asarray(values), return_counts=True)[1]
    return float((counts * (counts - 1)).sum() / (len(values) * (len(values) - 1)))


def calibration(values: ArrayLike, labels: ArrayLike) -> list[Bin]:
    """The calibration curve: in ten equal bins of the judge's value, its mean and the labels'."""
    judged, truth = np.asarray(values, float), np.asarray(labels, float)
    places = np.minimum((judged * BINS).astype(int), BINS - 1)
    return [
        Bin(float(judged[at].mean()), float(truth[at].mean()), int(at.sum()))
        for place in range(BINS)
        if (at := places == place).any()
    ]


def calibration_error(
    values: ArrayLike, labels: ArrayLike, documents: Documents = None, seed: int = 0
) -> Measure:
    """ECE, the mean distance of the curve from the diagonal, weighted by items (Naeini et al.,
    AAAI 2015). Few items push it up, its interval too.
    """
    return _bootstrapped(_ece, [values, labels], documents, seed, FEWEST_BINNED)


def _ece(values: Array, labels: Array) -> float:
    found = calibration(values, labels)
    return sum(b.n * abs(b.judged - b.labelled) for b in found) / len(values)


def _few(n: int, fewest: int) -> Measure:
    return none(f"{n} of the {fewest} items it takes", n)


def _own(n: int, documents: Documents) -> Sequence[str]:
    return [str(number) for number in range(n)] if documents is None else documents


def _bootstrapped(
    of: Callable[..., float],
    data: Sequence[ArrayLike],
    documents: Documents,
    seed: int,
    fewest: int = FEWEST,
) -> Measure:
    """A statistic of paired samples with the interval of its bootstrap."""
    arrays: list[NDArray[Any]] = [np.asarray(values) for values in data]
    n = len(arrays[0])
    if n < fewest:
        return _few(n, fewest)
    found = intervals.statistic(of, arrays, _own(n, documents), seed, RESAMPLES)
    if np.isnan(found.value):
        return none("not defined on these items", n)
    return Measure(found.value, n, found.low, found.high)
