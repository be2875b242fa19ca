"""The one interface between the pipeline and a language model.

Many coroutines call `Engine.complete`, one request each; the engine batches whatever is waiting
and answers each as it finishes. So the stream of requests is the set of open calls: the caller
bounds it (see `Engine.concurrency`), and no batch ever waits for its slowest member.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

FinishReason = Literal["stop", "length", "filtered", "refused"]
"""filtered: a host's filter cut or changed it; refused: the text is a refusal, by a field of its
own.
"""


@dataclass(frozen=True, slots=True)
class Prompt:
    """A system message, a user turn and the first words of the answer, or token ids as they are.

    system: before the user turn; empty: there is none. It is words, too, and no special tokens.

    user: the pieces of the user turn; joined they are its text. Pieces that several requests
        share (rubric, each chunk of the context) are the same strings, so that they are tokenised
        once and stand at the same tokens for the prefix cache.
    answer: the answer begins with this text; the completion goes on after it.
    tokens: the whole prompt, in place of all: no chat template, nothing tokenised.
    No piece is ever read as a chat template's special tokens.
    """

    user: tuple[str, ...] = ()
    answer: str = ""
    tokens: tuple[int, ...] = ()
    system: str = ""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate. verdicts: single-token texts whose probability as the first token is asked
    for; logprobs: whether those of the generated tokens are. end: the one token that ends an
    answer, as its last, in place of those that the model knows.
    """

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    logprobs: bool = False
    end: int | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt and how to answer it."""

    prompt: Prompt
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Sample:
    """One answer. token_ids and logprobs (natural log, of each generated token) are empty where not
    asked for or not told by an endpoint; verdicts: probability of each asked-for first token.
    """

    text: str
    finish_reason: FinishReason
    token_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    verdicts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Completion:
    """The answers to one request, or `error`: one sentence on why there is none.

    cached_tokens: prompt tokens read from the prefix cache; None when the engine does not tell.
    tokens_told: whether it tells the others; where it does not, they are 0.
    """

    samples: tuple[Sample, ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int | None = 0
    output_tokens: int = 0
    error: str | None = None
    tokens_told: bool = True


def joined(one: Completion, more: Completion) -> Completion:
    """Two answers to one request as one."""
    known = one.cached_tokens is not None and more.cached_tokens is not None
    return Completion(
        samples=(*one.samples, *more.samples),
        prompt_tokens=one.prompt_tokens + more.prompt_tokens,
        cached_tokens=(one.cached_tokens or 0) + (more.cached_tokens or 0) if known else None,
        output_tokens=one.output_tokens + more.output_tokens,
        tokens_told=one.tokens_told and more.tokens_told,
    )


class Engine(Protocol):
    """A model that answers requests; several coroutines and event loops may share it."""

    concurrency: int
    """Requests that run at a time; keep about twice as many open and it never starves."""

    primes: bool
    """Whether an answer goes on from `Prompt.answer`; one that does not begins anew."""

    async def complete(self, request: Request) -> Completion:
        """Answer one request. A request that fails alone has `error`; EngineError: the engine is
        dead or unreachable, nothing more will come.
        """
        ...

    async def likelihood(self, context: Sequence[str], text: str) -> Completion:
        """The log-probability of every token of `text` after `context`, in the one sample's
        `logprobs`: plain text, no chat template, nothing generated. EngineError also where an
        engine cannot tell them.
        """
        ...

    def check_verdicts(self, verdicts: Iterable[str]) -> None:
        """EngineError when a verdict is not one token of this model."""
        ...

    def versions(self) -> dict[str, str]:
        """What the answers depend on beyond the configuration."""
        ...

    def close(self) -> None:
        """Free the model."""
        ...
