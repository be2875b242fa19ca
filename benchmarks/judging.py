"""Judging pools with the real engine: a full round robin against the default schedule, in order
against shuffled, and one read-out against the other.

Pools are made of real text (judge/measure/schedule_trial.py): a chunk of an encyclopaedia article
and corruptions of it, in their context. SmolLM2-135M is no judge: that its highest and lowest agree
over schedules says something about its verdicts' consistency with each other, and nothing about
quality. The cache holds 4,096 tokens and is emptied before every measurement.
"""

import asyncio
import json
import random
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from statistics import fmean
from typing import Any

from prewrite.base.config import load
from prewrite.engine.registry import get_engine
from prewrite.engine.vllm_engine import VllmEngine
from prewrite.judge.config import JudgeConfig, PoolsConfig, VoteSampling
from prewrite.judge.criteria import PromptedCriterion, load_criterion
from prewrite.judge.judge import Judge
from prewrite.judge.measure.sample import SampledRow
from prewrite.judge.measure.schedule_trial import compared, pools
from prewrite.judge.pool import Ask, Pool, Question, Result, play
from prewrite.judge.readout import Verdict
from prewrite.pipeline.passes import Document
from prewrite.prompts.context import contexts
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.passes import RewritePass
from prewrite.shards.manifest import Usage

RECIPE = [
    "input.paths=[configs/sample/wikipedia.jsonl]",
    "chunking.tokens=64",
    "judge.criteria=[quality]",
    "engines.main.max_model_len=2048",
    "engines.main.args={kv_cache_memory_bytes: 188743680}",
]
SIZES = {5: 4, 9: 3, 17: 2}
"""Candidates → pools."""

REASONING = VoteSampling(votes=1, max_tokens=128)
QUALITY = load_criterion("quality")


class Bench:
    """The engine, and what the questions put to it cost."""

    def __init__(self, engine: VllmEngine, config: JudgeConfig) -> None:
        self.engine, self.config = engine, config

    async def ask_all(self, run: Callable[[Ask], Awaitable[Any]]) -> dict[str, Any]:
        """What `run`, which asks, gives and costs; cache and judge's memory are empty before."""
        judge, usages = Judge("main", self.engine, self.config), list[Usage]()

        async def ask(question: Question) -> Sequence[Verdict]:
            assert isinstance(QUALITY, PromptedCriterion)
            fence = QUALITY.prompt.fence(
                [*question.pool.context, *question.pool.candidates.values()]
            )
            verdicts, usage = await judge.ask(question, fence)
            usages.append(usage)
            return verdicts

        self.engine.llm.reset_prefix_cache()
        begun = time.perf_counter()
        found = await run(ask)
        seconds = time.perf_counter() - begun
        usage = sum(usages, Usage())
        prefill = usage.prompt_tokens - (usage.cached_tokens or 0)
        return {
            "found": found,
            "calls": len(usages),
            "prompt_tokens": usage.prompt_tokens,
            "prefill_tokens": prefill,
            "seconds": seconds,
        }

    async def pool(self, pool: Pool, config: PoolsConfig) -> dict[str, Any]:
        """One pool, played."""
        graded = self.config.readout == "distribution"
        return await self.ask_all(lambda ask: play(QUALITY, pool, ask, config, graded))

    async def questions(self, questions: Sequence[Question]) -> dict[str, Any]:
        """Questions, all open at once, in this order."""
        return await self.ask_all(lambda ask: asyncio.gather(*map(ask, questions)))


def main(output: str) -> None:
    """Measure, and write the figures as JSON."""
    recipe = load(RewriteRecipe, "configs/quickstart.yaml", RECIPE)
    engine = get_engine(recipe.engines["main"])
    assert isinstance(engine, VllmEngine) and recipe.judge
    told = Bench(engine, recipe.judge)
    texts = sampled(recipe)
    made = {size: pools(texts, size, 0)[:number] for size, number in SIZES.items()}
    asyncio.run(told.pool(made[5][0], PoolsConfig()))  # warm-up
    full = {
        s: [asyncio.run(told.pool(p, PoolsConfig(schedule="full"))) for p in made[s]] for s in made
    }
    default = {s: [asyncio.run(told.pool(p, PoolsConfig())) for p in made[s]] for s in made}
    result = {
        "sizes": {
            str(size): {
                "pools": len(made[size]),
                "full": _means(full[size]),
                "default": _means(default[size]),
                "agreement": compared(_results(full[size]), _results(default[size])),
            }
            for size in made
        },
        "order": _order(told, _results(full[9])),
        "readouts": _readouts(told, _results(full[5])),
    }
    with open(output, "w", encoding="utf-8") as stream:
        json.dump(result, stream)


def sampled(recipe: RewriteRecipe) -> list[SampledRow]:
    """Every full chunk of the corpus from the third on, with its context, one document in turn."""
    source = RewritePass(recipe).source
    found: list[SampledRow] = []
    for split in source.splits():
        for item in source.read(split, 0):
            if isinstance(item, Document):
                befores = contexts(item.rows, 512)
                rows = [dict(row, rewrite=None) for row in item.rows]
                found += list(zip(rows, befores, strict=True))[2:-1]
    return random.Random(0).sample(found, len(found))  # noqa: S311


def _results(played: Sequence[dict[str, Any]]) -> list[Result]:
    return [one["found"] for one in played]


def _means(played: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Per pool."""
    keys = ("calls", "prompt_tokens", "prefill_tokens", "seconds")
    return {key: round(fmean(one[key] for one in played), 2) for key in keys}


def _order(bench: Bench, full: Sequence[Result]) -> dict[str, Any]:
    """Tokens a verdict of all questions of several pools, in order and shuffled."""
    ordered = [question for result in full for question, _ in result.answers]
    shuffled = random.Random(0).sample(ordered, len(ordered))  # noqa: S311
    both = {"in_order": ordered, "shuffled": shuffled}
    found: dict[str, Any] = {"questions": len(ordered)}
    for name, questions in both.items():
        cost = asyncio.run(bench.questions(questions))
        found[name] = round(cost["prefill_tokens"] / len(questions), 1)
        found["prompt_tokens"] = round(cost["prompt_tokens"] / len(questions), 1)
    return found


def _readouts(bench: Bench, full: Sequence[Result]) -> dict[str, Any]:
    """Verdicts a second of each read-out on the same questions."""
    questions = [question for result in full for question, _ in result.answers]
    changes: dict[str, dict[str, Any]] = {
        "distribution": {"readout": "distribution"},
        "reasoning": {"readout": "reasoning", "sampling": REASONING},
    }
    found: dict[str, Any] = {"questions": len(questions), "max_tokens": REASONING.max_tokens}
    for name, change in changes.items():
        other = Bench(bench.engine, bench.config.model_copy(update=change))
        cost = asyncio.run(other.questions(questions))
        votes = [verdict for verdicts in cost["found"] for verdict in verdicts]
        found[name] = round(len(votes) / cost["seconds"], 2)
        found[f"{name}_read"] = round(fmean(vote.status == "ok" for vote in votes), 3)
    return found


if __name__ == "__main__":
    main(sys.argv[1])
