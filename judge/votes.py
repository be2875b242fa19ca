"""What several answers to one question say together: the mean of all, or what most of them say."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean
from typing import Literal

from prewrite.judge.criteria import Criterion, PromptedCriterion

Aggregate = Literal["mean", "majority"]


def counted(criterion: Criterion, values: Sequence[float], how: Aggregate) -> list[float]:
    """The votes that count, 0..1: all of them, or of a majority the one value that most name.

    A vote that was read from probabilities counts for the verdict next to it. Values that are named
    equally often count half each, so four of eight for safe are 0.5.
    """
    if how == "mean" or not values:
        return list(values)
    named = Counter(_nearest(criterion, value) for value in values)
    most = max(named.values())
    return [fmean(value for value, count in named.items() if count == most)]


def _nearest(criterion: Criterion, value: float) -> float:
    if not isinstance(criterion, PromptedCriterion) or not criterion.verdicts:
        return value
    steps = sorted(map(criterion.share, criterion.verdicts.values()))
    return min(steps, key=lambda step: abs(step - value))
