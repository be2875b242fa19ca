"""What became of a rewrite: its status, and the reason where it is not usable."""

from dataclasses import dataclass

from prewrite.engine.types import FinishReason
from prewrite.prompts.config import LengthConfig
from prewrite.prompts.text import is_refusal
from prewrite.shards.schema import RewriteStatus


@dataclass(frozen=True, slots=True)
class Checked:
    """A status, the usable text or None, and the reason of one that is not `ok` or `copied`.

    dropped: of a text with thoughts the reasons of those that were left out, each once for each.
    """

    status: RewriteStatus
    text: str | None = None
    reason: str | None = None
    dropped: tuple[str, ...] = ()


def check(
    original: str,
    answer: str,
    finish: FinishReason,
    repeats: bool,
    length: LengthConfig,
    copies: bool = True,
) -> Checked:
    """Judge a raw answer by its form. A refusal counts as one only where the original is none.

    repeats: whether it holds eight words in a row of the prompt. copies: whether a copy is good.
    """
    text = bare(answer)
    if fault := fault_of(original, text, finish, repeats):
        return fault
    if text.split() == original.split():
        return Checked("copied", original) if copies else Checked("failed", reason="copied")
    ratio = len(text) / len(original.strip())
    if not length.min <= ratio <= length.max:
        return Checked("failed", reason="too_short" if ratio < length.min else "too_long")
    if finish == "length":
        return Checked("truncated", fit(original, text), reason="max_tokens")
    return Checked("ok", fit(original, text))


def bare(answer: str) -> str:
    """An answer without white space around it and without half a character at its end."""
    return answer.rstrip("\N{REPLACEMENT CHARACTER}").strip()


def fault_of(original: str, text: str, finish: FinishReason, repeats: bool) -> Checked | None:
    """What makes an answer useless whatever was asked for, or None. See `check`."""
    if finish == "filtered":
        return Checked("refused", reason="content_filter")
    if finish == "refused":
        return Checked("refused", reason="refusal")
    if not text:
        return Checked("empty", reason="no_text")
    if not _is_unicode(text):
        return Checked("failed", reason="not_unicode")
    if repeats:
        return Checked("failed", reason="leaked_prompt")
    if is_refusal(text) and not is_refusal(original):
        return Checked("refused", reason="refusal")
    return None


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
