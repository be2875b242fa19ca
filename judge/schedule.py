"""Which pairs of a pool are played, and who of a pair stands first.

Candidates are numbered 0 … K-1 in a shuffled order, which the caller keeps. The first round is a
circulant graph: each candidate stands first against those some fixed steps further on, so everyone
stands first exactly as often as second, and a constant preference for a position takes from nobody.
(All pairs of an even K give everyone an odd number of games; there the pairs K/2 apart are played
in both orders.) The steps are chosen for a small mean variance of the differences between strengths
(A-optimality); the first is 1, so the graph is connected. A second round plays every pair that is
still open within the best and within the worst: whom to choose and whom to reject is decided there.

All pairs cost K(K-1)/2 verdicts, for an even K half a K more; the default for K = 17 costs about 43
of 136.
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

Purpose = Literal["auto", "ranks", "full", "pivot"]
OrderRule = Literal["balanced", "both", "random"]


@dataclass(frozen=True)
class GameSchedule:
    """degree: games of each candidate in the first round, even or K-1. ends: how many of the best
    and of the worst play out their open pairs in the second; 0: there is none.
    """

    degree: int
    ends: int = 0


def choose_schedule(size: int, purpose: Purpose, graded: bool) -> GameSchedule:
    """What K = `size` candidates play. graded: verdicts are probabilities; else 0 or 1, or the mean
    of few votes. auto: enough for the best and the worst; ranks: enough for all ranks; `pivot` is
    not chosen here, see `pivot_round`.

    A candidate's games in the first round: for `auto` the even number next to K/4, from 2 to 6
    (2 up to K = 11, 4 up to 20); with 0/1 verdicts, each of which says less, that next to K/3, at
    least 6; for `ranks` 8. Five or fewer play all pairs, as does whoever would play more than that.
    """
    everyone = GameSchedule(max(size - 1, 0))
    if size <= 5 or purpose == "full" or (purpose == "ranks" and not graded):
        return everyone
    if purpose == "ranks":
        chosen = GameSchedule(8)
    elif graded:
        chosen = GameSchedule(min(2 * round(size / 8), 6), min(size // 2, 4))
    else:
        chosen = GameSchedule(max(2 * round(size / 6), 6), 5)
    return chosen if chosen.degree < everyone.degree else everyone


def first_round(size: int, degree: int, once: bool = False) -> list[Pair]:
    """The pairs of a circulant graph, by who stands first. once: no pair in both orders."""
    pairs = [(i, (i + step) % size) for i in range(size) for step in _steps(size, degree // 2)]
    if degree % 2:
        pairs += [(i, (i + size // 2) % size) for i in range(size // 2 if once else size)]
    return sorted(pairs)


def pivot_round(size: int, pivot: int) -> list[Pair]:
    """Everyone against the candidate `pivot`, which stands first in half of the pairs."""
    others = [number for number in range(size) if number != pivot]
    return sorted((pivot, one) if n % 2 else (one, pivot) for n, one in enumerate(others))


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
def _steps(size: int, count: int) -> list[int]:
    """`count` steps below K/2: 1, then whichever makes the sum of the inverse eigenvalues of the
    graph's Laplacian smallest; eigenvalue k of a circulant graph is the sum of
    2 - 2 cos(2 pi k step / K) over its steps.
    """
    steps_S = np.arange(1, (size + 1) // 2)
    each_SK = 2 - 2 * np.cos(2 * np.pi * np.outer(steps_S, range(1, size)) / size)
    chosen, sum_K = [0][:count], each_SK[:1].sum(0)
    while len(chosen) < count:
        variance_S = (1 / (sum_K + each_SK)).sum(1).round(9)
        variance_S[chosen] = np.inf
        chosen.append(int(variance_S.argmin()))
        sum_K = sum_K + each_SK[chosen[-1]]
    return [int(steps_S[index]) for index in chosen]
