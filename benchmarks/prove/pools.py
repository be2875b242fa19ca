"""A judge at work: pools of four texts, of which one is known to keep the rule.

The judge is asked as in every pass (`judge.scorer.PoolScorer`, reasoned verdicts, every pair in
both orders). What counts is the gap: how often the text with the best score is the right one, less
how often the one with the worst score is; 0 is what a judge without an opinion has, for ties are
shared out, 1 what one that is always right has.
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
    "sampling": {"votes": 1, "temperature": 1, "top_p": 1, "max_tokens": 8, "reasks": 0},
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
    """Pools with the truth of each text: one keeps the rule, the others break it; none of those is
    trained on.
    """
    draw, found = np.random.default_rng(7), []
    chosen = counting.series()["known"]
    for number in range(POOLS):
        terms = counting.terms_of(chosen[draw.integers(len(chosen))])
        texts = [counting.told(terms)]
        while len(texts) < TEXTS:
            twin = counting.told(counting.broken(draw, terms, "off"))
            texts += [twin] if counting.is_held(twin) and twin not in texts else []
        order = draw.permutation(TEXTS).tolist()
        named = {f"text-{place}": texts[place] for place in order}
        truth = {name: float(text == texts[0]) for name, text in named.items()}
        found.append((Pool(f"pool-{number}", (), texts[0], named), truth))
    return found
