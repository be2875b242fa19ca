"""Answers of models that think aloud: what is said behind the thoughts."""

import re

_NAMES = "think|thinking|thought|thoughts|reasoning|reflection"
_OPEN = re.compile(rf"\s*(?:<(?:{_NAMES})>|◁think▷|\[THINK\])", re.IGNORECASE)
_CLOSE = re.compile(rf"</(?:{_NAMES})>|◁/think▷|\[/THINK\]", re.IGNORECASE)


def spoken(text: str, source: str = "") -> str | None:
    """`text` without the reasoning that stands before it; None where the reasoning does not end. A
    chat template may open it in the prompt, so only its end counts. source: a text that may speak
    of such tags itself; then its answer may.
    """
    if _CLOSE.search(source) or _OPEN.match(source):
        return text
    ends = [found.end() for found in _CLOSE.finditer(text)]
    if ends:
        return text[ends[-1] :]
    return None if _OPEN.match(text) else text
