"""Answers of models that think aloud: what is said behind the thoughts."""

import re

_NAMES = r"(?:[a-z]{1,20}[:_])?(?:think|thinking|thoughts?|reason|reasoning|reflection|scratchpad)"
_OPEN = (
    rf"<\|?\s*{_NAMES}(?:\s[^<>]{{0,80}})?\|?>|<\|(?:begin_of|start)_{_NAMES}\|>|<analysis>"
    r"|◁think▷|\[THINK\]|<\|channel\|>analysis"
)
_CLOSE = (
    rf"<\|?\s*/\s*{_NAMES}\s*\|?>|<{_NAMES}\s*/>|<\|end(?:_of)?_{_NAMES}\|>|</analysis>"
    r"|◁/think▷|\[/THINK\]|<\|channel\|>final<\|message\|>"
)
_MARK = re.compile(rf"(?P<close>{_CLOSE})|{_OPEN}", re.IGNORECASE)
"""Tags as Qwen, DeepSeek, Seed, Kimi, Mistral, Cohere and gpt-oss have them."""

_BEGIN = re.compile(r"[<◁\[]")
"""What each of them begins with: most texts hold none, and are told so at a hundredth of the cost.
"""

_AROUND = re.compile(
    r"<\|(?:begin_of_|start_|end_of_|end_)(?:solution|response)\|>|<\|(?:return|end)\|>",
    re.IGNORECASE,
)
"""What such models put around the answer that follows."""


def spoken(text: str, source: str = "") -> str | None:
    """`text` without the reasoning that stands before it; None where the reasoning does not end. A
    chat template may open it in the prompt, so only its end counts. source: a text that may speak
    of such tags itself; then its answer has the same ones, behind the reasoning.
    """
    found = [*_MARK.finditer(text)] if _BEGIN.search(text) else []
    if not found:
        return text
    own = [*_MARK.finditer(source)]
    before = len(found) - len(own)
    if before < 0 or _tags(found[before:]) != _tags(own):
        return None
    if not before:  # unless it begins with one, where the source does not
        return None if _MARK.match(text.lstrip()) and not _MARK.match(source.lstrip()) else text
    last = found[before - 1]
    return _AROUND.sub("", text[last.end() :]) if last["close"] else None


def has_tags(text: str) -> bool:
    """Whether a text has a tag as models put them around their reasoning."""
    return bool(_BEGIN.search(text) and _MARK.search(text))


def _tags(found: list[re.Match[str]]) -> list[str]:
    return [one[0].casefold() for one in found]
