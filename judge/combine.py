"""One score a text out of its criteria: weighted sum, mean, product, or the minimum.

A criterion that has no value leaves the text without a score: nothing is made up. Weight 0 keeps a
criterion's column and leaves it out of the score.
"""

from collections.abc import Callable, Sequence
from math import fsum, prod
from typing import Literal

Combine = Literal["sum", "mean", "product", "min"]
Weighted = Sequence[tuple[float, float]]
"""(weight, value 0..1) of each criterion that counts."""


def combined(
    how: Combine, weights: Sequence[float], values: Sequence[float | None]
) -> float | None:
    """The score; None where a criterion that counts has no value, or where none counts."""
    counted: list[tuple[float, float]] = []
    for weight, value in zip(weights, values, strict=True):
        if weight == 0:
            continue
        if value is None:
            return None
        counted.append((weight, value))
    return _RULES[how](counted) if counted else None


def _sum(counted: Weighted) -> float:
    """Σ w·v, arXiv 2601.21343, section 1.2.2 (there with weight 1)."""
    return fsum(weight * value for weight, value in counted)


def _mean(counted: Weighted) -> float:
    """Σ w·v / Σ w."""
    return _sum(counted) / fsum(weight for weight, _ in counted)


def _product(counted: Weighted) -> float:
    """Π v^w: one criterion near 0 brings the score there."""
    return prod(float(value**weight) for weight, value in counted)


def _min(counted: Weighted) -> float:
    """The worst criterion; a weight other than 0 changes nothing."""
    return min(value for _, value in counted)


_RULES: dict[Combine, Callable[[Weighted], float]] = {
    "sum": _sum,
    "mean": _mean,
    "product": _product,
    "min": _min,
}
