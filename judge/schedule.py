"""Which pairs of a pool are played, and who of a pair stands first.

Candidates are numbered 0 … K-1 in a shuffled order, which the caller keeps. The first round is a
circulant graph: each candidate stands first against those some fixed steps further on, so everyone
stands first exactly as often as second, and a constant preference for a position takes from nobody
(in a full round robin of an even K, with an odd number of games each, but for one game). The steps
are those with the smallest mean variance of a difference between two strengths (A-optimality), so
the graph is connected. A second round plays every pair that is still open within the best and
within the worst: whom to choose and whom to reject is decided there.

All pairs cost K(K-1)/2 verdicts; the default for K = 17 costs about 43 of 136.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Literal

import numpy as np

Pair = tuple[int, int]
"""(who stands first, who stands second)."""

Purpose = Literal["auto", "ranks", "full"]


@dataclass(frozen=True)
class Plan:
    """degree: games of each candidate in the first round, even or K-1. ends: how many of the best
    and of the worst play out their open pairs in the second; 0: there is none.
    """

    degree: int
    ends: int = 0


def plan(size: int, purpose: Purpose, graded: bool) -> Plan:
    """What K = `size` candidates play. graded: verdicts are probabilities; else 0 or 1, or the mean
    of few votes. auto: enough for the best and the worst; ranks: enough for all ranks.
    """
    everyone = Plan(max(size - 1, 0))
    if size <= 5 or purpose == "full" or (purpose == "ranks" and not graded):
        return everyone
    if purpose == "ranks":
        chosen = Plan(8)
    else:
        chosen = Plan(2 * round(size / 8), 4) if graded else Plan(6, 5)
    return chosen if chosen.degree < everyone.degree else everyone


def first_round(size: int, degree: int) -> list[Pair]:
    """The pairs of a circulant graph, by who stands first."""
    pairs = [(i, (i + step) % size) for i in range(size) for step in _steps(size, degree // 2)]
    if degree % 2:  # all pairs of an even number of candidates
        pairs += [(i, i + size // 2) for i in range(size // 2)]
    return sorted(pairs)


def second_round(ranking: Sequence[int], ends: int, asked: Sequence[Pair]) -> list[Pair]:
    """Every pair not yet asked within the first and within the last `ends` of `ranking`; who stood
    first less often goes first.
    """
    done = {frozenset(pair) for pair in asked}
    firsts = Counter(first for first, _ in asked)
    pairs: list[Pair] = []
    for group in (ranking[:ends], ranking[-ends:]):
        for pair in combinations(group, 2):
            if frozenset(pair) not in done:
                done.add(frozenset(pair))
                first, second = sorted(pair, key=lambda one: firsts[one])
                firsts[first] += 1
                pairs.append((first, second))
    return sorted(pairs)


@lru_cache(maxsize=256)
def _steps(size: int, count: int) -> tuple[int, ...]:
    """The `count` steps below K/2 that minimise the sum of the inverse eigenvalues of the graph's
    Laplacian; eigenvalue k of a circulant graph is the sum of 2 - 2 cos(2 pi k step / K).
    """
    steps = range(1, (size + 1) // 2)
    part_SK = 2 - 2 * np.cos(2 * np.pi * np.outer(steps, range(1, size)) / size)

    def variance(chosen: tuple[int, ...]) -> float:
        eigenvalues = part_SK[[step - 1 for step in chosen]].sum(0)
        return float((1 / eigenvalues.clip(1e-9)).sum().round(9))

    return min(combinations(steps, count), key=variance, default=())
