"""What a model goes on with after its own thought, and after others in its place.

At each place the model samples a thought. Then each of `KINDS` stands there in turn, and the model
goes on greedily; and how likely it finds the true text after it is measured. So all kinds are
measured in the same way, with the thought as the only difference.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from prewrite.engine.tokenizer import continuation, load_tokenizer
from prewrite.engine.types import Prompt, Request, Sampling
from prewrite.engine.vllm_engine import VllmEngine
from prewrite.prompts.thoughts import CLOSE
from prewrite.train.config.rollouts import RolloutsConfig
from prewrite.train.config.task import ThinkTask
from prewrite.train.messages import Rollout, RolloutPrompt
from prewrite.train.tasks.thinking import read, whole

OWN, BLANK, GENERIC, SWAPPED = KINDS = ("own", "blank", "generic", "swapped")
"""The model's own thought, no words, words that fit anywhere, and its own of another document."""

ANY = " Let me think about what comes next."


@dataclass(frozen=True)
class Place:
    """A place of a thought. document: the name of its document."""

    prompt: RolloutPrompt
    document: str


@dataclass(frozen=True)
class After:
    """What is measured after one thought. text: how the model goes on; likelihood: of the true
    text, in nats a byte, None where it cannot be told.
    """

    text: str
    likelihood: float | None


AfterEach = dict[str, After]
"""What is measured at a place, by kind; a thought that the model did not close has none."""


class Thinker:
    """A model that thinks. end: of a text, a token. generic: a thought that fits anywhere."""

    def __init__(
        self,
        engine: VllmEngine,
        config: RolloutsConfig,
        task: ThinkTask,
        end: int,
        generic: str = ANY,
    ) -> None:
        self._engine, self._config, self._task = engine, config, task
        self._end, self._generic = end, generic
        self._tokenizer = load_tokenizer(engine.config.model)

    async def __call__(self, places: Sequence[Place]) -> list[AfterEach]:
        """What is measured at each place."""
        own = await asyncio.gather(*(self._thought(place.prompt) for place in places))
        swapped = [_other(number, places, own) for number in range(len(places))]
        return list(
            await asyncio.gather(
                *(self._at(p.prompt, *some) for p, *some in zip(places, own, swapped, strict=True))
            )
        )

    async def _thought(self, prompt: RolloutPrompt) -> str | None:
        """The thought of the model; None where its form is wrong."""
        config = self._config
        sampling = Sampling(
            config.tokens,
            config.temperature,
            config.top_p,
            seed=prompt.seed,
            logprobs=True,
            end=self._end,
        )
        told = await self._engine.complete(Request(Prompt(tokens=prompt.tokens), sampling))
        if told.error is not None:
            return None
        (sample,) = told.samples
        ended = sample.token_ids[-1:] == (self._end,)
        spoken = sample.token_ids[:-1] if ended else sample.token_ids
        text = continuation(self._tokenizer, prompt.tokens, spoken)
        rollout = Rollout(text=text, tokens=sample.token_ids, logprobs=sample.logprobs, ended=ended)
        found = read(self._tokenizer, prompt, rollout, self._task.suffix)
        return None if found.failed else found.thought

    async def _at(self, prompt: RolloutPrompt, own: str | None, swapped: str | None) -> AfterEach:
        thoughts = zip(KINDS, (own, "", self._generic, swapped), strict=True)
        asked = {kind: thought for kind, thought in thoughts if thought is not None}
        told = await asyncio.gather(*(self._after(prompt, one) for one in asked.values()))
        return {kind: one for kind, one in zip(asked, told, strict=True) if one is not None}

    async def _after(self, prompt: RolloutPrompt, thought: str) -> After | None:
        """None where the engine could not go on."""
        before = [*prompt.tokens, *self._tokenizer.encode(f"{thought}{CLOSE}").ids]
        sampling = Sampling(self._task.suffix, temperature=0.0, logprobs=True, end=self._end)
        told = await self._engine.complete(Request(Prompt(tokens=tuple(before)), sampling))
        if told.error is not None:
            return None
        tokens = told.samples[0].token_ids
        spoken = tokens[:-1] if tokens[-1:] == (self._end,) else tokens
        text = whole(continuation(self._tokenizer, before, spoken))
        return After(text, await self._likelihood(before, prompt.pool.reference))

    async def _likelihood(self, before: Sequence[int], true: str) -> float | None:
        after = self._tokenizer.encode(true).ids
        told = await self._engine.token_likelihood([*before, *after], len(before))
        if told.error is not None:
            return None
        value = sum(told.samples[0].logprobs) / len(true.encode())
        return value if value == value else None


def _other(number: int, places: Sequence[Place], own: Sequence[str | None]) -> str | None:
    """The thought at the next place of another document; None where there is none."""
    turned = [*range(number + 1, len(places)), *range(number)]
    document = places[number].document
    return next(
        (own[n] for n in turned if own[n] is not None and places[n].document != document), None
    )
