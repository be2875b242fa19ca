"""The ledger holds what was entered, whenever it is killed, and shows it; the state follows it."""

from pathlib import Path

import pytest

from prewrite.base.errors import InputError
from prewrite.base.files import Folder
from prewrite.evaluation.improve.gate import Decision, GuardFigure
from prewrite.evaluation.improve.guards import PartName
from prewrite.evaluation.improve.ledger import (
    NAME,
    Begin,
    Compared,
    Ended,
    Entry,
    Last,
    Ledger,
    ModelRef,
    Word,
)
from prewrite.evaluation.improve.page import page
from prewrite.evaluation.improve.state import PARTS, state_of, why_ended, word_for

START = {part: ModelRef(model=f"start/{part}", digest=f"{part}-0") for part in PARTS}
BEGIN = Begin(
    anchor={"texts": "a" * 64},
    last_anchor={"texts": "b" * 64},
    start=START,
    documents=[0.0, 1.0],
    rounds=3,
    comparisons=9,
    gain=0.1,
)


def figures(outcome: str = "passed", *reasons: str) -> Decision:
    guards = [GuardFigure("repetition", 0.1, 0.1, None), GuardFigure("refusals", None, None, None)]
    return Decision(outcome, [*reasons], 0.7, 0.5, 0.2, 0.1, 0.3, 0.99, 400, 3, guards)  # type: ignore[arg-type]


def compared(number: int, part: PartName, word: Word, *reasons: str) -> Compared:
    made = ModelRef(model=f"round-{number}/{part}", digest=f"{part}-{number}")
    return Compared(
        round=number, part=part, candidate=made, incumbent=START[part], made_with=START,
        parents=["p"], data=["set where `x > 1`"], figures=figures(), left_out={"unread": 2},
        decision=word, reasons=[*reasons],
    )  # fmt: skip


def a_round(number: int, *words: Word) -> list[Entry]:
    return [compared(number, part, word) for part, word in zip(PARTS, words, strict=False)]


def test_what_is_entered_is_read_again(tmp_path: Path) -> None:
    ledger, folder = Ledger(Folder(str(tmp_path))), Folder(str(tmp_path))
    entries: list[Entry] = [BEGIN, *a_round(1, "promoted", "not eligible"), Ended(reason="so")]
    for number, entry in enumerate(entries, 1):
        ledger.add(entry)
        assert Ledger(folder).entries == entries[:number]
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: [lines[0], *lines[2:]], "line 2: found an entry that was written after"),
        (lambda lines: [lines[0].replace("0.1", "0.2"), *lines[1:]], "line 2: found an entry that"),
        (lambda lines: [*lines[:2], lines[2][:40]], "line 3: found no entry of a ledger; accepted"),
    ],
)
def test_a_changed_ledger_is_refused(tmp_path: Path, change: object, said: str) -> None:
    ledger = Ledger(Folder(str(tmp_path)))
    for entry in [BEGIN, *a_round(1, "promoted", "not eligible")]:
        ledger.add(entry)
    lines = change((tmp_path / NAME).read_text().splitlines())  # type: ignore[operator]
    (tmp_path / NAME).write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=said):
        Ledger(Folder(str(tmp_path)))


def test_the_first_part_that_passes_is_promoted_and_used_at_once() -> None:
    state = state_of([BEGIN, *a_round(1, "refused", "promoted")])
    assert (state.round, state.part, state.promoted) == (1, "policy", "rewriter")
    assert state.models["rewriter"].digest == "rewriter-1"
    assert {state.models[part] for part in ("judge", "policy")} == {START["judge"], START["policy"]}
    assert word_for(figures("passed"), state.promoted)[0] == "not eligible"
    assert word_for(figures("passed"), None)[0] == "promoted"
    assert word_for(figures("no gain", "gain: x"), None) == ("refused", ["gain: x"])


def test_what_is_not_eligible_is_not_kept() -> None:
    state = state_of([BEGIN, *a_round(1, "promoted", "not eligible", "not eligible")])
    assert (state.round, state.part, state.promoted) == (2, "judge", None)
    assert state.models == {**START, "judge": ModelRef(model="round-1/judge", digest="judge-1")}
    assert (state.good, state.quiet, state.compared) == ([1], 0, 3)


def test_a_broken_guard_takes_the_promotion_back() -> None:
    word, reasons = word_for(figures("guard", "refusals: found 1"), "judge")
    assert (word, reasons[0]) == ("rolled back", "refusals: found 1")
    state = state_of([BEGIN, *a_round(1, "promoted", "rolled back")])
    assert state.models == START and (state.round, state.part) == (2, "judge")
    assert (state.good, state.quiet) == ([], 1)


def test_two_rounds_without_a_promotion_end_it() -> None:
    quiet = [a_round(number, "refused", "refused", "refused") for number in (1, 2)]
    assert why_ended(state_of([BEGIN, *quiet[0]]), 5) is None
    assert why_ended(state_of([BEGIN, *quiet[0], *quiet[1]]), 5) == "2 rounds without a promotion"
    taken_back = a_round(2, "promoted", "rolled back")
    assert why_ended(state_of([BEGIN, *quiet[0], *taken_back]), 5) == "2 rounds without a promotion"
    promoted = a_round(2, "refused", "refused", "promoted")
    assert why_ended(state_of([BEGIN, *quiet[0], *promoted]), 5) is None
    assert why_ended(state_of([BEGIN, *quiet[0], *promoted]), 2) == "all 2 rounds are done"


def test_the_page_says_what_was_decided_and_loads_nothing() -> None:
    hostile = compared(2, "judge", "refused", "<script>alert(1)</script>: found")
    last = Last(part="judge", candidate=START["judge"], start=START["judge"],
                figures=figures("no gain", "gain: found none"), left_out={})  # fmt: skip
    entries = [BEGIN, *a_round(1, "promoted", "not eligible", "rolled back"), hostile,
               Ended(reason="2 rounds without a promotion"), last]  # fmt: skip
    text = page(entries)
    for said in ("Round 1", "Round 2", "promoted", "not eligible", "rolled back", "+0.200",
                 "+0.100 … +0.300", "4 of 9 planned", "99.44 %", "set where", "not measured",
                 "It has ended: 2 rounds without a promotion", "2 unread"):  # fmt: skip
        assert said in text, said
    assert "<script>" not in text and "http" not in text.replace("http-equiv", "")
