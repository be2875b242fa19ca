"""What a row means: by the attention rule, every label follows exactly its prefix."""

from collections.abc import Sequence
from math import isnan

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.train.config.phases import KINDS
from prewrite.train.data.rows import PackedSequence, build_row, pack, unshared
from prewrite.train.data.trees import ORIGINAL, REWRITE, ROLLOUT, Candidate, Tokens, Tree

Told = tuple[int, int, str, tuple[int, ...], tuple[int, ...]]


def tokens(count: int, seed: int) -> Tokens:
    return np.random.default_rng(seed).integers(1, 1000, count).astype(np.int32)


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """A trunk with originals (one of them with an EOS behind the trunk), branches and copies."""
    sample = draw(st.integers(0, 10**6))
    trunk = tokens(draw(st.integers(2, 24)), sample)
    found = []
    for number in range(draw(st.integers(0, 5))):
        cut = draw(st.integers(1, len(trunk) - 1))
        kind = draw(st.sampled_from([ORIGINAL, REWRITE, ROLLOUT]))
        if kind == ORIGINAL:
            own = trunk[cut : cut + draw(st.integers(1, len(trunk) - cut))]
            if draw(st.booleans()):
                own = np.append(trunk[cut:], np.int32(0))
        else:
            own = tokens(draw(st.integers(1, 9)), number)
        score = draw(st.floats(0, 3, width=32))
        found.append(Candidate(f"{sample}/{number}", kind, cut, own, kind == ORIGINAL, score))
    return Tree(sample, trunk, tuple(found))


def told(every: Sequence[Tree]) -> list[Told]:
    """(cut's number, kind, row id, prefix, tokens) of each candidate, as the trees have it."""
    numbers: dict[tuple[int, int], int] = {}
    return [
        (
            numbers.setdefault((number, c.cut), len(numbers)),
            c.kind,
            c.id,
            tuple(int(t) for t in tree.trunk[: c.cut]),
            tuple(int(t) for t in c.tokens),
        )
        for number, tree in enumerate(every)
        for c in tree.candidates
    ]


def sees(row: PackedSequence) -> torch.Tensor:
    """[S, S]: whether token q sees token k, by the rule in the design."""
    tree_S, branch_S, position_S, root_S = row.layout_S4.unbind(1)
    trunk_SS = (branch_S == 0)[None] & (position_S[None] < root_S[:, None])
    own_SS = (branch_S[None] == branch_S[:, None]) & (position_S[None] <= position_S[:, None])
    return (tree_S[None] == tree_S[:, None]) & (trunk_SS | own_SS)


def read(row: PackedSequence) -> list[Told]:
    """The same, as the row has it: the prefix of a label is what its place sees."""
    sees_SS, found = sees(row), list[Told]()
    for number, name in enumerate(row.candidates.ids):
        at = row.at_T[row.candidates.candidate_T == number]
        for step, place in enumerate(at.tolist()):
            seen = sees_SS[place].nonzero()[:, 0]
            seen = seen[row.positions_S[seen].argsort()]
            assert row.positions_S[seen].tolist() == list(range(len(seen)))
            if not step:
                prefix = row.tokens_S[seen].tolist()
            assert row.tokens_S[seen].tolist() == prefix + row.labels_S[at[:step]].tolist()
        cut, kind = int(row.candidates.cut_C[number]), int(row.candidates.kind_C[number])
        found.append((cut, kind, name, tuple(prefix), tuple(row.labels_S[at].tolist())))
    return found


@settings(max_examples=30)
@given(st.lists(trees(), max_size=4), st.integers(0, 9))
def test_every_label_follows_its_prefix(every: list[Tree], padding: int) -> None:
    used = sum(tree.cost for tree in every)
    row = build_row(every, used + padding)
    assert read(row) == told(every)
    assert row.used == used
    assert torch.equal(row.positions_S, row.layout_S4[:, 2].long())
    assert (row.layout_S4[used:, :2] == -1).all() and (row.layout_S4[:used, :2] >= 0).all()
    assert (row.at_T < used).all() and len(row.tokens_S) == used + padding
    assert row.candidates.score_C.tolist() == [c.score for t in every for c in t.candidates]
    assert row.samples == tuple(sorted({tree.sample for tree in every}))


@settings(max_examples=30)
@given(st.lists(trees(), max_size=4))
def test_unshared_rows_hold_the_same_candidates(every: list[Tree]) -> None:
    rows = unshared(every)
    assert [found for row in rows for found in read(row)] == told(every)
    for row in rows:
        assert len(row.tokens_S) % 8 == 0
        own = row.layout_S4[: row.used]
        assert own[:, 1].eq(0).all() and torch.equal(own[:, 3], own[:, 2] + 1)


@settings(max_examples=30)
@given(trees())
def test_branches_of_one_cut_lie_side_by_side(tree: Tree) -> None:
    row = build_row([tree], tree.cost)
    roots = row.layout_S4[row.layout_S4[:, 1] > 0, 3].tolist()
    assert roots == sorted(roots)
    branches = row.layout_S4[:, 1].tolist()
    assert branches == sorted(branches)


@settings(max_examples=30)
@given(st.lists(trees(), max_size=30), st.sampled_from([128, 256, 1280, 2048, 4096]))
def test_packing_loses_no_tree_and_keeps_to_eight_lengths(every: list[Tree], limit: int) -> None:
    rows = pack(every, limit)
    assert sorted(found[1:] for row in rows for found in read(row)) == sorted(
        found[1:] for found in told(every)
    )
    step = -(-limit // 1024) * 128
    for row in rows:
        size = len(row.tokens_S)
        assert row.used <= size <= limit
        assert size % 128 == 0 and (size % step == 0 or size == limit)
        assert size - row.used < step or not row.used
    assert [row.samples for row in pack(every, limit)] == [row.samples for row in rows]


def test_a_row_without_trees_is_padding() -> None:
    (row,) = pack([], 2048)
    assert (row.used, len(row.tokens_S), len(row.at_T)) == (0, 256, 0)
    assert row.layout_S4[:, :2].eq(-1).all() and row.candidates.ids == ()
    assert torch.equal(sees(row), torch.ones(256, 256).tril().bool())


def test_padding_is_small_where_documents_are_like_real_ones() -> None:
    """Lengths of web text (log-normal, median 500 tokens); every chunk with its rewrite, or not."""
    draw = np.random.default_rng(0)
    for branches in (False, True):
        for limit, longest, count in ((8192, 2048, 256), (4096, 1024, 64), (16384, 4096, 64)):
            sizes = np.minimum(draw.lognormal(6.2, 1.1, count).astype(int) + 40, longest)
            every = [_document(n, int(size), branches) for n, size in enumerate(sizes)]
            rows = pack(every, limit)
            used, size = sum(r.used for r in rows), sum(len(r.tokens_S) for r in rows)
            assert 1 - used / size < 0.05, (branches, limit)


def _document(sample: int, size: int, branches: bool) -> Tree:
    trunk = tokens(size, sample)
    found = []
    for cut in range(1, size, 128):
        own = trunk[cut : cut + 128]
        found.append(Candidate("row", ORIGINAL, cut, own, True))
        if branches:
            found.append(Candidate("row", REWRITE, cut, own[::-1], False))
    return Tree(sample, trunk, tuple(found))


def test_kinds_and_unknown_scores_reach_the_objectives() -> None:
    trunk = tokens(9, 0)
    some = [
        Candidate("a", kind, 3, trunk[3:6], kind == ORIGINAL, reference=-float(kind))
        for kind in range(len(KINDS))
    ]
    found = build_row([Tree(4, trunk, tuple(some))], 20).candidates
    assert found.kind_C.tolist() == [0, 1, 2] and found.cut_C.tolist() == [0, 0, 0]
    assert all(isnan(score) for score in found.score_C.tolist())
    assert found.reference_C.tolist() == [0, -1, -2]
    assert found.candidate_T.tolist() == [0] * 3 + [1] * 3 + [2] * 3
