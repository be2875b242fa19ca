"""What a step can learn from: exactly the cut points whose gradient is not zero."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.train.config.phases import Dpo, Grpo, Nll, Objective, RfNll
from prewrite.train.data.rows import PackedSequence, build_row, pack
from prewrite.train.data.trees import ORIGINAL, REWRITE, ROLLOUT, Candidate, Tree
from prewrite.train.learnt import POINTS, cut_points
from prewrite.train.objectives import Loss
from prewrite.train.tally import LearningTally

Text = tuple[int, float, str]
"""Kind, score, letters: one is a token."""

NLL, REWRITES = Nll(kind="nll"), Nll(kind="nll", text="rewrite")
RF_NLL, DPO, GRPO = RfNll(kind="rf_nll"), Dpo(kind="dpo"), Grpo(kind="grpo")
STANDARD = Grpo(kind="grpo", variant="grpo")
NAN = math.nan

ONE = [(ORIGINAL, 0.5, "ab")]
PAIR = [(ORIGINAL, 0.5, "ab"), (REWRITE, 1.0, "cd")]
UNSCORED = [(ORIGINAL, NAN, "ab"), (REWRITE, NAN, "cd")]
HALF = [(ORIGINAL, 0.5, "ab"), (REWRITE, NAN, "cd")]
EQUAL = [(ORIGINAL, 0.5, "ab"), (REWRITE, 0.5, "cd")]
COPIED = [(ORIGINAL, 0.5, "ab"), (REWRITE, 1.0, "ab")]
ALIKE = [(ROLLOUT, 0.1, "ab"), (ROLLOUT, 0.5, "cd"), (ROLLOUT, 0.9, "ab")]


def row(*cuts: Sequence[Text]) -> PackedSequence:
    """A tree with these texts at one cut after the other."""
    trunk = np.arange(1, 2 + len(cuts), dtype=np.int32)
    candidates = [
        Candidate(f"row-{number}", kind, number, _tokens(letters), False, score, -1.0)
        for number, texts in enumerate(cuts, start=1)
        for kind, score, letters in texts
    ]
    return build_row([Tree(0, trunk, tuple(candidates))] if candidates else [], 128)


def _tokens(letters: str) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array([ord(letter) for letter in letters], np.int32)


def points(parts: Sequence[Objective], *cuts: Sequence[Text]) -> dict[str, int]:
    return dict(zip(POINTS, cut_points(parts, [row(*cuts)]).tolist(), strict=True))


@pytest.mark.parametrize(
    ("parts", "cut", "found"),
    [
        ([NLL], ONE, "learnt"),
        ([NLL], UNSCORED, "learnt"),
        ([REWRITES], ONE, None),
        ([REWRITES], UNSCORED, "learnt"),
        ([RF_NLL], ONE, "learnt"),
        ([RF_NLL], HALF, "learnt"),
        ([RF_NLL], EQUAL, "learnt"),
        ([RF_NLL], UNSCORED, "unscored"),
        ([DPO], PAIR, "learnt"),
        ([DPO], ONE, None),
        ([DPO], HALF, "unscored"),
        ([DPO], UNSCORED, "unscored"),
        ([DPO], EQUAL, "equal"),
        ([DPO], COPIED, "equal"),
        ([DPO], ALIKE, "equal"),
        ([GRPO], PAIR, "learnt"),
        ([GRPO], ALIKE, "learnt"),
        ([GRPO], HALF, "unscored"),
        ([GRPO], EQUAL, "equal"),
        ([GRPO], COPIED, "equal"),
        ([DPO, NLL], UNSCORED, "learnt"),
        ([DPO, REWRITES], ONE, None),
        ([DPO, RF_NLL], EQUAL, "learnt"),
    ],
)
def test_a_cut_point_is_learnt_from_or_there_is_a_reason(
    parts: list[Objective], cut: list[Text], found: str | None
) -> None:
    counts = points(parts, cut)
    assert [name for name in POINTS[:3] if counts[name]] == ([found] if found else [])
    assert counts["texts"] == len(cut)
    assert counts["unscored_texts"] == sum(math.isnan(score) for _, score, _ in cut)


def test_every_cut_point_counts_for_itself() -> None:
    every = [ONE, PAIR, UNSCORED, HALF, EQUAL, COPIED, ALIKE]
    assert points([DPO], *every) == {
        "learnt": 1, "equal": 3, "unscored": 2, "texts": 14, "unscored_texts": 3
    }  # fmt: skip
    assert points([DPO, GRPO, RF_NLL, NLL]) == dict.fromkeys(POINTS, 0)


def test_the_same_answer_to_both_orders_of_a_pair_is_learnt_from() -> None:
    """It is right in one and wrong in the other, and the prompts differ; of one prompt it is equal,
    also where its rollouts lie in two trees.
    """

    def answered(trunk: Sequence[int], score: float) -> Tree:
        told = [
            Candidate("row", ROLLOUT, 3, _tokens("ab"), False, score, sampled=(-1.0, -1.0))
            for _ in range(2)
        ]
        return Tree(0, np.array(trunk, np.int32), tuple(told), whole=True)

    for size in (128, 6):
        for trunk, found in (([2, 1, 3], "learnt"), ([1, 2, 3], "equal")):
            laid = pack([answered([1, 2, 3], 1.0), answered(trunk, 0.0)], size)
            counts = dict(zip(POINTS, cut_points([GRPO], laid).tolist(), strict=True))
            assert [name for name in POINTS[:3] if counts[name]] == [found]


cuts = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from([ORIGINAL, REWRITE, ROLLOUT]),
            st.sampled_from([0.0, 0.25, 1.0, NAN]),
            st.sampled_from(["a", "b", "ab"]),
        ),
        min_size=1,
        max_size=3,
    ),
    max_size=3,
)


@settings(max_examples=150)
@given(cuts, st.sampled_from([NLL, REWRITES, RF_NLL, DPO]))
def test_nothing_is_learnt_exactly_where_there_is_no_gradient(
    found: list[list[Text]], part: Objective
) -> None:
    """Of a model in which the same tokens after the same prefix have the same probability."""
    laid, loss = row(*found), Loss([part])
    words = [(int(laid.candidates.cut_C[c]), letters) for c, letters in enumerate(_letters(found))]
    known = {word: number for number, word in enumerate(dict.fromkeys(words))}
    weight = torch.full((max(1, len(known)),), -1.0, requires_grad=True)
    place_T = torch.tensor(
        [known[words[c]] for c in laid.candidates.candidate_T.tolist()], dtype=torch.int64
    )
    total, _ = loss(weight[place_T], laid.candidates, loss.counts(laid.candidates))
    (gradient,) = torch.autograd.grad(total, weight, allow_unused=True)
    moved = gradient is not None and bool((gradient.abs() > 1e-6).any())
    assert moved == (int(cut_points([part], [laid])[0]) > 0)


def _letters(found: list[list[Text]]) -> list[str]:
    return [letters for texts in found for _, _, letters in texts]


def test_a_tally_says_the_commonest_reason_first() -> None:
    tally = LearningTally(phase="prefer")
    assert tally.why == "no cut point passes the filters"
    tally = tally.after(False, True, 9, {"learnt": 0, "equal": 1, "unscored": 6})
    tally = tally.after(True, False, 4, {"learnt": 4, "equal": 0, "unscored": 0})
    tally = tally.after(False, False, 0, {"learnt": 0, "equal": 0, "unscored": 0})
    assert (tally.moved, tally.empty, tally.skipped, tally.steps) == (1, 1, 1, 3)
    assert tally.why == (
        "cut points: 6 with no scores, 2 with no usable rewrite or rollout, 1 with equal scores or "
        "equal texts"
    )
    assert LearningTally.model_validate_json(tally.model_dump_json()) == tally


def test_with_kl_equal_scores_are_learnt_from() -> None:
    """The reference tells the texts apart."""
    equal: list[Text] = [(ROLLOUT, 1.0, "ab"), (ROLLOUT, 1.0, "cd")]
    assert points([GRPO], equal)["learnt"] == 0
    assert points([Grpo(kind="grpo", kl=0.1)], equal)["learnt"] == 1
