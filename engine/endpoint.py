"""Any OpenAI-compatible endpoint: several base URLs in turn, keep-alive, bounded retries.

A request is retried on 408, 409, 429 (honouring Retry-After) and 5xx, on dropped connections,
time-outs and answers that are no completion (HTML, half a JSON), each time at the next URL, with
exponential back-off. What happens then: if the endpoint answered anyone since the first retry, this
one request has failed. If nobody got an answer it is asked something harmless in the same way:
unless it answers that, it is down and the run stops, so that an outage never turns a corpus into
failed rows; if it does, the request is tried once more. 401, 403 and 404 stop at once. One that has
refused `_PATIENCE` requests and answered none stops the run, too, unless it answers something
harmless.

`api: completions` sends token ids made here, so special tokens in corpus text stay plain text.
`api: chat` sends text; there the server must be trusted to do that.
"""

import asyncio
import itertools
import math
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any

import openai
import tenacity

from prewrite.base.errors import EngineError
from prewrite.base.secret import from_environment, said
from prewrite.engine.answers import LARGEST, NoAnswer, completion, likelihood, message_of, parsed
from prewrite.engine.config import EndpointConfig
from prewrite.engine.encoding import PromptEncoder
from prewrite.engine.types import Completion, Prompt, Request, Sample, Sampling, joined

_FATAL = (401, 403, 404)
_RETRIED = (408, 409, 429)
_FILTERED = ("content_filter", "content_policy_violation")
"""Codes of an error with which hosts refuse what their filter finds in a prompt."""
_TOP_LOGPROBS = 20
_Limits = type(openai.DEFAULT_CONNECTION_LIMITS)  # of whichever httpx the client is built on
_LARGEST_ERROR = 1 << 20  # bytes
_HARMLESS = Prompt(("Hello",))
_PATIENCE = 16  # requests refused in a row before anything was answered: it is no row's fault
_UNPRIMED_TOKENS = 16  # where an answer cannot be begun for the model, its verdict comes later
_MOST_STOPS = 4  # hosts take no more; what goes on behind another tag is cut off afterwards


ApiCall = Callable[[openai.AsyncOpenAI], Awaitable[Completion]]
_NO_ANSWER = (openai.APIError, NoAnswer, TimeoutError)


@dataclass
class _Connections:
    """What belongs to one event loop: a client a URL, and the limit of open requests."""

    clients: list[openai.AsyncOpenAI]
    limit: asyncio.Semaphore
    closing: AsyncGenerator[None, None]


class EndpointEngine:
    """The endpoint of `config`; EngineError when a URL is unreachable at the start."""

    def __init__(self, config: EndpointConfig) -> None:
        self.config, self.concurrency = config, config.concurrency
        self.primes = config.api == "completions" or config.primed
        self._encoder: PromptEncoder | None = None
        if config.api == "completions":
            self._encoder = PromptEncoder(str(config.tokenizer), config.template_args)
        self._key, self._headers = _key(config), _headers(config)
        self._turn = itertools.count()
        self._answered = 0.0
        self._refused = 0
        # The client ties its connections to an event loop, and a run has one loop a task.
        self._loops: dict[asyncio.AbstractEventLoop, _Connections] = {}
        for url in config.urls:
            self._probe(url)

    async def complete(self, request: Request) -> Completion:
        """See `engine.types.Engine.complete`."""
        if request.prompt.tokens and not self._encoder:
            raise EngineError(
                f"the endpoint of {self.config.model}: api: chat takes no token ids; accepted: "
                "api: completions, or kind: vllm"
            )
        harmless = Request(_HARMLESS, request.sampling)
        return await self._delivered(
            lambda client: self._ask(client, request), lambda client: self._ask(client, harmless)
        )

    async def likelihood(self, context: Sequence[str], text: str) -> Completion:
        """See `engine.types.Engine.likelihood`: vLLM's `prompt_logprobs`, for token ids only."""
        if not self._encoder:
            raise EngineError(
                f"the endpoint of {self.config.model}: api: chat cannot tell the likelihood of a "
                "text; accepted: api: completions on a vLLM server, or kind: vllm"
            )
        before, after = self._encoder.plain(context, text)
        if not before or not after:
            return Completion(error="a text without tokens, or without one before it")
        return await self._delivered(
            lambda client: self._score(client, before, after),
            lambda client: self._score(client, before[:1], after[:1]),
        )

    async def _delivered(self, ask: ApiCall, harmless: ApiCall) -> Completion:
        """What one request comes to in the end, tries and all."""
        here = await self._here()
        async with here.limit:
            turn, since = next(self._turn), 0.0
            try:
                async for attempt in self._retrying():
                    number = attempt.retry_state.attempt_number
                    if number <= 2:
                        since = time.monotonic()
                    with attempt:
                        return await self._once(here, turn + number, ask)
            except _NO_ANSWER as error:
                failure: Exception = error
            if not self._is_down(failure, since):
                if self._is_doubted() and not await self._answers(here, turn, harmless):
                    sentence = self._sentence(failure)
                    raise EngineError(
                        f"{sentence} (so it answered all of the first {_PATIENCE} requests)"
                    )
                return self._failed(failure)
            if not await self._answers(here, turn, harmless):
                raise EngineError(self._sentence(failure))
            try:
                return await self._once(here, turn, ask)
            except _NO_ANSWER as error:
                return self._failed(error)

    async def _answers(self, here: _Connections, turn: int, harmless: ApiCall) -> bool:
        """Whether it answers something harmless, asked in the same way."""
        try:
            await self._once(here, turn, harmless)
        except _NO_ANSWER:
            return False
        return True

    async def _once(self, here: _Connections, turn: int, ask: ApiCall) -> Completion:
        """One try, at the URL whose turn it is."""
        async with asyncio.timeout(self.config.timeout):
            answer = await ask(here.clients[turn % len(here.clients)])
        self._answered = time.monotonic()
        return answer

    def check_verdicts(self, verdicts: Iterable[str]) -> None:
        """Only `api: completions` knows the tokens; a chat endpoint's verdicts fail one by one."""
        if self._encoder:
            self._encoder.verdict_ids(verdicts)

    def versions(self) -> dict[str, str]:
        """The client; an endpoint does not say what runs behind it."""
        return {"openai": openai.__version__, f"head of {self.config.model}": "unknown"}

    def close(self) -> None:
        """Connections end with their event loop; nothing is held here."""

    def _probe(self, url: str) -> None:
        client = openai.OpenAI(
            base_url=url,
            api_key=self._key,
            default_headers=self._headers,
            max_retries=0,
            timeout=10,
            http_client=openai.DefaultHttpxClient(follow_redirects=False),
        )
        try:
            with client.models.with_streaming_response.list():
                pass  # the list itself is of no interest, and may be endless
        except openai.APIConnectionError as error:
            text = f"the endpoint {url} cannot be reached: {self._words(error)}"
            raise EngineError(text) from None
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            raise EngineError(
                f"the endpoint {url} refuses the key (HTTP {error.status_code}); name the "
                "environment variable that holds it in api_key_env, or in headers"
            ) from None
        except (openai.APIError, ValueError, TypeError, AttributeError):
            pass  # reachable, and not every server lists its models
        finally:
            client.close()

    def _retrying(self) -> tenacity.AsyncRetrying:
        return tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_worth_another),
            wait=_wait,
            stop=tenacity.stop_after_attempt(self.config.retries + 1),
            reraise=True,
        )

    def _is_down(self, error: Exception, since: float) -> bool:
        """Whether nobody got an answer; EngineError where nobody ever will."""
        if getattr(error, "status_code", None) in _FATAL:
            raise EngineError(self._sentence(error)) from None
        return _worth_another(error) and self._answered < since

    def _sentence(self, error: Exception) -> str:
        return f"the endpoint of {self.config.model}: {self._words(error)}"

    def _is_doubted(self) -> bool:
        """Whether so many were refused, and none answered, that it may be no row's fault."""
        return not self._answered and self._refused + 1 >= _PATIENCE

    def _failed(self, error: Exception) -> Completion:
        self._refused += 1
        return Completion(error=self._words(error))

    async def _ask(self, client: openai.AsyncOpenAI, request: Request) -> Completion:
        """All samples of a request; a server that gives one at a time is asked for each."""
        ask = request.sampling
        found = await self._create(client, request, ask)
        while found.error is None and len(found.samples) < ask.n:
            given = len(found.samples)
            seed = None if ask.seed is None else ask.seed + given
            more = await self._create(client, request, replace(ask, n=ask.n - given, seed=seed))
            if not more.samples:
                break
            found = joined(found, more)
        return found

    async def _score(
        self, client: openai.AsyncOpenAI, before: list[int], after: list[int]
    ) -> Completion:
        asked = client.completions.with_streaming_response.create(
            model=self.config.model,
            prompt=before + after,
            max_tokens=1,
            extra_body={**self.config.extra_body, "prompt_logprobs": 0},
        )
        return likelihood(parsed(await _body(asked)), after)

    async def _create(
        self, client: openai.AsyncOpenAI, request: Request, ask: Sampling
    ) -> Completion:
        """One answer to a request."""
        form = request.prompt.answer if ask.verdicts and not self.primes else None
        try:
            body = await _body(self._asked(client, request, ask))
        except openai.APIStatusError as error:
            if error.code not in _FILTERED:
                raise
            return Completion((Sample("", "filtered"),), tokens_told=False)
        return completion(parsed(body), ask, form)

    def _asked(self, client: openai.AsyncOpenAI, request: Request, ask: Sampling) -> Any:
        """The request as either API takes it."""
        extra: dict[str, Any] = {**self.config.extra_body}
        common: dict[str, Any] = {
            "model": self.config.model,
            **self._limit(ask),
            "temperature": ask.temperature,
            "top_p": ask.top_p,
            "n": ask.n,
            "seed": ask.seed if ask.seed is not None else openai.NOT_GIVEN,
            "stop": list(ask.stop[:_MOST_STOPS]) or openai.NOT_GIVEN,
        }
        if ask.logprobs:
            extra["return_token_ids"] = True
        if ask.end is not None:
            extra |= {"stop_token_ids": [ask.end], "ignore_eos": True}
        if self._encoder:
            common["prompt"] = self._encoder.encode(request.prompt)
            if ask.verdicts or ask.logprobs:
                common["logprobs"] = _TOP_LOGPROBS if ask.verdicts else 1
            texts = client.completions.with_streaming_response
            return texts.create(extra_body=extra, **common)
        messages: list[Any] = [{"role": "user", "content": "".join(request.prompt.user)}]
        if request.prompt.system:
            messages.insert(0, {"role": "system", "content": request.prompt.system})
        if request.prompt.answer and self.config.primed:
            messages.append({"role": "assistant", "content": request.prompt.answer})
            extra |= {"continue_final_message": True, "add_generation_prompt": False}
        if self.config.template_args:
            extra["chat_template_kwargs"] = self.config.template_args
        if ask.verdicts or ask.logprobs:
            common["logprobs"] = True
        if ask.verdicts:
            common["top_logprobs"] = _TOP_LOGPROBS
        chat = client.chat.completions.with_streaming_response
        return chat.create(messages=messages, extra_body=extra, **common)

    def _limit(self, ask: Sampling) -> dict[str, int]:
        """The longest answer, by the name that the server has for it."""
        name = "max_completion_tokens" if self.config.max_completion_tokens else "max_tokens"
        later = bool(ask.verdicts) and not self.primes
        return {name: max(ask.max_tokens, _UNPRIMED_TOKENS) if later else ask.max_tokens}

    async def _here(self) -> _Connections:
        """The connections of the running event loop."""
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            clients = [self._connect(url) for url in self.config.urls]
            closing = self._close_with(loop)
            limit = asyncio.Semaphore(self.concurrency)
            self._loops[loop] = _Connections(clients, limit, closing)
            await anext(closing)
        return self._loops[loop]

    async def _close_with(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
        """Ends when `asyncio.run` does, which closes every async generator of its loop."""
        try:
            yield
        finally:
            for client in self._loops.pop(loop).clients:
                await client.close()

    def _connect(self, url: str) -> openai.AsyncOpenAI:
        # By default the client keeps 100 connections; each one more would be made anew every time.
        limits = _Limits(
            max_connections=self.concurrency, max_keepalive_connections=self.concurrency
        )
        return openai.AsyncOpenAI(
            base_url=url,
            api_key=self._key,
            default_headers=self._headers,
            max_retries=0,
            timeout=self.config.timeout,
            http_client=openai.DefaultAsyncHttpxClient(
                limits=limits,
                follow_redirects=False,  # what is asked goes where the configuration says
                event_hooks={"response": [_bounded_error]},
            ),
        )

    def _words(self, error: Exception) -> str:
        """What went wrong, in one line, without a secret: a server may echo the key."""
        if isinstance(error, TimeoutError | openai.APITimeoutError):
            return "no answer in time"
        head, cause = "", error.__cause__ or error
        text = str(cause)
        if isinstance(error, openai.APIStatusError):
            told = message_of(error.body) if error.body else error.response.text
            head, text = f"HTTP {error.status_code}: ", told or str(error)
        return head + said(text, 200) or type(cause).__name__


def _key(config: EndpointConfig) -> str:
    """The key, or what a client sends where none is needed."""
    name = config.api_key_env
    return from_environment(name, "api_key_env") if name else "none"


def _headers(config: EndpointConfig) -> dict[str, str]:
    """The further headers, spelt as the client spells its own, which they then replace."""
    return {
        name.title(): from_environment(value.env, f"headers.{name}.env")
        for name, value in config.headers.items()
    }


def _worth_another(error: BaseException) -> bool:
    if isinstance(error, openai.APIStatusError):
        return error.status_code in _RETRIED or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError | openai.APIError | NoAnswer | TimeoutError)


_backoff = tenacity.wait_random_exponential(multiplier=0.5, max=30)


def _wait(state: tenacity.RetryCallState) -> float:
    """Retry-After where the server says it (at most a minute), else exponential with jitter."""
    error = state.outcome.exception() if state.outcome else None
    if isinstance(error, openai.APIStatusError):
        seconds = retry_after(error.response.headers, time.time())
        if seconds is not None:
            return min(seconds, 60.0)
    return float(_backoff(state))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that a server wants to be left alone: a number of them, whole or not, of
    milliseconds, or a date (RFC 9110, 10.2.3), by the server's own clock where it tells that.
    """
    for name, scale in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        with suppress(ValueError):
            seconds = float(headers.get(name, "")) * scale
            return max(seconds, 0.0) if math.isfinite(seconds) else None
    until, there = _date(headers.get("retry-after")), _date(headers.get("date"))
    return None if until is None else max(until - (now if there is None else there), 0.0)


def _date(text: str | None) -> float | None:
    try:
        return parsedate_to_datetime(text or "").timestamp()
    except (ValueError, OverflowError):
        return None


async def _body(asked: Any) -> bytes:
    """The bytes of an answer; NoAnswer for more than `LARGEST`, however they are packed."""
    found = bytearray()
    async with asked as response:
        try:
            async for piece in response.iter_bytes():
                found += piece
                if len(found) > LARGEST:
                    break
        except Exception as error:  # the client's own library for HTTP, of whatever name
            raise NoAnswer(f"an answer that broke off: {said(str(error), 100)}") from None
    if len(found) > LARGEST:
        raise NoAnswer(f"an answer of more than {LARGEST >> 20} MiB")
    return bytes(found)


async def _bounded_error(response: Any) -> None:
    """Of what is no answer (an error, a redirect) the beginning of the body is enough, and all that
    is read; as UTF-8, whatever it says, for not all that Python calls a coding is one of texts.
    """
    if response.is_success:
        return
    found = bytearray()
    async for piece in response.aiter_bytes():
        found += piece
        if len(found) > _LARGEST_ERROR:
            break
    response._content, response.encoding = bytes(found), "utf-8"
