"""Judges with a known truth: what a measure should find is known before it is measured."""

import random
from collections.abc import Callable, Sequence

from prewrite.judge.criteria import load_criterion
from prewrite.judge.measure.asking import Judging
from prewrite.judge.measure.labels import LabelledItem
from prewrite.judge.pool import Pool, Question
from prewrite.judge.readout import Verdict
from prewrite.shards.manifest import Usage

Opinion = Callable[[Question], Sequence[float | None]]
"""A question → the value of each vote for what stands first; None: it cannot be read."""

QUALITY, FACTUALITY = load_criterion("quality"), load_criterion("factuality")


def judging(opinion: Opinion, name: str = "simulated") -> Judging:
    """A judge of that opinion, whose every question costs 100 tokens, 40 of them cached."""

    async def ask(question: Question, fence: str) -> tuple[list[Verdict], Usage]:
        verdicts = [
            Verdict("", None, 0.05, "outside") if value is None else Verdict("", value, 0.9, "ok")
            for value in opinion(question)
        ]
        return verdicts, Usage(requests=1, prompt_tokens=100, cached_tokens=40, output_tokens=2)

    return Judging(name, ask, 8, {"simulated": "1"})


def pairs(count: int, seed: int = 0) -> list[LabelledItem]:
    """Pairs of unequal length; the label prefers either text as often."""
    draw = random.Random(seed)
    return [
        LabelledItem(
            QUALITY,
            Pool(f"p{number}", (), "", {"first": "x" * draw.randint(5, 60), "second": "y" * 30}),
            float(number % 2),
            "even" if number % 4 < 2 else "odd",
        )
        for number in range(count)
    ]


def texts(count: int) -> list[LabelledItem]:
    """Single texts with all three labels of factuality."""
    return [
        LabelledItem(
            FACTUALITY, Pool(f"t{number}", (), "", {"candidate": "z" * number}), number % 3 / 2
        )
        for number in range(count)
    ]


def truth(question: Question) -> float:
    """The label, for what stands first; it is in the row's number."""
    number = int(question.pool.row_id[1:])
    if question.opponent is None:
        return number % 3 / 2
    return float(number % 2) if question.order == 0 else 1 - float(number % 2)
