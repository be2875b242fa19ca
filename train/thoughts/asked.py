"""What a model goes on with after its own thought, and after others in its place.

At each place the model samples a thought. Then each of `KINDS` stands there in turn, and the model
goes on greedily; and how likely it finds the true text after it is measured. So all kinds are
measured in the same way, and the thought is the only difference. Costs nine requests a place.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from prewrite.engine.tokenizer import continuation, load_tokenizer
from prewrite.engine.types import Prompt, Request, Sampling
from prewrite.engine.vllm_engine import VllmEngine
from prewrite.prompts.thoughts import CLOSE
from prewrite.train.config.rollouts import RolloutsConfig
from prewrite.train.config.task import ThinkTask
from prewrite.train.messages import RolloutPrompt
from prewrite.train.online.policy import sampled
from prewrite.train.tasks.thinking import Thought, read, whole

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
    text, in nats a byte. None: the engine could not tell, as where both do not fit the model.
    """

    text: str | None
    likelihood: float | None


@dataclass(frozen=True)
class PlaceResult:
    """What is measured at a place. sampled: whether the engine gave a thought at all; formed:
    whether that has the right form; after: by kind, only of thoughts that there are.
    """

    sampled: bool
    formed: bool
    after: dict[str, After]


class Thinker:
    """A model that thinks. end: the token that ends a text. generic: a thought that fits
    anywhere.
    """

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

    async def __call__(self, places: Sequence[Place]) -> list[PlaceResult]:
        """What is measured at each place."""
        thoughts = await asyncio.gather(*(self._thought(place.prompt) for place in places))
        own = [one.thought if one and not one.failed else None for one in thoughts]
        swapped = [_other(number, places, own) for number in range(len(places))]
        measured = (
            self._at(place.prompt, one, other)
            for place, one, other in zip(places, own, swapped, strict=True)
        )
        return [
            PlaceResult(one is not None, words is not None, after)
            for one, words, after in zip(
                thoughts, own, await asyncio.gather(*measured), strict=True
            )
        ]

    async def _thought(self, prompt: RolloutPrompt) -> Thought | None:
        """The thought of the model; None where the engine gave none."""
        rollouts, _ = await sampled(
            self._engine, self._tokenizer, self._config, self._end, prompt, 1
        )
        found = [read(self._tokenizer, prompt, one, self._task.suffix) for one in rollouts]
        return found[0] if found else None

    async def _at(
        self, prompt: RolloutPrompt, own: str | None, swapped: str | None
    ) -> dict[str, After]:
        thoughts = zip(KINDS, (own, "", self._generic, swapped), strict=True)
        asked = {kind: thought for kind, thought in thoughts if thought is not None}
        told = await asyncio.gather(*(self._after(prompt, one) for one in asked.values()))
        return dict(zip(asked, told, strict=True))

    async def _after(self, prompt: RolloutPrompt, thought: str) -> After:
        before = (*prompt.tokens, *self._tokenizer.encode(f"{thought}{CLOSE}").ids)
        text, likelihood = await asyncio.gather(
            self._text(before), self._likelihood(before, prompt.pool.reference)
        )
        return After(text, likelihood)

    async def _text(self, before: tuple[int, ...]) -> str | None:
        sampling = Sampling(self._task.suffix, temperature=0.0, logprobs=True, end=self._end)
        told = await self._engine.complete(Request(Prompt(tokens=before), sampling))
        if told.error is not None:
            return None
        tokens = told.samples[0].token_ids
        spoken = tokens[:-1] if tokens[-1:] == (self._end,) else tokens
        return whole(continuation(self._tokenizer, before, spoken))

    async def _likelihood(self, before: Sequence[int], true: str) -> float | None:
        after = self._tokenizer.encode(true).ids
        told = await self._engine.token_likelihood([*before, *after], len(before))
        if told.error is not None:
            return None
        value = sum(told.samples[0].logprobs) / len(true.encode())
        return None if isnan(value) else value


def _other(number: int, places: Sequence[Place], own: Sequence[str | None]) -> str | None:
    """The thought at the next place of another document; None where there is none."""
    turned = [*range(number + 1, len(places)), *range(number)]
    document = places[number].document
    return next(
        (own[n] for n in turned if own[n] is not None and places[n].document != document), None
    )
