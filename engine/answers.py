"""What an endpoint answered, read strictly: the good part of an answer is used, the bad one quoted.

A server may leave out `usage`, give one choice where three were asked for, a text of null beside
its reasoning, or an error with status 200. Nothing is guessed: what cannot be read is a `NoAnswer`,
and what was read and is of no use is the `error` of its request.
"""

import json
import math
import re
import sys
from collections.abc import Sequence
from typing import Any

from prewrite.base.secret import said
from prewrite.engine.types import Completion, FinishReason, Sample, Sampling

LARGEST = 64 << 20
"""Bytes of an answer, unpacked."""

_MOST_TOKENS = 1 << 40
_ROUNDING = 1e-3  # that a log-probability may be above 0
_EXCESS = 0.05  # that probabilities in 16 bits may be above 1 together
_QUOTED = 100  # characters of what a server said
_REASONS: dict[Any, FinishReason] = {
    **dict.fromkeys(("stop", "eos", "eos_token", "stop_sequence", "end_turn"), "stop"),
    **dict.fromkeys(("length", "max_tokens", "model_length"), "length"),
    "content_filter": "filtered",
}
"""The names that servers give to the ends of an answer; any other is not known to be one."""

Dict = dict[str, Any]


class NoAnswer(Exception):
    """An answer with status 200 that is no completion."""


class _Useless(Exception):
    """One choice that was read, and of which nothing can be used; its text says why."""


def parsed(body: bytes) -> Dict:
    """The JSON object of a body. NoAnswer with the server's own words for anything else."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise NoAnswer(f"an answer that is no completion: {quoted(body.decode(errors='replace'))}")
    if answer.get("error") and not answer.get("choices"):
        raise NoAnswer(f"an error with HTTP 200: {quoted(message_of(answer['error']))}")
    return answer


def completion(answer: Dict, ask: Sampling, form: str | None) -> Completion:
    """The samples of an answer of either API, at most `ask.n`, and what they cost. form: how the
    answer was to begin, where it could not be begun for the model.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices:
        raise NoAnswer(f"an answer that is no completion: {quoted(json.dumps(answer))}")
    samples, useless = list[Sample](), list[str]()
    for choice in choices[: ask.n]:
        try:
            samples.append(_sample(choice, ask, form))
        except _Useless as error:
            useless.append(str(error))
    return _costing(answer, samples, None if samples else useless[0])


def likelihood(answer: Dict, after: Sequence[int]) -> Completion:
    """The log-probabilities of the last tokens, `after`, of the prompt."""
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    told = choice.get("prompt_logprobs") if isinstance(choice, dict) else None
    rows = told[-len(after) :] if isinstance(told, list) else []
    if len(rows) != len(after):
        raise NoAnswer("an answer without prompt_logprobs, which likelihoods are read from")
    found = [
        _logprob(_item(_item(row, str(token)), "logprob"))
        for row, token in zip(rows, after, strict=True)
    ]
    return _costing(answer, [Sample("", "stop", tuple(after), tuple(found))], None)


def quoted(text: str) -> str:
    """A server's own words, fit to be shown."""
    return said(text, _QUOTED) or "nothing"


def message_of(error: Any) -> str:
    """What an error says, without the JSON around it."""
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else json.dumps(error)


def _costing(answer: Dict, samples: Sequence[Sample], error: str | None) -> Completion:
    usage = answer.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    cached = _count(details.get("cached_tokens")) if isinstance(details, dict) else None
    before, after = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    return Completion(
        samples=tuple(samples),
        prompt_tokens=before or 0,
        cached_tokens=cached,
        output_tokens=after or 0,
        tokens_told=before is not None and after is not None,
        error=error,
    )


def _count(value: Any) -> int | None:
    """A number of tokens; None where the server tells none that can be one."""
    return int(value) if isinstance(value, int | float) and 0 <= value <= _MOST_TOKENS else None


def _sample(choice: Any, ask: Sampling, form: str | None) -> Sample:
    if not isinstance(choice, dict):
        raise NoAnswer(f"an answer that is no completion: {quoted(json.dumps(choice))}")
    if choice.get("error"):
        raise _Useless(f"an error in place of an answer: {quoted(message_of(choice['error']))}")
    filtered = choice.get("finish_reason") == "content_filter"
    text, reason = _text(choice, filtered), _end(choice.get("finish_reason"))
    if reason == "stop" and _refusal(choice):
        reason = "refused"
    if ask.verdicts and reason in ("filtered", "refused"):
        return Sample(text, reason)
    told = choice.get("logprobs")
    if not isinstance(told, dict | None):
        raise _odd(told)
    if not told and ask.verdicts:
        raise NoAnswer("an answer without logprobs, which verdicts are read from")
    tops = _tops(told, ask.verdicts, form) if ask.verdicts else {}
    shares = {name: math.exp(tops[name]) if name in tops else 0.0 for name in ask.verdicts}
    if sum(shares.values()) > 1 + _EXCESS:
        raise _odd(tops)
    return Sample(
        text,
        reason,
        _ids(choice.get("token_ids")) if ask.logprobs else (),
        _logprobs(told) if told and ask.logprobs else (),
        shares,
    )


def _text(choice: Dict, filtered: bool) -> str:
    """The text of a choice; a refusal in words of its own counts as one. filtered: a host's filter
    may have left none.
    """
    message = choice.get("message", choice)
    message = message if isinstance(message, dict) else {}
    text = message.get("content") if "message" in choice else choice.get("text")
    if isinstance(text, list):
        text = _joined(text)
    if text is None:
        text = _refusal(choice)
    if isinstance(text, str) or (filtered and text is None):
        return text or ""
    end = choice.get("finish_reason")
    thought = message.get("reasoning_content") or message.get("reasoning")
    if thought:
        raise _Useless(f"only reasoning and no text (finish_reason {end}): {quoted(str(thought))}")
    if end not in ("stop", None):
        raise _Useless(f"no text (finish_reason {quoted(str(end))})")
    raise NoAnswer("an answer that is no completion: it has no text")


def _joined(parts: list[Any]) -> str | None:
    """The text of an answer in parts; those that are no text (thoughts, tools) are left out."""
    texts = [
        part.get("text")
        for part in parts
        if isinstance(part, dict) and part.get("type", "text") in ("text", "output_text")
    ]
    found = [text for text in texts if isinstance(text, str)]
    return "".join(found) if found else None


def _refusal(choice: Dict) -> str | None:
    message = choice.get("message")
    if not isinstance(message, dict) or message.get("content"):
        return None
    refusal = message.get("refusal")
    return refusal if isinstance(refusal, str) else None


def _end(reason: Any) -> FinishReason:
    if isinstance(reason, str) and reason in _REASONS:
        return _REASONS[reason]
    raise _Useless(f"finish_reason: found {quoted(str(reason))}; accepted: stop, length")


def _tops(told: Any, verdicts: Sequence[str], form: str | None) -> dict[str, float]:
    """Log-probabilities of the likeliest tokens where the verdict stands, in either API's shape."""
    content = _item(told, "content") if "content" in told else None
    if content is None:
        first = _first(_item(told, "top_logprobs"))
        if not isinstance(first, dict):
            raise _odd(first)
        return {token: _logprob(value) for token, value in first.items()}
    place = _first(content) if form is None else _place(content, verdicts, form)
    if place is None:
        return {}
    found: dict[str, float] = {}
    for item in _list(_item(place, "top_logprobs")):
        token, value = str(_item(item, "token")), _logprob(_item(item, "logprob"))
        found.setdefault(token if form is None else token.strip(), value)
    return found


def _place(content: Any, verdicts: Sequence[str], form: str) -> Any:
    """The token that stands where the answer form puts a verdict, or is all that was said. None:
    there is none; a verdict elsewhere ("A passage …") is a word, and one with more in its line
    ("(A) or (B)") may have been taken back.
    """
    items, before, head = _list(content), "", _bare(form)
    tokens = [str(_item(item, "token")) for item in items]
    for number, (item, token) in enumerate(zip(items, tokens, strict=True)):
        if token.strip() in verdicts:
            said, after = _bare(before), "".join(tokens[number + 1 :])
            alone = not said.strip("([") and not _bare(after).strip(")].")
            here = said.endswith(head) or said.endswith(head.rstrip("(["))
            if alone or (here and not _bare(after.partition("\n")[0]).strip(")]\"'.!")):
                return item
        before += token
    return None


def _bare(text: str) -> str:
    """Without white space and markdown, in lower case."""
    return re.sub(r"[\s*_`]+", "", text).casefold()


def _logprobs(told: Any) -> tuple[float, ...]:
    """Those of the generated tokens, in either API's shape."""
    if "token_logprobs" in told:
        return tuple(_logprob(value) for value in _list(told["token_logprobs"]))
    return tuple(_logprob(_item(item, "logprob")) for item in _list(_item(told, "content")))


def _logprob(value: Any) -> float:
    """A log-probability: finite, and at most 0 but for rounding."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not -sys.float_info.max <= value <= _ROUNDING:  # nor is NaN
        raise _odd(value)
    return min(float(value), 0.0)


def _ids(value: Any) -> tuple[int, ...]:
    ids = _list(value or [])
    if not all(isinstance(token, int) and token >= 0 for token in ids):
        raise _odd(value)
    return tuple(ids)


def _item(value: Any, key: str) -> Any:
    if not isinstance(value, dict) or key not in value:
        raise _odd(value)
    return value[key]


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise _odd(value)
    return value


def _first(value: Any) -> Any:
    if not _list(value):
        raise _odd(value)
    return value[0]


def _odd(value: Any) -> NoAnswer:
    shown = quoted(json.dumps(value, default=str))
    return NoAnswer(f"an answer that is no completion: found {shown} among its log-probabilities")
