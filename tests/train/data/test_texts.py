"""Pieces of a document, tokenised each on its own, join to the document."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from prewrite.engine.tokenizer import PlainTokenizer
from prewrite.train.data.texts import TextTokens
from tests.train.data.sets import HOSTILE, ids, tokenizer

WORDS = ("▁", "the", "▁the", "▁fox", "fox", "o", "x", "f", "t", "h", "e", "<unk>")
SPACES = {
    "llama 2": (
        normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]),
        None,
    ),
    "llama 2, newer": (None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
    "metaspace": (None, pre_tokenizers.Metaspace()),
    "in a list": (None, pre_tokenizers.Sequence([pre_tokenizers.Metaspace()])),
    "only": (normalizers.Prepend("▁"), pre_tokenizers.Split(" ", "isolated")),
}


def spaced(name: str) -> Tokenizer:
    """A tokenizer that, like SentencePiece's, puts a space before every text."""
    merges = [("▁", "fox"), ("f", "o"), ("fo", "x"), ("t", "h"), ("th", "e"), ("▁", "the")]
    vocabulary = {word: n for n, word in enumerate((*WORDS, "fo", "th"))}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>"))
    normalizer, pre_tokenizer = SPACES[name]
    if normalizer:
        made.normalizer = normalizer
    if pre_tokenizer:
        made.pre_tokenizer = pre_tokenizer
    made.decoder = decoders.Replace("▁", " ")
    return made


@pytest.mark.parametrize("name", SPACES)
def test_only_the_first_piece_gets_a_space(name: str) -> None:
    made = spaced(name)
    if name == "only":
        assert made.encode("fox").tokens == ["▁fox"]
    texts = TextTokens(PlainTokenizer(made.to_str()))
    pieces = [("the fox", True), (" the", False), ("x fox", False)]
    joined = [int(token) for piece in pieces for token in texts(piece)]
    if name != "only":
        assert made.decode(joined) == " the fox thex fox"
    assert list(texts(("fox", True))) != list(texts(("fox", False)))
    assert [made.id_to_token(int(t)) for t in texts(("fox", False))] == ["fox"]


def test_a_byte_level_tokenizer_gets_a_space_nowhere() -> None:
    texts = TextTokens(tokenizer())
    assert list(texts(("fox", True))) == list(texts(("fox", False))) == ids("fox")


def test_special_tokens_in_a_text_are_characters_also_where_no_space_is_put() -> None:
    made = spaced("llama 2")
    made.add_special_tokens(["the"])
    made.encode_special_tokens = True
    special = made.encode("x").ids  # as a whole text
    assert special
    texts = TextTokens(PlainTokenizer(made.to_str()))
    number = len(WORDS) + 2
    assert all(
        number not in texts((text, begins))
        for text in ("fox the", "the")
        for begins in (True, False)
    )


@settings(max_examples=30)
@given(st.lists(st.text(max_size=6) | st.sampled_from(HOSTILE), max_size=8), st.integers(0, 8))
def test_what_is_prepared_together_is_what_is_made_alone(given: list[str], count: int) -> None:
    texts, wanted = TextTokens(tokenizer()), [(text, n == 0) for n, text in enumerate(given)]
    texts.prepare(wanted[:count])
    assert [list(texts(text)) for text in wanted] == [ids(text) for text, _ in wanted]
