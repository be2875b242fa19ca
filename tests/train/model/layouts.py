"""Layouts as a packer makes them, from sizes: trees of a trunk and branches, then padding."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Sizes:
    """One tree: tokens of the trunk, and (root, tokens) of each branch."""

    trunk: int
    branches: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class Run:
    """Tokens of the row from `start` to `end`, whose prefix are the `root` tokens from `trunk`."""

    start: int
    end: int
    trunk: int
    root: int


def lay_out(trees: list[Sizes], padding: int) -> tuple[Tensor, list[Run]]:
    """The layout [S, 4] and its runs, padding not among them."""
    fields: list[tuple[int, int, int, int]] = []
    runs = []
    for tree, sizes in enumerate(trees):
        trunk = len(fields)
        fields += [(tree, 0, at, at + 1) for at in range(sizes.trunk)]
        runs.append(Run(trunk, len(fields), trunk, 0))
        for branch, (root, size) in enumerate(sizes.branches, 1):
            start = len(fields)
            fields += [(tree, branch, root + at, root) for at in range(size)]
            runs.append(Run(start, len(fields), trunk, root))
    fields += [(-1, 0, at, at + 1) for at in range(padding)]
    return torch.tensor(fields, dtype=torch.int32), [run for run in runs if run.start < run.end]


def dense_mask(layout_S4: Tensor) -> Tensor:
    """The rule written out, [S queries, S keys]."""
    tree, branch, position, root = layout_S4.unbind(1)
    prefix = (branch == 0) & (position < root[:, None])
    own = (branch == branch[:, None]) & (position <= position[:, None])
    return (tree == tree[:, None]) & (prefix | own)
