"""Thoughts go into a text and come out of it again, to the byte, whatever the text is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prewrite.prompts.thoughts import (
    Segment,
    has_markers,
    insert,
    is_generic,
    leak,
    segments,
    sentences,
    strip,
)
from prewrite.shards.thoughts import MARKERS

_PARTS = """The bridge was built in 1742.| Then it fell!| “Why?” he asked.|彼は来た。|これは本です！
|Он ушёл…| مرحبا؟|<passage>|</passage-1>|```python|[3] 4: five|12:30|1. One|2. Two|<thi|nk>|</|think
|<|>|Dr. No|e.g. this|...|nospace|{{ x }}|&lt;|a.b.c|?!|— |$x_1 = 3.14$.|😀."""
PARTS = (*_PARTS.split("|"), "\r\n", "\n\n", "\t", "\x00", "\x0b", "\u2028", "\ufeff", "\u200b")
TEXTS = st.lists(st.sampled_from(PARTS) | st.text(max_size=8), max_size=12).map("".join)
THOUGHTS = st.text(max_size=30).filter(lambda text: not any(map(text.__contains__, MARKERS)))


@given(TEXTS)
@example("")
@example(" \n\t ")
@example("***")
@example(". . . .")
def test_sentences_join_to_the_text(text: str) -> None:
    pieces = sentences(text)
    assert "".join(pieces) == text and all(pieces)
    assert len(pieces) < 2 or all(any(map(str.isalnum, one)) or "_" in one for one in pieces)


@given(TEXTS, st.data())
def test_a_text_without_its_thoughts_is_the_text(text: str, data: st.DataObject) -> None:
    if any(map(text.__contains__, MARKERS)):
        with pytest.raises(ValueError, match="in a piece or a thought"):
            insert(sentences(text), {0: "why"})
        return
    pieces = sentences(text)
    places = st.integers(0, len(pieces))
    thoughts = data.draw(st.dictionaries(places, THOUGHTS, max_size=4))
    augmented = insert(pieces, thoughts)
    assert strip(augmented) == text
    found = segments(augmented)
    assert [one.thought for one in found] == [thoughts[at] for at in sorted(thoughts)]
    for at, one in zip(sorted(thoughts), found, strict=True):
        assert (one.before, one.after) == ("".join(pieces[:at]), "".join(pieces[at:]))


def test_sentences_end_where_a_reader_ends_them() -> None:
    told = (
        "Dr. Smith of the U.S. Army slept. “Why?” he said. Pi is 3.14, e.g. here!\n"
        "1. One item\n2. Two\nlines of it\n\nnew one. 彼は来た。彼は見た。"
    )
    assert sentences(told) == [
        "Dr. Smith of the U.S. Army slept.",
        " “Why?” he said.",
        " Pi is 3.14, e.g. here!",
        "\n1. One item",
        "\n2. Two\nlines of it",
        "\n\nnew one.",
        " 彼は来た。",
        "彼は見た。",
    ]


def test_where_thoughts_stand_and_what_is_around_them() -> None:
    text = insert(["One.", " Two.", " Three."], {1: "a", 2: "b"})
    assert text == "One. <think> a</think> Two. <think> b</think> Three."
    assert segments(text) == [
        Segment("One.", "a", " Two. Three."),
        Segment("One. Two.", "b", " Three."),
    ]
    assert segments("One.") == [] and strip("One.") == "One."


@pytest.mark.parametrize(
    "text",
    [
        "a <think> b",
        "a</think>b",
        "a <think> b <think> c</think>",
        "</think>a <think>",
        "a<think> b</think>",
        "a <think>b</think>",
    ],
)
def test_markers_that_are_no_pairs_are_refused(text: str) -> None:
    for read in (strip, segments):
        with pytest.raises(ValueError, match="^<think> and </think> do not stand in pairs, spaces"):
            read(text)


def test_a_thought_behind_no_piece_is_refused() -> None:
    with pytest.raises(ValueError, match="^a thought behind piece 3 of 2$"):
        insert(["One.", " Two."], {3: "why"})


@pytest.mark.parametrize(
    "text",
    [
        *("a <think> b", "</think>", "＜think＞", "&lt;/think&gt;", "<thi\u200bnk>", "<ТHINK>"),
        *("<thinking>", "<|channel|>analysis", "[THINK]", "◁think▷", "<reasoning>"),
    ],
)
def test_what_a_reader_takes_for_a_marker_is_one(text: str) -> None:
    assert has_markers(text)
    assert not has_markers("I think so: a < b, c > d, and <b>bold</b> [1].")


BEFORE = "The mill stood by the river. It was built of stone in 1742."
AFTER = (
    " When the flood of 1784 came, the miller carried nine sacks of rye to the tower. He stayed "
    "there for three days, until a ferryman from Bergen brought him bread and a letter."
)


@pytest.mark.parametrize(
    ("thought", "least", "most"),
    [
        ("A mill by a river has to fear high water; I should say what became of it.", 0, 0),
        ("It was built of stone in 1742.", 0, 0),  # known by then
        ("A ferryman may come.", 0, 0),
        ("I recall: the miller carried nine sacks of rye to the tower.", 0.5, 1),
        ("THE MILLER carried, nine sacks (of rye) to the tower", 0.5, 1),
        ("I know he stayed there for three days, until a ferryman from Bergen came.", 0.5, 1),
        (f"So{AFTER}", 1, 1),
    ],
)
def test_a_planted_leak_is_found(thought: str, least: float, most: float) -> None:
    assert least <= leak(thought, BEFORE, AFTER) <= most


def test_a_copied_clause_is_found_in_a_long_text_too() -> None:
    thought = "I recall: the miller carried nine sacks of rye to the tower."
    long = " ".join(f"Word{n} and other{n} words{n} follow{n} on." for n in range(200))
    assert leak(thought, BEFORE, AFTER + long) == leak(thought, BEFORE, AFTER)


def test_numbers_count_and_one_that_was_worked_out_is_no_leak() -> None:
    assert leak("20 and 22 make 42.", "Add 20 and 22.", " It is 42.") == 0.25
    assert leak("I recall 1784, 9 and 3.", "", " 1784, 9, 3.") == 0.75
    assert leak("Why?", "", "") == leak("", "a", "b") == 0


@given(TEXTS, TEXTS, TEXTS)
def test_a_leak_is_a_share(thought: str, before: str, after: str) -> None:
    assert 0 <= leak(thought, before, after) <= 1
    assert leak(thought, after, after) == 0  # nothing in it is new


@pytest.mark.parametrize(
    ("thought", "generic"),
    [
        *(("Let me think about what comes next.", True), ("What follows?", True), ("…", True)),
        *(("I need to consider the next sentence carefully.", True), ("", True)),
        *(("What does a stone bridge need to stand?", False), ("3 8 0", False), ("なぜ", False)),
    ],
)
def test_a_thought_that_fits_anywhere_is_generic(thought: str, generic: bool) -> None:
    assert is_generic(thought) == generic
