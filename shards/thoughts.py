"""Thoughts in a text of a set, which stand there as ` <think> thought</think>`.

The spaces around the first marker belong to it. Without the one before it a tokenizer joins the
full stop and `<` in one token; then a model that has written the full stop cannot begin a thought.
Without the one after it `>` may be joined with the first word; then a prompt that ends with the
marker ends within a token.
"""

import re

MARKERS = ("<think>", "</think>")
"""What stands before a thought and behind it. Neither begins as the other ends, so whatever stands
beside them they are found again.
"""

_THOUGHT = re.compile(f" {MARKERS[0]} (.*?){MARKERS[1]}", re.DOTALL)


def parted(text: str) -> list[str]:
    """The text around the thoughts and the thoughts in turn, text first and last; ValueError where
    a marker lacks its other one, or the first one a space.
    """
    parts = _THOUGHT.split(text)
    if any(marker in part for part in parts for marker in MARKERS):
        raise ValueError(f"{' and '.join(MARKERS)} do not stand in pairs, spaces around the first")
    return parts
