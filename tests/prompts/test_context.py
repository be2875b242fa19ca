"""The context of a chunk: what stands before it, within its limit, and shared."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.engine.tokenizer import load_tokenizer
from prewrite.prompts.context import contexts, lead
from prewrite.rewrite.chunker import Chunker
from prewrite.shards.schema import Row

MODEL = "models/smollm2-135m-instruct"


def rows(*sizes: int) -> list[dict[str, Any]]:
    return [{"original": f"<{n}>", "original_tokens": size} for n, size in enumerate(sizes)]


def test_a_context_is_all_before_the_chunk() -> None:
    assert contexts(rows(5, 5, 5, 5), 100) == [
        (),
        ("<0>",),
        ("<0>", "<1>"),
        ("<0>", "<1>", "<2>"),
    ]
    assert contexts([], 100) == []


def test_over_the_limit_the_start_moves_until_half_is_left() -> None:
    found = contexts(rows(*[10] * 9), 40)
    assert [len(context) for context in found] == [0, 1, 2, 3, 4, 2, 3, 4, 2]
    assert found[5] == ("<3>", "<4>")
    assert found[8] == ("<6>", "<7>")


def test_a_single_chunk_may_be_more_than_half() -> None:
    assert contexts(rows(10, 35, 10), 40) == [(), ("<0>",), ("<1>",)]


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(1, 100))
def test_a_context_is_a_suffix_of_what_stands_before_within_its_limit(
    sizes: list[int], limit: int
) -> None:
    document = rows(*(min(size, limit) for size in sizes))
    sized = {row["original"]: row["original_tokens"] for row in document}
    names = list(sized)
    for index, context in enumerate(contexts(document, limit)):
        assert list(context) == names[index - len(context) : index]
        assert sum(sized[name] for name in context) <= limit
        assert index == 0 or context or sized[names[index - 1]] == 0


TEXTS = {
    "english": "The town lies on the river, and its bridge was built in 1742. " * 600,
    "chinese": "漢字仮名交じり文は空白を含まない。" * 900,
    "chinese, one space": "漢字仮名交じり文は空白を含まない。" * 900 + " 終",
    "one word": "x" * 40_000,
    "code": "for (int i = 0; i < n; ++i) {\n\ttotal += a[i];\n}\n" * 400,
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_row_longer_than_the_limit_is_cut_to_its_end(name: str) -> None:
    """The context row of `cuts: one`."""
    tokenizer, text = load_tokenizer(MODEL), TEXTS[name]
    size = len(tokenizer.encode(text).ids)
    document: list[dict[str, Any]] = [{"original": text, "original_tokens": size}, *rows(10)]
    (tail,) = contexts(document, 1000)[1]
    assert text.endswith(tail)
    assert 700 <= len(tokenizer.encode(tail).ids) <= 1000
    assert document[0]["original"] == text


def test_a_cut_row_starts_at_white_space() -> None:
    text = "one two three four five six seven eight nine ten " * 100
    document = [{"original": text, "original_tokens": 1000}, *rows(10)]
    assert contexts(document, 100)[1][0][0] == " "


def test_one_cut_documents_have_one_context() -> None:
    chunker = Chunker(load_tokenizer(MODEL), 32, "one")
    chunks = chunker(TEXTS["english"], "d")
    document: list[Row] = [{"original": c.text, "original_tokens": c.tokens} for c in chunks]
    (context,) = contexts(document, 200)[1]
    assert document[0]["original"].endswith(context)


@pytest.mark.parametrize(
    ("context", "begin"),
    [
        ((), ""),
        (("",), ""),
        (("one two three four five six seven",), "three four five six seven"),
        (("one two three four ", "five six", " seven\n\n"), "three four five six seven\n\n"),
        (("only three words",), "only three words"),
        ((" only three words ",), " only three words "),
        (("far away", "1 ", "2 ", "3 "), "1 2 3 "),
        (("in a wo",), "in a wo"),
        ((" \n ",), " \n "),
        (("漢字仮名交じり文",), "漢字仮名交じり文"),
        (("x" * 1000,), "x" * 400),
    ],
)
def test_lead_is_the_last_words_with_the_white_space_behind_them(
    context: tuple[str, ...], begin: str
) -> None:
    assert lead(context) == begin
    assert "".join(context).endswith(lead(context))


@given(st.text("ab \n\x85\u2028\xa0é", max_size=40), st.integers(1, 6))
def test_the_lead_is_the_end_of_the_context_from_its_last_words_on(text: str, words: int) -> None:
    found = lead([text], words)
    assert text.endswith(found)
    assert found.split() == text.split()[-words:]
    assert not found[:1].isspace() or len(text.split()) < words
    rest = text[: len(text) - len(found)]
    assert not rest or rest[-1].isspace()
