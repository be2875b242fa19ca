"""A judge that can tell and costs nothing: the share of a text's words that are known.

Known are the words that SmolLM2's tokenizer has as one token behind a space, some thirty thousand:
what is frequent in English. Pieces of words put together wrongly, which is what a tiny model
writes, are not among them.
"""

import re
from functools import cache

from prewrite.evaluation.ablation.tiny import MODEL

_WORD = re.compile(r"[^\W\d_]+")
_SPACE = "Ġ"  # how a byte-level tokenizer spells it


def share(context: str, reference: str, candidate: str) -> float:
    """0..1; ValueError for a text without words."""
    words = _WORD.findall(candidate)
    if not words:
        raise ValueError("no words")
    return sum(word.lower() in _known() for word in words) / len(words)


@cache
def _known() -> frozenset[str]:
    from prewrite.engine.tokenizer import load_tokenizer

    tokens = (token for token in load_tokenizer(MODEL).ids() if token.startswith(_SPACE))
    return frozenset(token[1:].lower() for token in tokens if _WORD.fullmatch(token[1:]))
