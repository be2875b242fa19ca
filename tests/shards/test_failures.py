"""Reasons and examples: counts add up, their number and length are bounded, all is printable."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.base.errors import EngineError
from prewrite.pipeline.limit import check_failed
from prewrite.shards.failures import (
    EXAMPLES,
    LONGEST_ANSWER,
    LONGEST_REASON,
    MOST,
    OTHER,
    Failure,
    FailureTally,
    by_reason,
    fewer,
    keep_few,
)

HOSTILE = "\x1b[31m [/red] <script>| `x`\r\n\u2028 \ud800 \u202e 漢" + "y" * 3000
reasons = st.one_of(
    st.sampled_from(["too_long", "HTTP 400: no", "HTTP 503: busy", OTHER, HOSTILE]),
    st.integers(0, 200).map(lambda n: f"HTTP 400: request req-{n} is too long"),
    st.text(max_size=9),
)
failures = st.builds(Failure, reasons, st.just("id"), st.one_of(st.none(), st.text()))


def tally(*found: Failure) -> FailureTally:
    return FailureTally(len(found), len(found), by_reason(found))


@given(st.lists(st.lists(failures, max_size=60), max_size=8))
def test_counts_add_up_however_they_are_gathered(groups: list[list[Failure]]) -> None:
    whole = FailureTally()
    for group in groups:
        part = tally(*group)
        whole.add(FailureTally(part.asked, part.failed, part.bounded()))
    found = whole.bounded()
    assert sum(one.count for one in found.values()) == whole.failed == sum(map(len, groups))
    assert len(found) <= MOST
    counts = [one.count for reason, one in found.items() if reason != OTHER]
    assert counts == sorted(counts, reverse=True)
    for reason, one in found.items():
        assert len(reason) <= LONGEST_REASON and reason.isprintable()
        assert len(one.examples) <= min(one.count, EXAMPLES)


def test_what_comes_back_is_bounded_and_printable() -> None:
    ((reason, found),) = by_reason([Failure(HOSTILE, "a", HOSTILE), Failure(HOSTILE, "b")]).items()
    assert len(reason) == LONGEST_REASON and reason.endswith("…")
    first, second = found.examples
    assert (first.id, second.id, second.answer) == ("a", "b", None)
    assert first.answer and len(first.answer) == LONGEST_ANSWER
    assert all(c.isprintable() or c == "\n" for c in first.answer)


def test_words_that_differ_in_a_number_become_one_reason_where_there_are_too_many() -> None:
    said = [f"engine: HTTP 400: you asked for {n} tokens (req-{n}a)" for n in range(MOST + 1)]
    assert set(fewer(dict.fromkeys(said, 1)).values()) == {
        "engine: HTTP 400: you asked for # tokens (req-#)"
    }
    assert fewer(dict.fromkeys(said[:MOST], 1)) == {one: one for one in said[:MOST]}


def test_the_commonest_keep_their_words_and_the_rest_is_counted_together() -> None:
    words = ["".join(chr(97 + n % 26) for _ in range(1 + n // 26)) for n in range(3 * MOST)]
    found = tally(*(Failure(w, "id") for n, w in enumerate(words) for _ in range(200 - n)))
    kept = found.bounded()
    assert list(kept) == [*words[: MOST - 1], OTHER]
    assert kept[words[0]].count == 200


def test_the_column_has_as_few_reasons_as_the_counts() -> None:
    rows = [{"rewrite_reason": f"engine: request {n} failed"} for n in range(4 * MOST)]
    keep_few([*rows, {"rewrite_reason": None}, {}])
    assert {row["rewrite_reason"] for row in rows} == {"engine: request # failed"}
    few = [{"rewrite_reason": f"engine: request {n} failed"} for n in range(MOST)]
    keep_few(few)
    assert few[3]["rewrite_reason"] == "engine: request 3 failed"


@pytest.mark.parametrize(
    ("asked", "failed", "limit", "ends"),
    [
        (100, 91, 0.9, True),
        (100, 90, 0.9, False),
        (100, 29, 0.29, False),
        (5, 5, 0.9, True),
        (1, 1, 1.0, False),
        (0, 0, 0.0, False),
        (9, 1, 0.0, True),
    ],
)
def test_the_share_decides(asked: int, failed: int, limit: float, ends: bool) -> None:
    found = FailureTally(
        asked, failed, by_reason([Failure("too_long", "r1", "on\nand on")] * failed)
    )
    try:
        check_failed("rewrite", found, limit)
    except EngineError as error:
        assert ends
        assert str(error) == (
            f"rewrite: {failed} of {asked} rows that were asked about failed, more than "
            f"run.max_failed = {limit:g} allows; most often ({failed} times): too_long; row r1 "
            "got: on and on"
        )
    else:
        assert not ends


def test_the_words_of_an_engine_are_said_once() -> None:
    one = Failure("engine: HTTP 400: no such parameter", "r1", "HTTP 400: no  such parameter")
    with pytest.raises(EngineError, match="HTTP 400: no such parameter$"):
        check_failed("judge", tally(one), 0.5)
