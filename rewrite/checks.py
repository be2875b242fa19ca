"""What became of a rewrite: its status, and the reason where it is not usable."""

import re
from dataclasses import dataclass

from engine.types import FinishReason
from rewrite.config import LengthConfig
from shards.schema import Status

_CANNOT = r"""
    i(?:
      \ (?:can['’]?t|cannot(?:\ and\ will\ not)?|can\ not|could(?:n['’]t|\ not)|won['’]?t|will\ not)
    | (?:['’]?m|\ am)\ (?:unable|not\ (?:able|comfortable|allowed|permitted))
    | \ do(?:n['’]?t|\ not)\ (?:feel\ comfortable|think\ i\ (?:can|should))
    | (?:['’]d|\ would)\ (?:rather\ not|prefer\ not)
    )\b"""
"""How a model says that it will not: alone it says nothing (`I can't believe how good this is`)."""

_APOLOGY = r"""
    (?:(?:i['’]?m|i\ am)\ (?:\w+\ )?(?:sorry|afraid)|sorry|(?:my\ )?(?:\w+\ )?apologies
      |i\ (?:\w+\ )?apologi[sz]e)
    (?:\ for\ [\w\ ]{1,40})?(?:[,.;]\ (?:but\ )?|\ but\ )"""

_TASK = r"""
    (?:\ be\ able)?(?:\ to)?(?:\ \w+ly)?\ 
    (?: (?:assist|comply|condon|fulfil+)(?:e|ing)?\b
      | (?:help|provid|creat|generat|(?:re)?writ|produc|continu|engag|participat|discuss|support
          |offer|answer|complet|edit|revis|do)(?:e|ing)?\ 
        (?: (?:you\ )?(?:with\ |in\ )?(?:this|that)[.!]
          | [^.]{0,60}?\b(?:request|passage|text|content|prompt|rewrite|version|story|stories
              |material|topic|task|conversation|instruction|advice)s?\b
        )
    )"""
"""What a model declines to do, and with what."""

_MODEL = r"""
    (?:\w+\ ){0,3}(?:ai|artificial\ intelligence|language\ model|assistant)
    (?:\ (?:language\ )?(?:model|assistant))?"""

_REFUSAL = re.compile(
    rf"""^\W*(?:
      {_APOLOGY}(?:as\ an?\ [\w\ ]{{1,40}},\ )?(?:{_CANNOT}|i\ (?:must|have\ to)\ decline)
    | (?:(?:unfortunately|regrettably|i['’]?m\ afraid|i\ am\ afraid),?\ )?{_CANNOT}{_TASK}
    | i\ (?:(?:must|have\ to|respectfully)\ )?decline\ (?:to\b|th(?:is|at)\b|your\b)
    | as\ an?\ {_MODEL},\ (?:i\b|my\b)
    | (?:i['’]?m|i\ am)\ (?:just|only)\ an?\ {_MODEL}\b
    | (?:this|your|the)\ (?:request|prompt|passage|content|text)\b[^.]{{0,80}}
      (?:\b(?:my|our|safety|content)\ (?:guidelines|polic)|\b{_CANNOT})
    | (?:this|your|the)\ (?:request|prompt)\ (?:is|seems|appears)\ 
      [^.]{{0,40}}\b(?:inappropriate|harmful)
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
