"""Rows: what one forward pass of the model sees, several trees packed into one sequence.

A tree lies in its row as its trunk, then its branches, those of one cut side by side. A branch of
n tokens has n inputs: a copy of the trunk's token before its cut, and all its tokens but the last,
at the positions from cut - 1 on; its labels are its n tokens. So every label stands where plain
next-token training has it, and the first token of a branch is learnt as well. What is no label of
a candidate has label 0 and is never trained on.

Rows are as long as `sequence_tokens`, or shorter by some eighths of it: that bounds padding and
keeps the number of different lengths, each of which a GPU compiles for, at eight.

Shape suffixes: S tokens of the row, T trained tokens (labels of all candidates, one after the
other), C candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prewrite.train.config.phases import KINDS
from prewrite.train.data.trees import Candidate, Tree


@dataclass(frozen=True, eq=False)
class Advantages:
    """What `grpo` knows of each candidate: of groups, whatever rows their members lie in.

    advantage_C (float32): NaN where a candidate has no score, or none to compete with. Of a group,
    at its first member: scored_C (int64), how many have a score, and spread_C (float32), the best
    score minus the worst; -1 and NaN at every other candidate.
    """

    advantage_C: Tensor
    scored_C: Tensor
    spread_C: Tensor

    def to(self, device: torch.device) -> Self:
        """These, with tensors on `device`."""
        return replace(self, **_moved(self, device))


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of a row as the objectives see them.

    candidate_T (int64): which candidate a trained token belongs to. cut_C (int64): candidates with
    the same number compete, those in other rows of the batch included. kind_C (int64): of `kinds`,
    which are those of the recipe. score_C (float32): the judge's, NaN when not scored. reference_C
    (float32): summed log-probability under the reference model, NaN when not known. sampled_T
    (float32): log-probability of a rollout's token under the weights that sampled it, NaN for a
    stored text. ids: shard row of each candidate. advantages: of `grpo`, once `train.advantages`
    has found them.
    """

    candidate_T: Tensor
    cut_C: Tensor
    kind_C: Tensor
    score_C: Tensor
    reference_C: Tensor
    sampled_T: Tensor
    ids: tuple[str, ...]
    kinds: tuple[str, ...] = KINDS
    advantages: Advantages | None = None

    def to(self, device: torch.device) -> Self:
        """These, with tensors on `device`."""
        advantages = self.advantages and self.advantages.to(device)
        return replace(self, **_moved(self, device), advantages=advantages)


@dataclass(frozen=True, eq=False)
class PackedSequence:
    """One packed sequence: a micro-batch of size one.

    tokens_S, labels_S, positions_S (int64): model inputs, labels, explicit RoPE positions.
    layout_S4 (int32): (tree, branch, position, root) of each token; the attention rule is
    `train.model.attention`'s. at_T (int64): where in the row the label of a trained token stands.
    used: tokens that are no padding. samples: numbers of the samples in it.
    """

    tokens_S: Tensor
    labels_S: Tensor
    positions_S: Tensor
    layout_S4: Tensor
    at_T: Tensor
    candidates: Candidates
    used: int
    samples: tuple[int, ...]

    def to(self, device: torch.device) -> Self:
        """This row, with tensors on `device`."""
        candidates = self.candidates.to(device)
        return replace(self, **_moved(self, device), candidates=candidates)


_Numbers = dict[tuple[int, ...], int]
"""What competes (a cut of a tree, or a whole sample) → its number in a batch."""


def _moved(item: object, device: torch.device) -> dict[str, Any]:
    tensors = {name: value for name, value in vars(item).items() if isinstance(value, Tensor)}
    return {name: value.to(device) for name, value in tensors.items()}


def pack(
    trees: Sequence[Tree], sequence_tokens: int, kinds: tuple[str, ...] = KINDS
) -> list[PackedSequence]:
    """Rows of at most `sequence_tokens` tokens that hold `trees`, each of which fits in one. kinds:
    those of the recipe.

    First-fit decreasing, which is deterministic; without trees one row of padding.
    """
    bins: list[tuple[int, list[Tree]]] = []
    costs = [tree.cost for tree in trees]
    for place in sorted(range(len(trees)), key=lambda place: -costs[place]):
        cost, tree = costs[place], trees[place]
        for number, (free, members) in enumerate(bins):
            if cost <= free:
                bins[number] = (free - cost, [*members, tree])
                break
        else:
            bins.append((sequence_tokens - cost, [tree]))
    bins, known = bins or [(sequence_tokens, [])], _Numbers()
    return [
        build_row(members, _length(sequence_tokens - free, sequence_tokens), kinds, known)
        for free, members in bins
    ]


def _length(used: int, sequence_tokens: int) -> int:
    """The next multiple of an eighth of `sequence_tokens`, itself a multiple of 128 tokens."""
    step = -(-sequence_tokens // 1024) * 128
    return min(sequence_tokens, max(1, -(-used // step)) * step)


def build_row(
    trees: Sequence[Tree],
    length: int,
    kinds: tuple[str, ...] = KINDS,
    known: _Numbers | None = None,
) -> PackedSequence:
    """`trees` in one row of `length` tokens, the end of it padding (tree and branch -1). known: the
    numbers of the cuts in the rows before it.
    """
    tokens_S, labels_S = np.zeros((2, length), np.int64)
    layout_S4 = np.zeros((length, 4), np.int32)
    every = [candidate for tree in trees for candidate in tree.candidates]
    at, starts = 0, list[int]()
    for number, tree in enumerate(trees):
        starts += _lay(tree, number, at, tokens_S, layout_S4)
        at += tree.cost
    for candidate, start in zip(every, starts, strict=True):
        labels_S[start : start + len(candidate.tokens)] = candidate.tokens
    _lay_out(layout_S4[at:], -1, -1, 0, 0)
    return PackedSequence(
        tokens_S=torch.from_numpy(tokens_S),
        labels_S=torch.from_numpy(labels_S),
        positions_S=torch.from_numpy(layout_S4[:, 2].astype(np.int64)),
        layout_S4=torch.from_numpy(layout_S4),
        at_T=torch.from_numpy(_counted_from(starts, _sizes(every))),
        candidates=_candidates(every, _numbers(trees, known), kinds),
        used=at,
        samples=tuple(sorted({tree.sample for tree in trees})),
    )


def _sizes(every: Sequence[Candidate]) -> NDArray[np.int64]:
    """Tokens of each candidate."""
    return np.array([len(c.tokens) for c in every], np.int64)


def _counted_from(starts: Sequence[int], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each of `starts` the numbers from it on, as many as its size says."""
    shifts = np.array(starts, np.int64) - np.cumsum(sizes) + sizes
    return np.arange(sizes.sum()) + np.repeat(shifts, sizes)


def _lay(
    tree: Tree, number: int, at: int, tokens_S: NDArray[np.int64], layout_S4: NDArray[np.int32]
) -> list[int]:
    """Write a tree's inputs from `at` on; where the first label of each candidate stands."""
    size = tree.trunk_inputs
    tokens_S[at : at + size] = tree.trunk[:size]
    _lay_out(layout_S4[at : at + size], number, 0, 0, np.arange(1, size + 1))
    starts = [at + candidate.cut - 1 for candidate in tree.candidates]
    at += size
    branches = [i for i, candidate in enumerate(tree.candidates) if not candidate.on_trunk]
    by_cut = sorted(branches, key=lambda i: tree.candidates[i].cut)
    for branch, index in enumerate(by_cut, 1):
        cut, own = tree.candidates[index].cut, tree.candidates[index].tokens
        starts[index] = at
        tokens_S[at] = tree.trunk[cut - 1]
        tokens_S[at + 1 : at + len(own)] = own[:-1]
        _lay_out(layout_S4[at : at + len(own)], number, branch, cut - 1, cut - 1)
        at += len(own)
    return starts


def _lay_out(part_S4: NDArray[np.int32], tree: int, branch: int, position: int, root: Any) -> None:
    """Write the layout of a part of a row, at the positions from `position` on."""
    part_S4[:, 0], part_S4[:, 1], part_S4[:, 3] = tree, branch, root
    part_S4[:, 2] = np.arange(position, position + len(part_S4))


def _numbers(trees: Sequence[Tree], known: _Numbers | None = None) -> list[int]:
    """For each candidate the number of its cut."""
    known = _Numbers() if known is None else known
    keys = [
        (tree.sample,) if tree.whole else (id(tree), c.cut)
        for tree in trees
        for c in tree.candidates
    ]
    return [known.setdefault(key, len(known)) for key in keys]


def _candidates(
    every: Sequence[Candidate], cuts: Sequence[int], kinds: tuple[str, ...]
) -> Candidates:
    # By numpy: torch would wake a thread for each core for these few numbers.
    candidate_T = np.repeat(np.arange(len(every)), _sizes(every))
    return Candidates(
        candidate_T=torch.from_numpy(candidate_T),
        cut_C=torch.tensor(cuts, dtype=torch.int64),
        kind_C=torch.tensor([c.kind for c in every], dtype=torch.int64),
        score_C=torch.tensor([c.score for c in every], dtype=torch.float32),
        reference_C=torch.tensor([c.reference for c in every], dtype=torch.float32),
        sampled_T=torch.from_numpy(_sampled(every, len(candidate_T))),
        ids=tuple(c.id for c in every),
        kinds=kinds,
    )


def _sampled(every: Sequence[Candidate], count: int) -> NDArray[np.float32]:
    sampled_T, at = np.full(count, nan, np.float32), 0
    for candidate in every:
        if candidate.sampled:
            sampled_T[at : at + len(candidate.tokens)] = candidate.sampled
        at += len(candidate.tokens)
    return sampled_T


def joined(parts: Sequence[Candidates]) -> Candidates:
    """The candidates of several rows as those of one."""
    starts = torch.tensor([0, *(len(one.kind_C) for one in parts)]).cumsum(0).tolist()
    tensors: dict[str, Any] = {
        name: torch.cat([getattr(one, name) for one in parts])
        for name, value in vars(parts[0]).items()
        if isinstance(value, Tensor)
    }
    numbered = [one.candidate_T + start for one, start in zip(parts, starts, strict=False)]
    tensors["candidate_T"] = torch.cat(numbered)
    ids = tuple(name for one in parts for name in one.ids)
    return replace(parts[0], **tensors, ids=ids, advantages=None)


def unshared(trees: Sequence[Tree]) -> list[PackedSequence]:
    """The same candidates, each with a copy of its prefix in a plain causal row of its own.

    In the order of `build_row(trees, …)`, and with its numbers of cuts. Rows are padded to a
    multiple of 8 tokens, for tensor parallel.
    """
    every = [(tree, candidate) for tree in trees for candidate in tree.candidates]
    rows = []
    for (tree, candidate), number in zip(every, _numbers(trees), strict=True):
        trunk = np.concatenate([tree.trunk[: candidate.cut], candidate.tokens[:-1]])
        alone = Tree(tree.sample, trunk, (replace(candidate, on_trunk=True),))
        row = build_row([alone], -(-alone.cost // 8) * 8)
        numbered = replace(row.candidates, cut_C=torch.tensor([number]))
        rows.append(replace(row, candidates=numbered))
    return rows
