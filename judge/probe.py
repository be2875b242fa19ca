"""What the engines of a run are asked before it: one real verdict of each judge.

An endpoint is refused where the form of its answers cannot be read at all: the request is refused,
there are no log-probabilities, no verdict is among the likeliest tokens, a reasoned answer ends in
none. A verdict with too little probability is an answer like any other, and one odd answer proves
nothing, so each of `engine.registry.TRIES` tries is about other passages. Costs a request a judge.
"""

from collections.abc import Iterable, Mapping
from functools import partial

from prewrite.base.secret import said
from prewrite.engine.config import EngineConfig
from prewrite.engine.registry import First, probe
from prewrite.engine.types import Engine
from prewrite.judge.config import JudgeConfig
from prewrite.judge.criteria import Criterion, Likelihood, PromptedCriterion
from prewrite.judge.judge import Judge, fence_for
from prewrite.judge.pool import Pool, Question

PASSAGES = (
    (
        "The tide come in twice a day, becaus the moon pull at the sea and the earth turn below.",
        "The tide comes in twice a day, because the moon pulls at the sea as the earth turns.",
    ),
    (
        "A loaf of bread need flour, water, salt and yeast, and it want some hours for to rise.",
        "A loaf of bread needs flour, water, salt and yeast, and some hours in which to rise.",
    ),
    (
        "The old bridge was build of stone, it have carried carts over the river many a year.",
        "The old bridge was built of stone and has carried carts over the river for many years.",
    ),
)
"""An original and a rewrite of it, one pair a try."""

_QUOTED = 100  # characters of an answer


def probe_judges(
    config: JudgeConfig, engines: Mapping[str, EngineConfig], criteria: Iterable[Criterion]
) -> None:
    """EngineError where a judge of `config` is not there, or gives no verdict on `criteria` that
    can be read; the first criterion of each way to ask stands for all.
    """
    asked = [criterion for criterion in criteria if criterion.needs_engine]
    kinds = {type(criterion): criterion for criterion in reversed(asked)}
    one_vote = config.asking(votes=1)
    first = [First("a verdict", partial(_unread, one_vote, one)) for one in kinds.values()]
    verdicts: list[str] = []
    if config.readout == "distribution":
        verdicts = [v for one in asked if isinstance(one, PromptedCriterion) for v in one.verdicts]
    for name in config.panel if asked else ():
        probe(engines[name], first, verdicts)


async def _unread(
    config: JudgeConfig, criterion: Criterion, engine: Engine, number: int
) -> str | None:
    """Why a verdict cannot be read, or None."""
    original, rewrite = PASSAGES[number]
    context = ("Something to know. ",) if isinstance(criterion, Likelihood) else ()
    pool = Pool(f"probe-{number}", context, original, {"original": original, "rewrite": rewrite})
    opponent = "rewrite" if criterion.kind == "pairwise" else None
    question = Question(criterion, pool, "original", opponent)
    judge = Judge(None, engine, config)
    (verdict,), _ = await judge.ask(question, fence_for(criterion, [original, rewrite]))
    if verdict.status == "ok" or verdict.mass:
        return None
    return f"{verdict.status}: '{said(verdict.answer, _QUOTED)}'"
