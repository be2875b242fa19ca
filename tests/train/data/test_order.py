"""The order of samples is a pure function of seed and number, and leaves nothing out."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.train.data.order import Epochs, Order, SamplePosition, permutation, quotas

counts = st.lists(st.integers(0, 30), min_size=1, max_size=12).filter(any)


def epochs(spans: Sequence[int], rows: int = 5000, key: Sequence[int] = (0, 0)) -> Epochs:
    return Epochs(spans, [rows] * len(spans), key)


def order(sets: Sequence[Sequence[int]], weights: Sequence[float], seed: int = 0) -> Order:
    made = [epochs(spans, key=(seed, n)) for n, spans in enumerate(sets)]
    return Order(made, weights, seed)


@settings(max_examples=30)
@given(counts, st.integers(1, 70_000), st.integers(0, 2**64), st.integers(0, 3))
def test_every_epoch_visits_every_stretch_once(
    spans: list[int], rows: int, seed: int, epoch: int
) -> None:
    one = epochs(spans, rows, (seed, 1))
    first = epoch * one.size
    visits = [one.position(n)[1:] for n in range(first, first + one.size)]
    assert sorted(visits) == [(p, s) for p, n in enumerate(spans) for s in range(n)]


@settings(max_examples=30)
@given(counts, st.integers(1, 70_000))
def test_a_window_is_visited_in_one_go_and_names_its_parts(spans: list[int], rows: int) -> None:
    one = epochs(spans, rows)
    visits = [one.position(n) for n in range(2 * one.size)]
    windows = [window for window, _, _ in visits]
    assert windows == sorted(windows)
    for window in set(windows):
        parts = one.parts(window)
        assert {part for w, part, _ in visits if w == window} == set(parts)
        assert len(parts) == 1 or (len(parts) - 1) * rows < 1 << 16


@settings(max_examples=30)
@given(
    st.lists(counts, min_size=1, max_size=4),
    st.data(),
    st.integers(0, 2**32),
)
def test_any_sample_is_the_same_however_it_is_reached(
    sets: list[list[int]], data: st.DataObject, seed: int
) -> None:
    weights = data.draw(st.lists(st.floats(0.01, 9), min_size=len(sets), max_size=len(sets)))
    straight = order(sets, weights, seed)
    samples = [straight.position(n) for n in range(300)]
    for at in data.draw(st.lists(st.integers(0, 299), min_size=1, max_size=5)):
        fresh = order(sets, weights, seed)
        assert [fresh.position(n) for n in range(at, min(at + 20, 300))] == samples[at : at + 20]
        assert straight.position(at) == samples[at]


@settings(max_examples=20)
@given(st.lists(st.floats(1e-4, 1e4), min_size=1, max_size=5), st.integers(0, 9))
def test_shares_are_exact_to_one_in_a_block_and_each_set_goes_on_in_order(
    weights: list[float], block: int
) -> None:
    sets = [[7 * (n + 1)] for n in range(len(weights))]
    mixed, size = order(sets, weights), 1000 * len(sets)
    positions = [mixed.position(n) for n in range(block * size, (block + 1) * size)]
    found = Counter(position.set for position in positions)
    quota = quotas(weights, size)
    assert [found[n] for n in range(len(sets))] == list(quota)
    share = np.array(weights) / sum(weights) * size
    if (share >= 1).all():
        assert (abs(quota - share) <= 1).all()
    assert (quota >= 1).all()
    for number in range(len(sets)):
        mine = [position[1:] for position in positions if position.set == number]
        alone = epochs(sets[number], key=(0, number))
        first = block * int(quota[number])
        assert mine == [alone.position(first + n) for n in range(len(mine))]


def test_blocks_and_epochs_and_seeds_differ() -> None:
    one = order([[50], [50]], [1, 1])
    blocks = [[one.position(b * 2000 + n).set for n in range(2000)] for b in range(2)]
    assert blocks[0] != blocks[1]
    first, second = ([epochs([50]).position(e * 50 + n) for n in range(50)] for e in range(2))
    assert [position[1:] for position in first] != [position[1:] for position in second]
    assert [order([[50]], [1], seed).position(0) for seed in range(9)].count(one.position(0)) < 9


def test_permutations_of_near_keys_are_unlike() -> None:
    keys = [(1,), (1, 0), (1, 0, 0), (0, 1), (2,)]
    found = {tuple(permutation(40, *key)) for key in keys}
    assert len(found) == len(keys)


def test_the_order_is_the_one_that_older_checkpoints_were_made_with() -> None:
    """Pinned: a change here breaks the resume of every run there is."""
    assert list(permutation(10, 3, 1, 4)) == PERMUTATION
    mixed = order([[3, 0, 2], [4]], [3, 1], seed=5)
    assert [mixed.position(n) for n in range(4)] == PLACES


PERMUTATION = [2, 0, 8, 4, 1, 5, 3, 9, 6, 7]
PLACES = [
    SamplePosition(0, (0, 0), 0, 1),
    SamplePosition(1, (0, 0), 0, 1),
    SamplePosition(0, (0, 0), 2, 0),
    SamplePosition(0, (0, 0), 2, 1),
]


def test_one_row_a_part_makes_windows_of_many_parts() -> None:
    one = Epochs([1] * 100, [1] * 100, (0,))
    assert len(one.parts((0, 0))) == 100


def test_huge_parts_are_windows_of_their_own() -> None:
    one = Epochs([3, 3, 3], [200_000] * 3, (0,))
    assert [len(one.parts((0, number))) for number in range(3)] == [1, 1, 1]
    with pytest.raises(IndexError):
        one.parts((0, 3))
