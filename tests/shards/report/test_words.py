"""What two texts share, and their diff."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.base.text import printable
from prewrite.shards.report.words import LONGEST, diff, overlap

TEXTS = st.text(alphabet=st.sampled_from("ab <>&\"'\n\t漢字é\u202e\x00"), max_size=60)


@pytest.mark.parametrize(
    ("first", "second", "share"),
    [
        ("the fox runs", "the fox runs", 1),
        ("the fox runs", "runs the fox", 1),  # in any order
        ("the fox runs fast", "the fox", 2 * 2 / 6),
        ("a a a", "a b", 2 * 1 / 5),  # as often as both have it
        ("one", "two", 0),
        ("one", "", 0),
        (" ", "\n", 1),
        ("漢字", "漢文", 0.5),  # no white space between words
    ],
)
def test_overlap(first: str, second: str, share: float) -> None:
    assert overlap(first, second) == pytest.approx(share)


@given(TEXTS, TEXTS)
def test_overlap_is_a_share_and_knows_no_order(first: str, second: str) -> None:
    assert 0 <= overlap(first, second) <= 1
    assert overlap(first, second) == overlap(second, first)


@given(TEXTS, TEXTS)
def test_a_diff_has_both_texts_and_no_other_tag(first: str, second: str) -> None:
    for shown, tag, text in zip(diff(first, second), ("del", "ins"), (first, second), strict=True):
        bare = re.sub(rf"</?{tag}>", "", str(shown))
        assert "<" not in bare
        assert html.unescape(bare) == printable(text)


def test_a_diff_marks_what_differs() -> None:
    left, right = diff("The fox runs home.", "The dog runs home now.")
    assert left == "The <del>fox</del> runs <del>home.</del>"
    assert right == "The <ins>dog</ins> runs <ins>home now.</ins>"


def test_equal_texts_have_no_mark() -> None:
    assert diff("a <b> c", "a <b> c") == ("a &lt;b&gt; c", "a &lt;b&gt; c")


def test_what_lies_beyond_the_compared_words_is_shown_unmarked() -> None:
    left, right = diff("x " * LONGEST + "end", "x " * LONGEST + "stop")
    assert left.endswith("end") and right.endswith("stop")
    assert "<" not in left + right


def test_of_a_text_with_thoughts_they_alone_are_marked() -> None:
    first = "One & one. Two."
    second = "One & one. <think> Why <b>?</think> Two."
    assert diff(first, second) == (
        "One &amp; one. Two.",
        "One &amp; one.<ins> &lt;think&gt; Why &lt;b&gt;?&lt;/think&gt;</ins> Two.",
    )
    assert "<ins>" in diff(first, "One & one. <think> Why")[1]  # cut off: like any other text
