"""The gate: is a candidate better than the incumbent? Numbers in, a decision with its reasons out.

A candidate passes where both hold:

- Gain. Documents of the anchor are drawn with replacement (paired bootstrap); the lower end of the
  interval of the mean of candidate less incumbent is above 0. The interval's error of 5 % is shared
  evenly over all comparisons that are planned (Bonferroni), so that of many equal candidates hardly
  one gets in by luck.
- Guards. None of the figures in `GUARDS` has got worse than its limit. They tell of gains that are
  none: a judge that likes length, a rewriter that copies, a policy that repeats itself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import NormalDist, fmean
from typing import Literal

from prewrite.base.errors import InputError
from prewrite.base.intervals import RatioTerm, ratio
from prewrite.evaluation.improve.guards import GUARDS, PartName

ERROR = 0.05
"""Of all comparisons together."""

POWER = 0.8
"""How often a gain of the size that is looked for is to be found."""

SPREAD = 0.5
"""Standard deviation of the difference of two scores 0..1 on a document that the number of
documents reckons with; as where a quarter of the documents changes from wrong to right."""

_IN_A_TAIL = 20
"""Draws beyond each end of the interval, so that chance hardly moves the ends."""

Outcome = Literal["passed", "no gain", "guard"]


@dataclass(frozen=True)
class Evidence:
    """What was measured of one model on one anchor.

    scores: document → what the model is worth there, 0..1. guards: figure → value, None where it
    could not be measured. left_out: reason → texts without a score.
    """

    scores: Mapping[str, float]
    guards: Mapping[str, float | None]
    left_out: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class GuardFigure:
    """One guard at both models. broken: the sentence of one that does not hold, else None."""

    name: str
    candidate: float | None
    incumbent: float | None
    broken: str | None


@dataclass(frozen=True)
class Decision:
    """outcome: what the gate says; reasons: one sentence for each thing that kept the candidate
    out. gain: mean over documents of candidate less incumbent; low, high: its interval at `level`.
    """

    outcome: Outcome
    reasons: list[str]
    candidate: float
    incumbent: float
    gain: float
    low: float
    high: float
    level: float
    documents: int
    unpaired: int
    guards: list[GuardFigure]


def decide(
    part: PartName, candidate: Evidence, incumbent: Evidence, comparisons: int, gain: float
) -> Decision:
    """Compare a candidate with the incumbent. comparisons: how many are planned; gain: the smallest
    one that matters. InputError where the two have fewer documents in common than `needed`.
    """
    common = sorted(candidate.scores.keys() & incumbent.scores.keys())
    refuse_few(f"the gate of the {part}", len(common), comparisons, gain)
    own, before = ([one.scores[name] for name in common] for one in (candidate, incumbent))
    level = 1 - ERROR / comparisons
    value, low, high = _interval(common, own, before, level)
    guards = [guarded(part, name, candidate.guards, incumbent.guards) for name in GUARDS[part]]
    broken = [one.broken for one in guards if one.broken]
    no_gain = [] if low > 0 else [_no_gain(value, low, level)]
    return Decision(
        "guard" if broken else "no gain" if no_gain else "passed",
        [*broken, *no_gain],
        fmean(own),
        fmean(before),
        value,
        low,
        high,
        level,
        len(common),
        len(candidate.scores.keys() ^ incumbent.scores.keys()),
        guards,
    )


def _interval(
    documents: Sequence[str], own: Sequence[float], before: Sequence[float], level: float
) -> tuple[float, float, float]:
    """The mean of the differences, and the ends of its interval."""
    pairs = zip(documents, own, before, strict=True)
    terms = [RatioTerm(name, one - other) for name, one, other in pairs]
    found = ratio(terms, level=level, draws=ceil(2 * _IN_A_TAIL / (1 - level)))
    assert found and found.low is not None and found.high is not None, "there are documents"
    return found.value, found.low, found.high


def guarded(
    part: PartName,
    name: str,
    candidate: Mapping[str, float | None],
    incumbent: Mapping[str, float | None],
) -> GuardFigure:
    """One guard at both models. A figure that is known of the incumbent alone is a broken guard;
    one that is not known of the incumbent breaks nothing, and stands as None in the ledger.
    """
    own, before = candidate.get(name), incumbent.get(name)
    if before is None:
        return GuardFigure(name, own, before, None)
    limit = GUARDS[part][name]
    if own is None:
        said = f"{name}: found none; accepted: {limit.accepted(before)}"
        return GuardFigure(name, own, before, said)
    said = f"{name}: found {own:.4g}; accepted: {limit.accepted(before)}"
    return GuardFigure(name, own, before, None if limit.holds(own, before) else said)


def needed(comparisons: int, gain: float) -> int:
    """Documents with which the gate finds a mean gain of `gain` in four of five cases."""
    sided = NormalDist().inv_cdf(1 - ERROR / comparisons / 2) + NormalDist().inv_cdf(POWER)
    return ceil((sided * SPREAD / gain) ** 2)


def refuse_few(where: str, documents: int, comparisons: int, gain: float) -> None:
    """InputError for fewer documents than the gate needs."""
    if documents < (least := needed(comparisons, gain)):
        raise InputError(
            f"{where}: found {documents} documents; accepted: at least {least}, which it takes to "
            f"find a gain of {gain:g} among {comparisons} comparisons"
        )


def _no_gain(value: float, low: float, level: float) -> str:
    return (
        f"gain: found {value:+.4f} with {low:+.4f} as the lower end of the {100 * level:.2f} % "
        "interval; accepted: a lower end above 0"
    )
