"""Two texts compared by their words: how much they share, and a diff to be read side by side.

A word is what stands between white space; a Han or Kana character is a word of its own.
"""

import re
from collections import Counter
from difflib import SequenceMatcher

from markupsafe import Markup, escape

from prewrite.base.text import printable
from prewrite.shards.thoughts import MARKERS, parted

LONGEST = 400
"""Words of a text that are compared for a diff: its cost grows with their square, and worse."""

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+")
_PIECE = re.compile(rf"(?:{_WORD.pattern})\s*|\s+")


def overlap(first: str, second: str) -> float:
    """Share of words that two texts have in common, 0..1, in any order: 2·|A ∩ B| / (|A| + |B|) of
    their multisets, the F1 of ROUGE-1. Two texts without a word share all of them.
    """
    if first == second:
        return 1.0
    a, b = _words(first), _words(second)
    if not a and not b:
        return 1.0
    return 2 * sum((Counter(a) & Counter(b)).values()) / (len(a) + len(b))


def _words(text: str) -> list[str]:
    return text.split() if text.isascii() else _WORD.findall(text)


def diff(first: str, second: str) -> tuple[Markup, Markup]:
    """Both texts as HTML: words that only the first has in `<del>`, only the second in `<ins>`.

    Texts are escaped and control characters replaced. Only the first LONGEST words are compared.
    Where the second is the first with thoughts in it, they alone are marked.
    """
    if marked := _with_thoughts(first, second):
        return marked
    a, b = _PIECE.findall(printable(first)), _PIECE.findall(printable(second))
    matcher = SequenceMatcher(
        None, [w.strip() for w in a[:LONGEST]], [w.strip() for w in b[:LONGEST]], autojunk=False
    )
    left, right = Markup(), Markup()
    for kind, a1, a2, b1, b2 in matcher.get_opcodes():
        left += _marked("del" if kind != "equal" else "", a[a1:a2])
        right += _marked("ins" if kind != "equal" else "", b[b1:b2])
    return left + _marked("", a[LONGEST:]), right + _marked("", b[LONGEST:])


def _with_thoughts(first: str, second: str) -> tuple[Markup, Markup] | None:
    """Both texts, where the second is the first but for its thoughts."""
    try:
        parts = parted(second)
    except ValueError:
        return None
    if len(parts) == 1 or "".join(parts[::2]) != first:
        return None
    opened, closed = MARKERS
    thoughts = {at: [f" {opened} {printable(parts[at])}{closed}"] for at in range(1, len(parts), 2)}
    pieces = (thoughts.get(at) or [printable(part)] for at, part in enumerate(parts))
    right = (_marked("ins" if at in thoughts else "", piece) for at, piece in enumerate(pieces))
    return escape(printable(first)), Markup().join(right)


def _marked(tag: str, pieces: list[str]) -> Markup:
    """Pieces in a tag; the white space at their end stands behind it."""
    text = "".join(pieces)
    body = text.rstrip()
    if not tag or not body:
        return escape(text)
    return Markup("<{0}>{1}</{0}>{2}").format(Markup(tag), body, text[len(body) :])  # noqa: S704
