"""A model that continues as told, for faults that no real one makes on demand."""

import asyncio
import zlib
from collections.abc import Callable, Sequence

from prewrite.engine.config import VllmConfig
from prewrite.engine.types import Completion, Request, Sample


class Died(BaseException):
    """The process was killed here; no criterion can take it for its own error."""


class Model:
    """Takes the place of `VllmEngine`: a text is a function of model, prompt and seed, one byte a
    token. before: called before every answer.
    """

    concurrency = 3
    max_model_len = 400

    def __init__(self, config: VllmConfig, before: Callable[[], None] = lambda: None) -> None:
        self._name, self._before = config.model, before

    async def complete(self, request: Request) -> Completion:
        await asyncio.sleep(0)
        self._before()
        tokens, ask = request.prompt.tokens, request.sampling
        assert len(tokens) + ask.max_tokens <= self.max_model_len
        samples = []
        for number in range(ask.n):
            drawn = zlib.crc32(repr((self._name, tokens, ask.seed, number)).encode())
            text = f" {drawn % 7} words of {drawn % 1009} in all."
            reason = "stop" if drawn % 2 else "length"
            ids = tuple(text.encode()) + (0,) * (reason == "stop")
            samples.append(Sample(text, reason, ids))  # type: ignore[arg-type]
        return Completion(tuple(samples))

    async def token_likelihood(self, token_ids: Sequence[int], before: int) -> Completion:
        await asyncio.sleep(0)
        self._before()
        told = tuple(-float(token) / 50 for token in token_ids[before:])
        return Completion((Sample("", "stop", tuple(token_ids[before:]), told),))

    def plain(
        self, context: Sequence[str], text: str, room: int, begins: bool
    ) -> tuple[list[int], list[int]]:
        before, after = "".join(context).encode(), text.encode()
        return list(before[max(0, len(before) + len(after) - room) :]), list(after)

    def continuation(self, prompt: Sequence[int], tokens: Sequence[int]) -> str:
        return bytes(tokens).decode()

    def close(self) -> None: ...
