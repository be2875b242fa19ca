"""What a tree costs."""

import numpy as np

from prewrite.train.data.trees import ORIGINAL, REWRITE, Candidate, Tree

TRUNK = np.arange(10, dtype=np.int32)


def candidate(cut: int, length: int, on_trunk: bool) -> Candidate:
    tokens = TRUNK[cut : cut + length] if on_trunk else np.full(length, 99, np.int32)
    return Candidate("row", ORIGINAL if on_trunk else REWRITE, cut, tokens, on_trunk)


def test_without_candidates_nothing_is_laid_out() -> None:
    assert (Tree(0, TRUNK, ()).trunk_inputs, Tree(0, TRUNK, ()).cost) == (0, 0)


def test_the_last_token_is_only_a_label() -> None:
    tree = Tree(0, TRUNK, (candidate(3, 4, on_trunk=True),))
    assert (tree.trunk_inputs, tree.cost) == (6, 6)


def test_a_branch_needs_the_trunk_before_its_copy_of_the_root() -> None:
    tree = Tree(0, TRUNK, (candidate(3, 4, on_trunk=False),))
    assert (tree.trunk_inputs, tree.cost) == (2, 6)


def test_a_trunk_is_paid_once() -> None:
    both = (candidate(1, 4, True), candidate(1, 3, False), candidate(5, 2, False))
    assert Tree(0, TRUNK, both).cost == 4 + 3 + 2
