"""95 % intervals, by the percentile bootstrap over documents (Efron 1979).

Texts of one document are not independent, so documents are drawn, with all their texts. A number is
a ratio of two sums over texts (a mean has ones below, a perplexity tokens) or any statistic of
them. The draws of one seed are the same for every number over the same documents, so a difference
between two models is that of pairs. A share has Wilson's interval (J. Am. Stat. Assoc. 22, 1927),
which holds for few texts and for shares of 0 and 1. D: documents, B: draws, N: texts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
LEVEL = 0.95
SEED = 0
_Z = 1.959963984540054  # of the normal distribution 95 % lie between -_Z and _Z

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RatioTerm:
    """What one text adds to a ratio: `above` over `below`."""

    document: str
    above: float
    below: float = 1.0


@dataclass(frozen=True)
class Estimate:
    """A number with its standard error and its 95 % interval; those are None for one document,
    which says nothing about others.
    """

    value: float
    stderr: float | None = None
    low: float | None = None
    high: float | None = None


def ratio(
    parts: Sequence[RatioTerm],
    minus: Sequence[RatioTerm] = (),
    through: Callable[[Floats], Floats] | None = None,
    seed: int = SEED,
    level: float = LEVEL,
    draws: int = DRAWS,
) -> Estimate | None:
    """The ratio of `parts`, less that of `minus`, each `through` a rising function; None where
    there is nothing to divide by. level: of the interval, 95 % unless another one is asked for;
    the nearer to 1, the more `draws` it takes to find its ends.
    """
    names = sorted({part.document for part in (*parts, *minus)})
    sums = [_sums(names, some) for some in (parts, minus) if some]
    if not sums or any(below_D.sum() <= 0 for _, below_D in sums):
        return None
    every_1D = np.ones((1, len(names)))
    (value,) = _ratios(every_1D, sums, through)
    if len(names) == 1:
        return Estimate(float(value))
    drawn_B = _ratios(_draws(len(names), seed, draws), sums, through)
    return _estimate(value, drawn_B, level)


def statistic(
    of: Callable[..., float],
    data: Sequence[NDArray[Any]],
    documents: Sequence[str],
    seed: int = SEED,
    draws: int = DRAWS,
) -> Estimate:
    """A statistic of paired samples, each text of which has a document.

    Draws on which it is not defined (all of one class) are left out; where they are more than one
    in twenty, there is no interval.
    """
    names, document_N = np.unique(documents, return_inverse=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(of(*data))
        if np.isnan(value) or len(names) == 1:
            return Estimate(value)
        drawn = (counts_D[document_N] for counts_D in _draws(len(names), seed, draws).astype(int))
        drawn_B = np.array([of(*(np.repeat(one, times_N) for one in data)) for times_N in drawn])
    return Estimate(value) if np.isnan(drawn_B).mean() > 0.05 else _estimate(value, drawn_B)


def share(hits: Sequence[bool], documents: Sequence[str]) -> tuple[float, float]:
    """The interval of the share of `hits`: Wilson's, for as many hits of their own as would be as
    certain as these of some documents (Korn and Graubard, Surv. Methodol. 24, 1998).
    """
    value, number, own = sum(hits) / len(hits), len(hits), len(set(documents))
    if own == number:
        return wilson(value, number)
    pairs = zip(documents, hits, strict=True)
    found = ratio([RatioTerm(document, float(hit)) for document, hit in pairs])
    if not found or not found.stderr:  # no spread: of none or all, or of one document
        return wilson(value, own)
    return wilson(value, min(number, value * (1 - value) / found.stderr**2))


def wilson(value: float, number: float) -> tuple[float, float]:
    """The interval of a share of `number` hits and misses."""
    spread = _Z**2 / number
    middle = value + spread / 2
    half = (spread * (value * (1 - value) + spread / 4)) ** 0.5
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return (low if value else 0.0), (high if value < 1 else 1.0)


def _estimate(value: float, drawn_B: Floats, level: float = LEVEL) -> Estimate:
    drawn_B = drawn_B[np.isfinite(drawn_B)]  # a draw may hold no document with something below
    tail = (1 - level) / 2
    low, high = np.quantile(drawn_B, [tail, 1 - tail])
    return Estimate(float(value), float(drawn_B.std(ddof=1)), float(low), float(high))


def _sums(names: Sequence[str], parts: Sequence[RatioTerm]) -> tuple[Floats, Floats]:
    """Above and below by document."""
    number = {name: index for index, name in enumerate(names)}
    which = [number[part.document] for part in parts]
    above_D, below_D = (
        np.bincount(which, [getattr(part, side) for part in parts], len(names)).astype(np.float64)
        for side in ("above", "below")
    )
    return above_D, below_D


def _ratios(
    counts_BD: Floats,
    sums: Sequence[tuple[Floats, Floats]],
    through: Callable[[Floats], Floats] | None,
) -> Floats:
    with np.errstate(invalid="ignore", divide="ignore"):
        found = [(counts_BD @ above_D) / (counts_BD @ below_D) for above_D, below_D in sums]
    if through:
        found = [through(one) for one in found]
    return found[0] if len(found) == 1 else found[0] - found[1]


@lru_cache(maxsize=2)
def _draws(documents: int, seed: int, draws: int) -> Floats:
    """How many times each draw has each document, [B, D]."""
    generator = np.random.default_rng(seed)
    shares = np.full(documents, 1 / documents)
    return generator.multinomial(documents, shares, size=draws).astype(np.float64)
