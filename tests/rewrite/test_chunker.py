"""Chunks join back to their document byte for byte, whatever the document is."""

import json
import time
import unicodedata
from functools import cache
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prewrite.engine.tokenizer import PlainTokenizer, load_tokenizer
from prewrite.rewrite.chunker import Chunk, Chunker

MODEL = "models/smollm2-135m-instruct"

HOSTILE = (
    "e\u0301\u0323 a\u030a\u0327",  # combining marks
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪🇫🇷",  # characters of many code points
    "שלום \u202eabc\u202c مرحبا",  # right to left, with its marks
    "\x00\x01\x1f\x7f\x85\u2028\u2029",
    "\ufffd\ufeff\ufdd0\U0010ffff\ue000",
    "a\r\nb\rc\n\n\r\r\n\td\x0b\x0c",
    "  \u00a0\u3000\u200b\u2003  ",
    "漢字仮名交じり文は空白を含まない。",
    "𓀀𓁐𝔘𝔫𝔦𝔠𝔬𝔡𝔢",  # four bytes each, several tokens each
    "'d'd'll 's 3.14159 1000000 don't ''",
    "<|im_start|>system\n<|im_end|><|endoftext|><repo_name>",
    "Zażółć gęślą jaźń, naïve façade",
)
texts = st.lists(
    st.one_of(
        st.sampled_from(HOSTILE),
        st.text(max_size=12),
        st.sampled_from((" ", "\n", "the quick brown fox", "x", "  \n")),
    ),
    max_size=24,
).map("".join)
sizes = st.one_of(st.sampled_from((1, 2, 3, 4, 128)), st.integers(1, 128))
cuts = st.sampled_from(("every", "one"))


@cache
def tokenizer() -> PlainTokenizer:
    return load_tokenizer(MODEL)


def length(text: str) -> int:
    return len(tokenizer().encode(text).ids)


def knows_every_byte(text: str) -> bool:
    """SmolLM2 has no token for 21 of the 256 bytes, and its offsets are wrong behind them."""
    ids = tokenizer().encode(text).ids
    return bool(tokenizer().decode(ids) == text)


def unsplittable(text: str) -> bool:
    """One character; or two where one token holds the first and half of the second (` 🏳`)."""
    if len(text) == 1:
        return True
    spans = tokenizer().encode(text).offsets
    return len(text) == 2 and not any(a[1] <= b[0] for a, b in zip(spans, spans[1:], strict=False))


def chunks(
    text: str, tokens: int, cuts: Literal["every", "one"] = "every", seed: int = 0, doc: str = "doc"
) -> list[Chunk]:
    return Chunker(tokenizer(), tokens, cuts, seed)(text, doc)


def joined(found: list[Chunk]) -> str:
    return "".join(chunk.text for chunk in found)


@settings(max_examples=300)
@given(texts, sizes)
@example("".join(HOSTILE), 1)
@example("".join(HOSTILE) * 40, 128)
def test_every_cut_joins_back_in_chunks_that_fit(text: str, tokens: int) -> None:
    found = chunks(text, tokens)
    assert joined(found).encode() == text.encode()
    assert all(chunk.text for chunk in found)
    assert [chunk.target for chunk in found] == [not chunk.text.isspace() for chunk in found]
    if not knows_every_byte(text):
        assert all(chunk.tokens <= tokens + 9 for chunk in found)
        return
    for chunk in found:
        assert length(chunk.text) <= chunk.tokens  # also when the chunk is tokenised alone
        assert chunk.tokens <= tokens or unsplittable(chunk.text)


@settings(max_examples=300)
@given(texts, sizes, st.integers(0, 3))
def test_one_cut_has_a_context_a_target_and_a_rest(text: str, tokens: int, seed: int) -> None:
    found = chunks(text, tokens, "one", seed)
    assert joined(found).encode() == text.encode()
    assert all(chunk.text for chunk in found)
    assert found == chunks(text, tokens, "one", seed)
    every = chunks(text, tokens)
    assert sum(chunk.tokens for chunk in found) == sum(chunk.tokens for chunk in every)
    targets = [index for index, chunk in enumerate(found) if chunk.target]
    if len(every) == 1:
        assert len(found) == 1
    else:
        assert targets in ([], [1])
        assert (targets == [1]) == any(chunk.target for chunk in every[1:])
    for index in targets:
        assert found[index] in every  # a chunk that `every` has too, and never white space


def test_an_empty_document_has_no_chunk() -> None:
    assert chunks("", 8) == chunks("", 8, "one") == []


def test_the_draw_depends_on_seed_and_document() -> None:
    text = "one two three four five six seven eight nine ten " * 20
    draws = {seed: len(chunks(text, 8, "one", seed)[0].text) for seed in range(20)}
    assert len(set(draws.values())) > 5
    by_document = {len(chunks(text, 8, "one", doc=str(n))[0].text) for n in range(20)}
    assert len(by_document) > 5


def test_the_draw_is_the_same_on_every_machine_and_forever() -> None:
    text = "one two three four five six seven eight nine ten " * 20
    (context, target, _) = chunks(text, 8, "one", seed=7, doc="a\ud800b")
    assert (len(context.text), target.text) == (468, " seven eight nine ten one two three four")


def test_every_chunk_can_be_drawn() -> None:
    text = " ".join(f"word{number}" for number in range(20))
    every = {chunk.text for chunk in chunks(text, 4)[1:]}
    drawn = {chunks(text, 4, "one", seed)[1].text for seed in range(400)}
    assert drawn == every


def test_white_space_is_no_target() -> None:
    """There is nothing to rewrite in it, and a ratio to its length is none."""
    text = "A word.\n\n" + " \n" * 200
    for seed in range(10):
        assert not any(chunk.target and chunk.text.isspace() for chunk in chunks(text, 4, "one"))
        assert [chunk.target for chunk in chunks("Hi" + "\n" * 64, 1, "one", seed)] == [False]


def test_cuts_prefer_white_space() -> None:
    text = json.loads(Path("configs/sample/wikipedia.jsonl").read_text().splitlines()[0])["text"]
    found = chunks(text, 64)
    inside = [
        (before.text[-12:], after.text[:12])
        for before, after in zip(found, found[1:], strict=False)
        if not (before.text[-1].isspace() or after.text[0].isspace())
    ]
    assert not inside
    # Not at any price: only the last quarter of a chunk is given up for it.
    assert all(chunk.tokens >= 48 for chunk in found[:-1])


@pytest.mark.parametrize("tokens", [1, 2, 3, 5])
def test_a_character_of_several_tokens_is_not_split(tokens: int) -> None:
    text = "𓀀𓁐𓂀" * 20
    assert length("𓀀") > 2
    found = chunks(text, tokens)
    assert joined(found) == text
    assert all("\ufffd" not in chunk.text for chunk in found)
    if tokens < length("𓀀"):
        assert [chunk.text for chunk in found] == list(text)


def test_a_byte_the_tokenizer_lacks_makes_no_endless_chunk() -> None:
    text = "\U00040000" + "👩\u200d" * 1000
    found = chunks(text, 16)
    assert joined(found) == text
    assert len(found) > 100
    assert all(chunk.tokens <= 16 + 9 for chunk in found)


def test_special_tokens_in_a_document_are_plain_characters() -> None:
    """As for the engine, which never reads them as more: else a chunk of 128 could cost 800."""
    text = "<|im_end|>" * 50
    found = chunks(text, 16)
    assert joined(found) == text
    assert len(found) > 10
    assert sum(chunk.tokens for chunk in found) > 250


def test_one_huge_word() -> None:
    for text in ("x" * 100_000, "漢" * 100_000, unicodedata.lookup("ZERO WIDTH JOINER") * 100_000):
        begun = time.process_time()
        found = chunks(text, 128)
        assert joined(found) == text
        assert all(0 < chunk.tokens <= 128 for chunk in found)
        assert time.process_time() - begun < 5


def test_a_document_of_two_megabytes() -> None:
    lines = Path("configs/sample/c4.jsonl").read_text().splitlines()
    page = "\r\n".join(json.loads(line)["text"] for line in lines)
    text = (page + "".join(HOSTILE)) * (2_000_000 // len(page) + 1)
    found = chunks(text, 128)
    assert joined(found) == text
    assert all(chunk.text and chunk.tokens <= 128 for chunk in found)
    # Windows cost no more than a few short chunks.
    assert len(found) < 1.15 * sum(chunk.tokens for chunk in found) / 112
    one = chunks(text, 128, "one")
    assert joined(one) == text and len(one) == 3


def test_windows_of_lines_that_end_early() -> None:
    """A newline at the start of a long line must not make windows of one character each."""
    text = "a\n" + "b" * 200_000 + "\n" + "c " * 70_000
    found = chunks(text, 128)
    assert joined(found) == text
    assert len(found) <= 3 + sum(chunk.tokens for chunk in found) / 90


def exactly(text: str, tokens: int, cuts: Literal["every", "one"] = "every") -> list[Chunk]:
    return Chunker(tokenizer(), tokens, cuts, 0, exact=True)(text, "doc")


@settings(max_examples=200)
@given(texts, sizes, cuts)
def test_exact_chunks_join_back_and_only_full_ones_are_targets(
    text: str, tokens: int, cuts: Literal["every", "one"]
) -> None:
    found = exactly(text, tokens, cuts)
    assert joined(found).encode() == text.encode()
    assert all(chunk.text for chunk in found)
    for number, chunk in enumerate(found):
        if chunk.target:
            assert chunk.tokens == tokens and not chunk.text.isspace()
            assert number or cuts == "every"


def test_exact_chunks_of_plain_text_have_all_tokens_but_the_last() -> None:
    text = json.loads(Path("configs/sample/wikipedia.jsonl").read_text().splitlines()[0])["text"]
    found = exactly(text, 64)
    assert {chunk.tokens for chunk in found[:-1]} == {64} and found[-1].tokens <= 64
    inside = [c for c in found[1:] if not c.text[0].isspace()]
    assert len(inside) > 1  # they are not moved to white space
    assert [chunk.target for chunk in found[:-1]] == [True] * (len(found) - 1)


def test_one_exact_cut_has_a_context_or_there_is_none() -> None:
    word = " word"
    assert length(word * 8) == 8
    for count, expected in ((5, [False]), (8, [False]), (15, [False]), (16, [False, True])):
        found = exactly(word * count, 8, "one")
        assert [chunk.target for chunk in found] == expected


@pytest.mark.parametrize("tokens", [3, 5])
def test_an_exact_cut_is_never_inside_a_character(tokens: int) -> None:
    text = "𓀀𓁐𓂀" * 20
    found = exactly(text, tokens)
    assert joined(found) == text and all("\ufffd" not in chunk.text for chunk in found)
    assert all(chunk.target == (chunk.tokens == tokens) for chunk in found)
