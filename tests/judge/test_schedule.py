"""Who meets whom, and who stands first: balance, connection, and what it costs."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from prewrite.judge.schedule import (
    GameSchedule,
    Pair,
    Purpose,
    choose_schedule,
    first_round,
    pivot_round,
    second_round,
)


@st.composite
def circulants(draw: st.DrawFn) -> tuple[int, int]:
    """A size and an even degree below it."""
    size = draw(st.integers(3, 40))
    return size, 2 * draw(st.integers(1, (size - 1) // 2))


def distinct(pairs: list[Pair]) -> int:
    return len({frozenset(pair) for pair in pairs})


@given(circulants())
def test_everyone_stands_first_as_often_as_second_and_meets_as_many(shape: tuple[int, int]) -> None:
    size, degree = shape
    pairs = first_round(size, degree)
    assert Counter(first for first, _ in pairs) == dict.fromkeys(range(size), degree // 2)
    assert Counter(second for _, second in pairs) == dict.fromkeys(range(size), degree // 2)
    assert distinct(pairs) == len(pairs) == size * degree // 2


@given(circulants())
def test_the_first_round_connects_everyone(shape: tuple[int, int]) -> None:
    graph = np.zeros((shape[0], shape[0]))
    for first, second in first_round(*shape):
        graph[first, second] = 1
    assert connected_components(graph, directed=False)[0] == 1


@pytest.mark.parametrize("size", range(34))
def test_all_pairs(size: int) -> None:
    """Of an even number, some are played in both orders for the balance."""
    pairs = first_round(size, max(size - 1, 0))
    assert distinct(pairs) == size * (size - 1) // 2
    assert len(set(pairs)) == len(pairs) == distinct(pairs) + (0 if size % 2 else size // 2)
    assert Counter(first for first, _ in pairs) == Counter(second for _, second in pairs)
    once = first_round(size, max(size - 1, 0), once=True)
    assert distinct(once) == len(once) == distinct(pairs)


def test_questions_with_the_same_first_candidate_are_next_to_each_other() -> None:
    firsts = [first for first, _ in first_round(17, 4)]
    assert firsts == sorted(firsts)


@pytest.mark.parametrize(
    ("size", "purpose", "graded", "chosen"),
    [
        (0, "auto", True, GameSchedule(0)),
        (1, "auto", True, GameSchedule(0)),
        (2, "auto", True, GameSchedule(1)),
        (5, "auto", True, GameSchedule(4)),
        (6, "auto", True, GameSchedule(2, 3)),
        (9, "auto", True, GameSchedule(2, 4)),
        (11, "auto", True, GameSchedule(2, 4)),
        (12, "auto", True, GameSchedule(4, 4)),
        (17, "auto", True, GameSchedule(4, 4)),
        (33, "auto", True, GameSchedule(6, 4)),
        (5, "auto", False, GameSchedule(4)),
        (6, "auto", False, GameSchedule(5)),
        (9, "auto", False, GameSchedule(6, 5)),
        (17, "auto", False, GameSchedule(6, 5)),
        (33, "auto", False, GameSchedule(12, 5)),
        (9, "ranks", True, GameSchedule(8)),
        (17, "ranks", True, GameSchedule(8)),
        (17, "ranks", False, GameSchedule(16)),
        (17, "full", True, GameSchedule(16)),
        (33, "full", False, GameSchedule(32)),
    ],
)
def test_what_a_pool_plays(size: int, purpose: Purpose, graded: bool, chosen: GameSchedule) -> None:
    assert choose_schedule(size, purpose, graded) == chosen


@pytest.mark.parametrize(
    ("size", "chosen", "rounds"),
    [
        (17, GameSchedule(16), [136]),
        (17, GameSchedule(4), [34]),
        (17, GameSchedule(8), [68]),
        (5, GameSchedule(4), [10]),
    ],
)
def test_calls_of_one_round(size: int, chosen: GameSchedule, rounds: list[int]) -> None:
    assert [len(first_round(size, chosen.degree))] == rounds


@pytest.mark.parametrize(("size", "degree", "expected"), [(17, 4, 43), (9, 2, 18)])
def test_calls_of_two_rounds(size: int, degree: int, expected: int) -> None:
    """12 pairs of the best and the worst 4, less the share that the first round asked."""
    asked = first_round(size, degree)
    draw = np.random.default_rng(0)
    calls = [
        len(asked) + len(second_round(draw.permutation(size).tolist(), 4, asked))
        for _ in range(500)
    ]
    assert np.mean(calls) == pytest.approx(expected, abs=0.3)
    assert max(calls) <= len(asked) + 12


@given(st.permutations(range(17)), st.integers(1, 17))
def test_the_second_round_plays_what_is_open_among_the_ends(ranking: list[int], ends: int) -> None:
    asked = first_round(17, 4)
    more = second_round(ranking, ends, asked)
    groups = set(ranking[:ends]), set(ranking[-ends:])
    within = {frozenset((a, b)) for group in groups for a in group for b in group if a != b}
    assert {frozenset(pair) for pair in asked} & {frozenset(pair) for pair in more} == set()
    assert {frozenset(pair) for pair in more} == within - {frozenset(pair) for pair in asked}
    assert distinct(more) == len(more)


@given(st.permutations(range(17)))
def test_in_the_second_round_nobody_stands_first_much_more_often(ranking: list[int]) -> None:
    asked = first_round(17, 4)
    both = asked + second_round(ranking, 4, asked)
    balance = Counter(first for first, _ in both)
    balance.subtract(Counter(second for _, second in both))
    assert max(map(abs, balance.values())) <= 3


def test_who_stood_first_less_often_goes_first() -> None:
    assert second_round([0, 1], 2, []) == [(0, 1)]
    assert second_round([0, 1], 2, [(0, 2)]) == [(1, 0)]


@pytest.mark.parametrize(("size", "pivot"), [(2, 0), (2, 1), (9, 4), (17, 16)])
def test_everyone_meets_the_pivot_and_nobody_else(size: int, pivot: int) -> None:
    pairs = pivot_round(size, pivot)
    assert sorted(i for pair in pairs for i in pair if i != pivot) == [
        i for i in range(size) if i != pivot
    ]
    assert all(pivot in pair for pair in pairs)
    assert abs(sum(first == pivot for first, _ in pairs) - (size - 1) / 2) <= 0.5
