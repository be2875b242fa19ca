"""What became of a rewrite: its status, and the reason where it is not usable."""

import re
from dataclasses import dataclass

from engine.types import FinishReason
from rewrite.config import LengthConfig
from shards.schema import Status

_REFUSAL = re.compile(
    r"""^\W*(?:
      (?:i['’]?m|i\ am)\ (?:sorry|unable|afraid|not\ able|not\ comfortable
      |just\ an?\ (?:ai|language))
    | (?:sorry|apologies),?\ (?:but\ )?(?:i|as\ an)\b
    | i\ apologi[sz]e\b
    | (?:unfortunately|regrettably),?\ i\ (?:can|am|will|must)
    | i\ (?:cannot|can['’]?t|can\ not|won['’]?t|will\ not|must\ decline|decline|do\ not|don['’]?t)
      \ (?:\w+\ ){0,2}
      (?:assist|help|fulfil+|comply|provide|create|generate|write|rewrite|engage|continue|produce|
      support|participate|discuss|offer|answer|complete|condone|feel\ comfortable)\b
    | as\ an?\ (?:ai|artificial|large\ language|language\ model|assistant)\b
    | (?:this|your|the)\ (?:request|content|text|prompt)\ 
      (?:is|appears|seems|violates|contains|goes)
      .{0,60}(?:inappropriate|harmful|against|offensive|unsafe|guidelines|polic)
    )""",
    re.IGNORECASE | re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Checked:
    """A status, the usable text or None, and the reason of a status that is not `ok`."""

    status: Status
    text: str | None = None
    reason: str | None = None


def is_refusal(text: str) -> bool:
    """Whether a text begins the way models refuse."""
    return _REFUSAL.match(text[:300]) is not None


def check(
    original: str, answer: str, finish: FinishReason, leaked: bool, length: LengthConfig
) -> Checked:
    """Judge a raw answer by its form. A refusal counts as one only where the original is none."""
    text = answer.rstrip("\N{REPLACEMENT CHARACTER}").strip()
    if not text:
        return Checked("empty")
    if not _is_unicode(text):
        return Checked("failed", reason="not_unicode")
    if leaked:
        return Checked("failed", reason="leaked_tags")
    if is_refusal(text) and not is_refusal(original):
        return Checked("refused")
    if text.split() == original.split():
        return Checked("copied", original)
    ratio = len(text) / len(original.strip())
    if not length.min <= ratio <= length.max:
        return Checked("failed", reason="too_short" if ratio < length.min else "too_long")
    return Checked("truncated" if finish == "length" else "ok", fit(original, text))


def fit(original: str, text: str) -> str:
    """`text` with the white space around it that `original` has, so that documents join again."""
    body = original.strip()
    begun = original.index(body)
    return original[:begun] + text + original[begun + len(body) :]


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
