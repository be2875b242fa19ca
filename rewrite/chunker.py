"""Cut a document in chunks of N tokens that join back to it byte for byte.

Cuts stand between tokens, never inside a character (a byte-level tokenizer may split one over
several tokens), and at white space where the last quarter of a chunk has any; with `exact` they are
not moved to white space. Chunks are slices of the document, so joining them is the document,
whatever the tokenizer normalises.

Cost: one tokenisation a document. A document is tokenised in windows of at most 64 Ki characters,
which bounds memory and the quadratic worst case of tokenizers on one huge word.
"""

import hashlib
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

from tokenizers import Encoding

from prewrite.engine.tokenizer import PlainTokenizer

_WINDOW = 1 << 16
_CLUMP = 8  # more tokens than two characters ever are

_APART = ThreadPoolExecutor(1, "tokenise")
"""A tokenisation takes and frees thousands of pieces of memory. A thread of its own has memory of
its own (glibc), so none is looked for between rows that stay: a pass takes a fifth less CPU time.
"""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A slice of a document, its number of tokens, and whether it is to be rewritten."""

    text: str
    tokens: int
    target: bool


@dataclass(frozen=True)
class Chunker:
    """Chunks of at most `tokens` tokens; `cuts`: every chunk is a target, or one (seeded).

    exact: chunks of `tokens` tokens wherever a character allows it, and no others are targets; with
    `cuts: one` nor is the first of a document, which has no context.
    """

    tokenizer: PlainTokenizer
    tokens: int
    cuts: Literal["every", "one"] = "every"
    seed: int = 0
    exact: bool = False

    def __call__(self, text: str, doc_id: str) -> list[Chunk]:
        """The chunks of `text`; joined they are `text`; no chunk is empty."""
        pieces = [piece for window in _windows(text) for piece in self._cut(window)]
        if self.cuts == "every":
            return [Chunk(piece, n, self._is_target(piece, n)) for piece, n in pieces]
        return self._one(pieces, doc_id)

    def _is_target(self, piece: str, tokens: int) -> bool:
        return not piece.isspace() and (tokens == self.tokens or not self.exact)

    def _one(self, pieces: list[tuple[str, int]], doc_id: str) -> list[Chunk]:
        """A context, a suffix of one chunk, and what follows it (arXiv 2601.21343, 1.1.1)."""
        if len(pieces) < 2:
            return [Chunk(piece, n, not (self.exact or piece.isspace())) for piece, n in pieces]
        suffixes = [i for i, piece in enumerate(pieces) if i and self._is_target(*piece)]
        digest = hashlib.sha256(f"{self.seed}\0{doc_id}".encode("utf-8", "replace")).digest()
        draw = random.Random(int.from_bytes(digest[:8], "big"))  # noqa: S311  (no secret)
        cut = draw.choice(suffixes) if suffixes else len(pieces)
        parts = [(pieces[:cut], False), (pieces[cut : cut + 1], True), (pieces[cut + 1 :], False)]
        return [
            Chunk("".join(p for p, _ in part), sum(n for _, n in part), target)
            for part, target in parts
            if part
        ]

    def _cut(self, text: str) -> Iterator[tuple[str, int]]:
        """(slice, tokens) of one window."""
        tokens = _APART.submit(self.tokenizer.encode, text).result()
        begun, first = 0, 0
        while len(tokens) - first > self.tokens:
            border = self._border(text, tokens, first, begun)
            if border is None:
                break
            at = _span(tokens, border)[0]
            yield text[begun:at], border - first
            begun, first = at, border
        yield text[begun:], len(tokens) - first

    def _border(self, text: str, tokens: Encoding, first: int, begun: int) -> int | None:
        """The token before which to cut: N after `first` or a little less, for white space."""

        def clean(token: int) -> bool:
            return _span(tokens, token - 1)[1] <= _span(tokens, token)[0] > begun

        limit = first + self.tokens
        for token in () if self.exact else range(limit, limit - self.tokens // 4 - 1, -1):
            at = _span(tokens, token)[0]
            if clean(token) and (text[at].isspace() or text[at - 1].isspace()):
                return token
        for token in range(limit, first, -1):
            if clean(token):
                return token
        # One character of more tokens than a whole chunk: cut behind it. Where that is far, the
        # tokenizer lacks some bytes and its offsets overlap: cut between any two characters.
        rest = range(limit + 1, len(tokens))
        far = limit + _CLUMP
        return next(
            (t for t in rest if clean(t) or (t > far and _span(tokens, t)[0] > begun)), None
        )


def _span(tokens: Encoding, token: int) -> tuple[int, int]:
    """Where one token stands; a list of where all do costs a quarter of a tokenisation."""
    found = tokens.token_to_chars(token)
    assert found is not None, "a token has a place"
    return found


def _windows(text: str) -> Iterator[str]:
    """`text` in pieces of at most _WINDOW characters, cut after a line or a word."""
    begun = 0
    while len(text) - begun > _WINDOW:
        limit = begun + _WINDOW
        at = max(text.rfind("\n", begun, limit), text.rfind(" ", begun + _WINDOW // 2, limit))
        at = at if at > begun else limit
        yield text[begun:at]
        begun = at
    if begun < len(text):
        yield text[begun:]
