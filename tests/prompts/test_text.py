"""Measures of texts: repetition and distinct n-grams, of short texts and of other scripts too."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.judge.criteria import load_criterion
from prewrite.prompts.text import distinct_share, kept, repetition, variety


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("one two three four", 0.0),
        ("one two three four five six", 0.0),
        ("a a a a a", 0.5),  # two 4-grams, the second came before
        ("to be or not to be or not", 0.2),  # five, the last as the first
        ("the end. " * 100, 1 - 3 / 297),
        ("no! " * 4, 1 - 2 / 5),  # a punctuation mark is a word
        ("One two three four one two three four", 0.0),  # case makes a difference
        ("cat's cat's cat's cat's cat's", 0.5),  # an apostrophe does not end a word
        ("....." * 2, 1 - 1 / 7),
        ("你好你好你好", 1 - 2 / 3),  # a character is a word
        ("мир и мир и мир", 0.0),
        ("\N{WAVING HAND SIGN}\N{EMOJI MODIFIER FITZPATRICK TYPE-4}" * 5, 0.5),
    ],
)
def test_repetition(text: str, expected: float) -> None:
    assert repetition(text) == pytest.approx(expected)
    assert variety("", "", text) == pytest.approx(1 - expected)


@pytest.mark.parametrize("text", ["", " \n\t", "one two three", "\u3000\u2029", "...", "你好吗"])
def test_a_short_text_can_not_repeat_itself(text: str) -> None:
    assert repetition(text) is None
    with pytest.raises(ValueError, match="fewer than 4 words"):
        variety("", "", text)


@given(st.lists(st.sampled_from("abcd.\n你"), max_size=40).map(" ".join))
def test_repetition_counts_the_4_grams_that_came_before(text: str) -> None:
    words = text.split()
    seen, repeated = set[tuple[str, ...]](), 0
    for start in range(len(words) - 3):
        gram = tuple(words[start : start + 4])
        repeated += gram in seen
        seen.add(gram)
    found = repetition(text)
    assert found == (pytest.approx(repeated / (len(words) - 3)) if len(words) > 3 else None)


@given(st.text(), st.integers(1, 5))
def test_every_text_has_a_share_or_none(text: str, n: int) -> None:
    share = distinct_share([text, text], n)
    assert share is None or 0 < share <= 0.5
    assert (share is None) == (distinct_share([text], n) is None)


def test_distinct_n_over_texts() -> None:
    texts = ["the cat sat", "the cat ran"]
    assert distinct_share(texts, 1) == pytest.approx(4 / 6)
    assert distinct_share(texts, 2) == pytest.approx(3 / 4)  # nothing over two texts
    assert distinct_share(texts, 3) == 1
    assert distinct_share(texts, 4) is distinct_share([], 1) is distinct_share([""], 1) is None


@pytest.mark.parametrize(
    ("rewrite", "share"),
    [
        ("The old bridge was built of stone. It carried carts over the river.", 1.0),
        ("built CARRIED, stone and bridge; old river with carts", 1.0),  # order and case are free
        ("The old bridge was built of stone.", 4 / 7),
        ("It was over.", 0.0),
        ("", 0.0),
        ("stone stone stone", 1 / 7),
    ],
)
def test_what_survives_of_a_text(rewrite: str, share: float) -> None:
    original = "The old bridge was built of stone. It carried carts over the river."
    assert kept("before", original, rewrite) == pytest.approx(share)


def test_a_word_that_comes_twice_survives_twice() -> None:
    assert kept("", "Rain, rain and 3 ships", "Rain on 3 ships") == pytest.approx(3 / 4)
    assert kept("", "你好世界", "你好") == pytest.approx(1 / 2)
    with pytest.raises(ValueError, match="no content word in the original"):
        kept("", "It was, and so it is.", "It was.")


def test_the_shipped_measures() -> None:
    """Functions of the project, and the judge's own model; none is asked a question."""
    likelihood, measured = load_criterion("likelihood"), load_criterion("variety")
    assert (likelihood.name, likelihood.kind, likelihood.needs_engine) == (
        "likelihood",
        "likelihood",
        True,
    )
    assert (measured.name, measured.kind, measured.needs_engine) == ("variety", "python", False)
    survives = load_criterion("kept")
    assert (survives.name, survives.kind, survives.needs_engine) == ("kept", "python", False)
    assert {likelihood.weight, measured.weight} == {1}
