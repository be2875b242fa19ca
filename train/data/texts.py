"""Texts to tokens, each text on its own, so that the tokens of a document's chunks join.

Cuts are exact because no token spans two chunks. Special tokens in a text are plain characters
(`engine.tokenizer`). Some tokenizers (SentencePiece's) put a space before every
text; here only the first text of a document gets one, as the whole document would.
"""

import json
import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from prewrite.engine.tokenizer import PlainTokenizer
from prewrite.train.data.trees import Tokens

PlacedText = tuple[str, bool]
"""A text, and whether it begins its document."""


class TextTokens:
    """Tokens of texts; those of one batch are remembered, so that each is tokenised once."""

    def __init__(self, tokenizer: PlainTokenizer) -> None:
        # Set, or a fork (a checkpoint's writer) makes the library warn and go on with one core.
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        self._tokenizers = {True: tokenizer.encoder, False: _without_space(tokenizer.encoder)}
        self._known: dict[PlacedText, Tokens] = {}

    def prepare(self, texts: Iterable[PlacedText]) -> None:
        """Forget what was known, and tokenise these together, on all cores."""
        self._known, wanted = {}, dict.fromkeys(texts)
        for tokenizer in dict.fromkeys(self._tokenizers.values()):  # often one for both
            some = [text for text in wanted if self._tokenizers[text[1]] is tokenizer]
            found = tokenizer.encode_batch_fast([t for t, _ in some], add_special_tokens=False)
            for text, encoding in zip(some, found, strict=True):
                self._known[text] = np.array(encoding.ids, np.int32)

    def __call__(self, text: PlacedText) -> Tokens:
        """Tokens of one text."""
        if text not in self._known:
            encoding = self._tokenizers[text[1]].encode(text[0], add_special_tokens=False)
            self._known[text] = np.array(encoding.ids, np.int32)
        return self._known[text]


def _without_space(tokenizer: Tokenizer) -> Tokenizer:
    """The same tokenizer, but for the space that it puts before each text."""
    parts = {"normalizer": tokenizer.normalizer, "pre_tokenizer": tokenizer.pre_tokenizer}
    found = {key: json.loads(part.__getstate__()) for key, part in parts.items() if part}
    bare = {key: _bare(part) for key, part in found.items()}
    if bare == found:
        return tokenizer
    result = Tokenizer.from_str(json.dumps(json.loads(tokenizer.to_str()) | bare))
    result.encode_special_tokens = tokenizer.encode_special_tokens
    return result


def _bare(part: Any) -> Any:
    """A normalizer or pre-tokenizer without what adds a space; None where nothing is left."""
    match part:
        case {"type": "Prepend"}:
            return None
        case {"type": "Metaspace"}:
            return part | {"prepend_scheme": "never"}
        case {"type": "ByteLevel"}:
            return part | {"add_prefix_space": False}
        case {"type": "Sequence"}:
            inner = "normalizers" if "normalizers" in part else "pretokenizers"
            return part | {inner: [p for p in map(_bare, part[inner]) if p is not None]}
    return part
