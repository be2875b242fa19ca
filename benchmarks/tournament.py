"""Schedules of pairs on a simulated judge, whose candidates have a known quality.

Qualities are drawn from one of three distributions and scaled so that a coin with the probability
that the difference of two says is right in 65, 75 or 85 % of pairs. The judge's log odds that the
first is better are that difference, a constant preference for the first (0 or 0.75) and noise, new
for every question: with a standard deviation of 0.25 the probability says nearly all about the
difference, with 1 much less (what holds for a real judge, `prewrite judge schedule` measures). A
verdict is the probability, or 0 or 1 drawn with it.

Gap: true quality of the highest minus that of the lowest score, summed over all pools, as a share
of the full round robin's with verdicts of the same kind. Everything is seeded.
"""

import json
import sys
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import rankdata

from prewrite.judge.bradley_terry import fit
from prewrite.judge.schedule import GameSchedule, choose_schedule, first_round, second_round

Array = NDArray[np.float64]
Draw = np.random.Generator

POOLS = 25
"""A cell; there are 18 cells for each size and noise."""

SIZES = (5, 9, 17, 33)
ACCURACIES = (0.65, 0.75, 0.85)
BIASES = (0.0, 0.75)
NOISES = (0.25, 1.0)
QUALITIES: dict[str, Callable[[Draw, int], Array]] = {
    "normal": lambda draw, count: draw.normal(size=count),
    "few bad ones": lambda draw, count: -draw.exponential(size=count),
    "two groups": lambda draw, count: draw.choice([-1.0, 1.0], count) + draw.normal(0, 0.3, count),
}


def main(output: str) -> None:
    """Simulate, and write the figures as JSON."""
    result = {
        "pools": POOLS * len(QUALITIES) * len(ACCURACIES) * len(BIASES),
        "noises": NOISES,
        "sizes": {str(size): _table(size) for size in SIZES},
    }
    with open(output, "w", encoding="utf-8") as stream:
        json.dump(result, stream)


def schedules(size: int) -> dict[str, GameSchedule | None]:
    """What is compared for K = `size`; None: everyone against one pivot."""
    defaults = {
        "default, probabilities": choose_schedule(size, "auto", True),
        "default, 0/1 verdicts": choose_schedule(size, "auto", False),
    }
    regular = {f"{degree}-regular": GameSchedule(degree) for degree in (4, 8) if degree < size - 1}
    return {"full": GameSchedule(size - 1), "pivot": None} | regular | defaults


def _table(size: int) -> list[dict[str, Any]]:
    """One row a schedule; every figure but the calls is a list over the kinds of verdicts."""
    rows = []
    kinds = [_play_all(size, noise, graded) for graded in (True, False) for noise in NOISES]
    for name, chosen in schedules(size).items():
        one = [kind[name] for kind in kinds]
        rows.append(
            {
                "schedule": name,
                "degree": chosen.degree if chosen else None,
                "ends": chosen.ends if chosen else None,
                "rounds": 2 if chosen and chosen.ends else 1,
                "calls": one[0]["calls"],
                **{key: [kind[key] for kind in one] for key in one[0] if key != "calls"},
            }
        )
    return rows


def _play_all(size: int, noise: float, graded: bool) -> dict[str, dict[str, float]]:
    """Schedule → its figures over all cells."""
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in schedules(size)}
    for quality_K, verdicts_KK in _pools(size, noise, graded):
        full_K, _ = play(verdicts_KK, GameSchedule(size - 1))
        high, low = full_K.argmax(), full_K.argmin()
        ranks_K = rankdata(full_K)
        for name, chosen in schedules(size).items():
            score_K, calls = play(verdicts_KK, chosen)
            best, worst = score_K.argmax(), score_K.argmin()
            gap = quality_K[best] - quality_K[worst]
            varied = np.ptp(score_K) and np.ptp(full_K)
            likeness = np.corrcoef(rankdata(score_K), ranks_K)[0, 1] if varied else 0.0
            found[name].append((gap, calls, best == high, worst == low, likeness))
    means = {name: np.mean(values, 0).tolist() for name, values in found.items()}
    return {
        name: {
            "gap": round(gap / means["full"][0], 4),
            "calls": round(calls, 1),
            "same_highest": round(highest, 3),
            "same_lowest": round(lowest, 3),
            "rank_correlation": round(likeness, 3),
        }
        for name, (gap, calls, highest, lowest, likeness) in means.items()
    }


def _pools(size: int, noise: float, graded: bool) -> Iterator[tuple[Array, Array]]:
    """The qualities of a pool and the verdicts on all its ordered pairs, cell by cell. The same
    noise is drawn whatever becomes of it.
    """
    for cell, (name, accuracy, bias) in enumerate(product(QUALITIES, ACCURACIES, BIASES)):
        draw = np.random.default_rng([size, cell])
        scale = _scale(name, accuracy)
        for _ in range(POOLS):
            quality_K = QUALITIES[name](draw, size)
            noise_KK, luck_KK = draw.normal(size=(size, size)), draw.random((size, size))
            odds_KK = scale * (quality_K[:, None] - quality_K) + bias + noise * noise_KK
            wins_KK = expit(odds_KK)
            yield quality_K, wins_KK if graded else (luck_KK < wins_KK).astype(np.float64)


def _scale(name: str, accuracy: float) -> float:
    """Log odds for one unit of quality."""
    first_N, second_N = QUALITIES[name](np.random.default_rng(0), 20_000).reshape(2, -1)
    gaps_N = np.abs(first_N - second_N)
    return float(brentq(lambda scale: expit(scale * gaps_N).mean() - accuracy, 0, 100))


def play(verdicts_KK: Array, chosen: GameSchedule | None) -> tuple[Array, int]:
    """_K: the scores that a schedule gives, and what it asks; row i of the verdicts: i is first."""
    size = len(verdicts_KK)
    if chosen is None:  # candidate 0 is the pivot
        return np.array([0.5, *(1 - verdicts_KK[0, 1:])]), size - 1
    asked = first_round(size, chosen.degree)
    if chosen.ends:
        ranking = (-fit(size, _games(verdicts_KK, asked)).strengths_K).argsort(kind="stable")
        asked += second_round(ranking.tolist(), chosen.ends, asked)
    games = _games(verdicts_KK, asked)
    if chosen.degree < size - 1:
        return fit(size, games).scores(), len(games)
    wins_K = np.zeros(size)
    for first, second, value in games:
        wins_K[[first, second]] += value, 1 - value
    return wins_K / (size - 1), len(games)


def _games(verdicts_KK: Array, pairs: list[tuple[int, int]]) -> list[tuple[int, int, float]]:
    return [(first, second, float(verdicts_KK[first, second])) for first, second in pairs]


if __name__ == "__main__":
    main(sys.argv[1])
