"""Ways to make a text worse that need no model: each is a function of text and chance alone."""

import random
import re
from collections.abc import Callable
from typing import Literal

CorruptionKind = Literal["shuffled", "repeated", "truncated", "inserted", "falsified", "model"]
"""Those of `CORRUPTIONS`, and `model`: an engine writes the text with a fault in it."""

Chance = random.Random
Corruption = Callable[[str, str, Chance], str | None]
"""(text, a text of another document, chance) → the worse text; None where it does not apply."""

_SENTENCES = re.compile(r"((?<=[.!?])\s+|(?<=[。！？]))")
_WORDS = re.compile(r"\s*\S+")
_NUMBERS = re.compile(r"\d+")
_CAPITAL = "A-ZÀ-ÞΑ-ΩА-Я"
_LOWER = rf"[^\W\d_{_CAPITAL}]"
_NAMES = re.compile(rf"(?:(?<={_LOWER} )|(?<={_LOWER}, ))[{_CAPITAL}]\w+(?: [{_CAPITAL}]\w+)*")
"""Capitalised words that do not begin a sentence."""


def shuffled(text: str, other: str, draw: Chance) -> str | None:
    """The sentences in another order; the white space between them stays."""
    parts = _SENTENCES.split(text)
    sentences = parts[::2]
    if len({sentence.strip() for sentence in sentences}) < 3:
        return None
    while parts[::2] == sentences:
        parts[::2] = draw.sample(sentences, len(sentences))
    return "".join(parts)


def repeated(text: str, other: str, draw: Chance) -> str | None:
    """Some words over and over in place of the second half; as many words as before."""
    words = _WORDS.findall(text)
    if len(words) < 24:
        return None
    span, begin = draw.randint(6, 10), draw.randrange(len(words) // 4, len(words) // 2)
    loop = words[begin : begin + span]
    rest = len(words) - begin - span
    return "".join(words[: begin + span] + (loop * rest)[:rest])


def truncated(text: str, other: str, draw: Chance) -> str | None:
    """The first third."""
    words = _WORDS.findall(text)
    return "".join(words[: len(words) // 3]) if len(words) >= 24 else None


def inserted(text: str, other: str, draw: Chance) -> str | None:
    """Twelve words of another document in the midst."""
    words, foreign = _WORDS.findall(text), other.split()
    if len(words) < 12 or len(foreign) < 12:
        return None
    place = draw.randrange(len(words) // 4, 3 * len(words) // 4)
    begin = draw.randrange(len(foreign) - 11)
    return "".join([*words[:place], " ", " ".join(foreign[begin : begin + 12]), *words[place:]])


def falsified(text: str, other: str, draw: Chance) -> str | None:
    """Two names exchanged and every number another of as many digits, where there are some."""
    numbered = _NUMBERS.sub(lambda found: _other_number(found[0], draw), text)
    names = sorted(set(_NAMES.findall(numbered)))
    if len(names) > 1:
        a, b = draw.sample(names, 2)
        either = "|".join(re.escape(name) for name in sorted((a, b), key=len, reverse=True))
        numbered = re.sub(rf"\b({either})\b", lambda f: b if f[0] == a else a, numbered)
    return numbered if numbered != text else None


def _other_number(digits: str, draw: Chance) -> str:
    low = 10 ** (len(digits) - 1) if len(digits) > 1 else 0
    found = digits
    while found == digits:
        found = str(draw.randrange(low, 10 ** len(digits)))
    return found


CORRUPTIONS: dict[CorruptionKind, Corruption] = {
    "shuffled": shuffled,
    "repeated": repeated,
    "truncated": truncated,
    "inserted": inserted,
    "falsified": falsified,
}

_TOLD = re.compile(r'"corruption": "([a-z]+)"}\Z')


def with_corruption(meta: str | None, kind: CorruptionKind) -> str:
    """`meta`, the text of a JSON object, with one more key, its last."""
    inside = (meta or "{}").strip()[1:-1].strip()
    return f'{{{inside}{", " if inside else ""}"corruption": "{kind}"}}'


def corruption_of(meta: str | None) -> str | None:
    """The kind that `with_corruption` has put there."""
    found = _TOLD.search(meta or "")
    return found[1] if found else None
