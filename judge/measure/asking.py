"""Put items to a judge, criterion by criterion, and keep its verdicts and what they cost."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from prewrite.judge.criteria import Criterion
from prewrite.judge.judge import Judge
from prewrite.judge.measure.labels import LabelledItem
from prewrite.judge.pool import Question
from prewrite.judge.readout import Verdict
from prewrite.judge.votes import Aggregate
from prewrite.shards.manifest import Usage

_OPEN_ITEMS = 64  # where no engine has to be kept busy

AskCosted = Callable[[Question, str], Awaitable[tuple[Sequence[Verdict], Usage]]]
"""A question and the fence of its tags → its verdicts, one a vote, and what they cost."""


@dataclass(frozen=True)
class Judging:
    """A judge to be measured. window: open questions that keep it busy. how: criterion → what the
    votes on a question become.
    """

    name: str
    ask: AskCosted
    window: int
    versions: dict[str, str]
    how: Callable[[Criterion], Aggregate] = lambda _: "mean"


@dataclass(frozen=True)
class AnsweredItem:
    """An item with its verdicts: one list a question, so of a pair one an order. how: what the
    votes on a question become.
    """

    item: LabelledItem
    verdicts: tuple[tuple[Verdict, ...], ...]
    how: Aggregate = "mean"

    @cached_property
    def votes(self) -> list[list[float]]:
        """The values that could be read, of each question, all for the item's first text."""
        return [
            [v for verdict in verdicts if (v := question.value(verdict)) is not None]
            for question, verdicts in zip(self.item.questions(), self.verdicts, strict=True)
        ]

    @property
    def orders(self) -> list[float] | None:
        """What the votes on each question say together; None where none of one could be read."""
        answers = zip(self.item.questions(), self.verdicts, strict=True)
        votes = [question.votes(verdicts, self.how) for question, verdicts in answers]
        return [fmean(values) for values in votes] if all(votes) else None

    @property
    def value(self) -> float | None:
        """The judge's value 0..1 for the first text: the mean over the orders."""
        return fmean(self.orders) if self.orders else None


def documents(items: Iterable[AnsweredItem]) -> list[str]:
    """The document of each item; one whose document is not known has a name of its own."""
    return [one.item.document or f" {number}" for number, one in enumerate(items)]


@dataclass(frozen=True)
class Cost:
    """What some verdicts cost. seconds: from the first question to the last answer."""

    verdicts: int
    usage: Usage
    seconds: float

    @property
    def cache_hit_rate(self) -> float | None:
        """Share of prompt tokens read from the prefix cache; None when the engine does not say."""
        if self.usage.cached_tokens is None or not self.usage.prompt_tokens:
            return None
        return self.usage.cached_tokens / self.usage.prompt_tokens


async def answers(
    judging: Judging, items: Sequence[LabelledItem]
) -> tuple[list[AnsweredItem], Cost]:
    """Ask about items of one criterion, at most `window` open questions; EngineError ends it."""
    places, costs = asyncio.Semaphore(judging.window), list[Usage]()

    async def one(question: Question, fence: str) -> tuple[Verdict, ...]:
        async with places:
            verdicts, usage = await judging.ask(question, fence)
        costs.append(usage)
        return tuple(verdicts)

    async def about(item: LabelledItem) -> AnsweredItem:
        asked = [one(question, item.fence) for question in item.questions()]
        verdicts = tuple(await asyncio.gather(*asked))
        return AnsweredItem(item, verdicts, judging.how(item.criterion))

    begun = time.monotonic()
    answered = await asyncio.gather(*(about(item) for item in items))
    seconds = time.monotonic() - begun
    count = sum(len(verdicts) for one in answered for verdicts in one.verdicts)
    return list(answered), Cost(count, sum(costs, Usage()), seconds)


def judging(judge: Judge) -> Judging:
    """A judge as something to be measured."""
    engine = judge.engine
    window = 2 * engine.concurrency if engine else _OPEN_ITEMS
    versions = engine.versions() if engine else {}
    return Judging(judge.name or "", judge.ask, window, versions, judge.config.aggregate)
