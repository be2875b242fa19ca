"""A judge at work: pools of four texts of which it is known how well each one counts.

The judge is asked as in every pass (`judge.scorer.PoolScorer`, reasoned verdicts, every pair in
both orders). What counts is the gap: how much better the text with the best score is than the one
with the worst; 0 is what a judge without an opinion has, for ties are shared out.
"""

from collections.abc import Mapping
from statistics import fmean

import numpy as np

from benchmarks.prove import counting
from benchmarks.prove.runs import COUNTS
from prewrite.engine.vllm_engine import VllmEngine
from prewrite.judge.config import JudgeConfig
from prewrite.judge.criteria import load_criterion
from prewrite.judge.judge import Judge
from prewrite.judge.panel import Panel
from prewrite.judge.pool import Pool
from prewrite.judge.scorer import PoolScorer

POOLS, TEXTS = 96, 4
JUDGE = {
    "engine": "judge",
    "criteria": [COUNTS],
    "readout": "reasoning",
    "sampling": {"votes": 3, "temperature": 1, "top_p": 1, "max_tokens": 8, "reasks": 0},
    "pools": {"schedule": "full", "order": "both"},
}


async def gaps(engine: VllmEngine) -> list[float]:
    """The gap of each pool, as the engine's model judges it."""
    config = JudgeConfig.model_validate(JUDGE)
    criteria = [load_criterion(COUNTS)]
    scorer = PoolScorer(Panel([Judge("judge", engine, config)], config), criteria)
    told = pools()
    scored = await scorer([pool for pool, _ in told])
    return [gap(one.scores, truth) for one, (_, truth) in zip(scored, told, strict=True)]


def gap(scores: Mapping[str, float], truth: Mapping[str, float]) -> float:
    """Truth of the best less truth of the worst; 0 where there are no scores."""
    if not scores:
        return 0.0
    ends = [max(scores.values()), min(scores.values())]
    best, worst = (
        fmean(truth[name] for name, score in scores.items() if abs(score - end) < 1e-9)
        for end in ends
    )
    return best - worst


def pools() -> list[tuple[Pool, dict[str, float]]]:
    """Pools of held-out series: one text that keeps the rule, others that break it 1 to 3 times;
    with the share of a text's steps that keep it.
    """
    draw, found = np.random.default_rng(6), []
    chosen = counting.series()["held"]
    for number in range(POOLS):
        start, step, length = chosen[draw.integers(len(chosen))]
        terms = [(start + place * step) % 10 for place in range(length)]
        texts = [terms]
        for _ in range(TEXTS - 1):
            texts.append(counting.broken(draw, texts[-1], "off"))
        names = [f"text-{place}" for place in draw.permutation(TEXTS)]
        truth = {name: _share(text, step) for name, text in zip(names, texts, strict=True)}
        told = {name: counting.told(text) for name, text in zip(names, texts, strict=True)}
        pool = Pool(f"pool-{number}", (), told[names[0]], {name: told[name] for name in truth})
        found.append((pool, truth))
    return found


def _share(terms: list[int], step: int) -> float:
    steps = [(after - before) % 10 == step for before, after in zip(terms, terms[1:], strict=False)]
    return sum(steps) / len(steps)
