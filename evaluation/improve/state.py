"""Where the rounds stand: a function of the ledger's entries alone, so a kill changes nothing.

In a round each part in turn is made, measured and compared. The first one that passes is promoted,
and what comes after it in that round is made with it; that is measured and entered, and is not
eligible. Where such a later part breaks a guard, the promotion is taken back and the round is over.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import get_args

from prewrite.evaluation.improve.gate import Decision
from prewrite.evaluation.improve.guards import PartName
from prewrite.evaluation.improve.ledger import Begin, Closed, Compared, Ended, Entry, ModelRef, Word

PARTS: tuple[PartName, ...] = get_args(PartName)
"""In the order in which a round makes them."""

QUIET = 2
"""Rounds without a promotion, one after the other, that end it."""

PartModels = Mapping[PartName, ModelRef]


@dataclass(frozen=True)
class RoundState:
    """round, part: what comes next. models: what it is made with. promoted: the part of this round
    that was. compared: entries so far. good: earlier rounds, but those that were taken back. quiet:
    the last rounds without a promotion. ended: why there are no further rounds. closed: whether the
    second anchor has been opened.
    """

    start: PartModels
    round: int
    part: PartName
    models: PartModels
    promoted: PartName | None
    compared: int
    good: Sequence[int]
    quiet: int
    ended: str | None
    closed: bool


def state_of(entries: Sequence[Entry]) -> RoundState:
    """What the entries add up to; the first one is `Begin`."""
    begin = entries[0]
    assert isinstance(begin, Begin), "the ledger begins with it"
    compared = [one for one in entries if isinstance(one, Compared)]
    models: PartModels = begin.start
    good, quiet, number, left = list[int](), 0, 0, list[Compared]()
    for number, group in groupby(compared, key=lambda one: one.round):
        found = [*group]
        if not _is_over(found):
            left = found
            break
        after = _after(models, found)
        good += [] if _taken_back(found) else [number]
        quiet = quiet + 1 if after == models else 0
        models = after
    return RoundState(
        begin.start,
        number if left else number + 1,
        PARTS[len(left)],
        _after(models, left),
        next((one.part for one in left if one.decision == "promoted"), None),
        len(compared),
        good,
        quiet,
        next((one.reason for one in entries if isinstance(one, Ended)), None),
        any(isinstance(one, Closed) for one in entries),
    )


def word_for(decision: Decision, promoted: PartName | None) -> tuple[Word, list[str]]:
    """What becomes of a candidate, and why. promoted: the part of this round that was before it."""
    reasons = [*decision.reasons]
    if promoted and decision.outcome == "guard":
        return "rolled back", [*reasons, f"made with the {promoted} that was promoted before it"]
    if promoted:
        return "not eligible", [f"the {promoted} was promoted in this round", *reasons]
    return ("promoted", []) if decision.outcome == "passed" else ("refused", reasons)


def why_ended(state: RoundState, rounds: int) -> str | None:
    """Why no further round begins; None where one does, or one is under way."""
    if state.part != PARTS[0]:
        return None
    if state.quiet >= QUIET:
        return f"{QUIET} rounds without a promotion"
    return f"all {rounds} rounds are done" if state.round > rounds else None


def _is_over(found: Sequence[Compared]) -> bool:
    return len(found) == len(PARTS) or _taken_back(found)


def _taken_back(found: Sequence[Compared]) -> bool:
    return any(one.decision == "rolled back" for one in found)


def _after(models: PartModels, found: Sequence[Compared]) -> PartModels:
    """The models after what a round has entered so far."""
    return models if _taken_back(found) else {**models, **dict(_promoted(found))}


def _promoted(found: Sequence[Compared]) -> Iterator[tuple[PartName, ModelRef]]:
    return ((one.part, one.candidate) for one in found if one.decision == "promoted")
