"""Intervals by the percentile bootstrap over documents (Efron 1979).

Cut points of one document are not independent, so documents are drawn, with all their cut points. A
number is a ratio of two sums over cut points: a mean has ones below, a perplexity tokens. The draws
of one seed are the same for every number over the same documents, so a difference between two
models is that of pairs. D: documents, B: draws.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000
SEED = 0

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
) -> Estimate | None:
    """The ratio of `parts`, less that of `minus`, each `through` a rising function; None where
    there is nothing to divide by.
    """
    names = sorted({part.document for part in (*parts, *minus)})
    sums = [_sums(names, some) for some in (parts, minus) if some]
    if not sums or any(below_D.sum() <= 0 for _, below_D in sums):
        return None
    every_1D = np.ones((1, len(names)))
    (value,) = _ratios(every_1D, sums, through)
    if len(names) == 1:
        return Estimate(float(value))
    drawn_B = _ratios(_draws(len(names)), sums, through)
    drawn_B = drawn_B[np.isfinite(drawn_B)]  # a draw may hold no document with something below
    low, high = np.quantile(drawn_B, [0.025, 0.975])
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
def _draws(documents: int) -> Floats:
    """How often each document stands in each draw."""
    generator = np.random.default_rng(SEED)
    shares = np.full(documents, 1 / documents)
    return generator.multinomial(documents, shares, size=DRAWS).astype(np.float64)
