"""The order of samples: sample i is a pure function of (shard sets, weights, seed, i).

A sample is a span of a document. Each epoch of a set visits every span once: its parts are
permuted and grouped into windows of some 65,536 rows, and the spans of a window are shuffled.
So a reader holds about one window a set, and the state of a run is one integer. Several sets are
blended in blocks: each set has a fixed quota of every block, and the block is permuted.

Permutations sort the raw bits of PCG64, which NumPy promises never to change. Cost: one sort a
window, a list of parts and a block, each remembered while it is in use.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

_WINDOW_ROWS = 1 << 16
_BLOCK = 1000  # samples a set; the share of a set is exact to one in a block


class SamplePosition(NamedTuple):
    """Where a sample lies: set, window (epoch, number in it), part, number of the span in it."""

    set: int
    window: tuple[int, int]
    part: int
    span: int


class Epochs:
    """The epochs of one set, without end; `spans` and `rows` of its parts."""

    def __init__(self, spans: Sequence[int], rows: Sequence[int], key: Sequence[int]) -> None:
        counts, sizes = np.array(spans, np.int64), np.array(rows, np.int64)
        self._parts = np.flatnonzero(counts)
        self._counts, self._rows = counts[self._parts], sizes[self._parts]
        self._key = tuple(key)
        self.size = int(counts.sum())
        self._windows = lru_cache(maxsize=4)(self._make_windows)
        self._shuffled = lru_cache(maxsize=4)(self._shuffle)

    def position(self, number: int) -> tuple[tuple[int, int], int, int]:
        """Window, part and span of visit `number` of this set, counted over all epochs."""
        epoch, within = divmod(number, self.size)
        _, starts = self._windows(epoch)
        window = int(np.searchsorted(starts, within, side="right")) - 1
        part, span = self._shuffled(epoch, window)[within - starts[window]]
        return (epoch, window), int(part), int(span)

    def parts(self, window: tuple[int, int]) -> list[int]:
        """The parts that a window is made of."""
        epoch, number = window
        return [int(self._parts[p]) for p in self._windows(epoch)[0][number]]

    def _make_windows(self, epoch: int) -> tuple[list[Ints], Ints]:
        """The (indices of the) parts of each window of an epoch, and its first visit."""
        order = permutation(len(self._parts), *self._key, epoch)
        before = np.cumsum(self._rows[order]) - self._rows[order]
        borders = np.flatnonzero(np.diff(before // _WINDOW_ROWS)) + 1
        windows = np.split(order, borders)
        sizes = [int(self._counts[window].sum()) for window in windows]
        return windows, np.cumsum([0, *sizes[:-1]])

    def _shuffle(self, epoch: int, window: int) -> Ints:
        """(part, span) of each visit of a window, in order."""
        parts = self._windows(epoch)[0][window]
        pairs = [
            np.stack([np.full(self._counts[p], self._parts[p]), np.arange(self._counts[p])], axis=1)
            for p in parts
        ]
        every = np.concatenate(pairs)
        shuffled: Ints = every[permutation(len(every), *self._key, epoch, window)]
        return shuffled


class Order:
    """Sample i of a run over several sets; each has `weights` its share."""

    def __init__(self, sets: Sequence[Epochs], weights: Sequence[float], seed: int) -> None:
        self.sets, self._seed = sets, seed
        self._quotas = quotas(weights, _BLOCK * len(sets)).tolist()
        self._block = lru_cache(maxsize=4)(self._make_block)

    def position(self, sample: int) -> SamplePosition:
        """Where sample number `sample` of the run lies."""
        block, within = divmod(sample, _BLOCK * len(self.sets))
        owners, visits = self._block(block)
        owner = int(owners[within])
        number = block * self._quotas[owner] + int(visits[within])
        return SamplePosition(owner, *self.sets[owner].position(number))

    def _make_block(self, block: int) -> tuple[Ints, Ints]:
        """For each sample of a block: its set, and how many of that set stand before it."""
        owners = np.repeat(np.arange(len(self._quotas)), self._quotas)
        owners = owners[permutation(len(owners), self._seed, block)]
        visits = np.zeros_like(owners)
        for number, quota in enumerate(self._quotas):
            visits[owners == number] = np.arange(quota)
        return owners, visits


def quotas(weights: Sequence[float], block: int) -> Ints:
    """How many samples of a block each set has: its share to within one, but at least one."""
    shares = np.array(weights) / np.sum(weights) * block
    result: Ints = np.maximum(1, np.floor(shares)).astype(np.int64)
    while result.sum() < block:
        result[np.argmax(shares - result)] += 1
    while result.sum() > block:  # some had less than one
        result[np.argmax(result - shares + (result > 1) * block)] -= 1
    return result


def permutation(count: int, *key: int) -> Ints:
    """A permutation of range(count) that depends on `key` only, whatever the version of NumPy."""
    # With its length in front, since SeedSequence takes (1, 2) and (1, 2, 0) for the same.
    bits = np.random.PCG64(np.random.SeedSequence((len(key), *key))).random_raw(count)
    order: Ints = np.argsort(bits, kind="stable")
    return order
