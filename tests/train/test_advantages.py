"""Advantages of groups: the same wherever their members lie, and those of other implementations."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prewrite.train.advantages import advantages, with_advantages
from prewrite.train.config.phases import Grpo
from prewrite.train.data.rows import Candidates, pack
from prewrite.train.data.trees import ROLLOUT, Candidate, Tree
from prewrite.train.objectives import Loss, report

DR, STANDARD = Grpo(kind="grpo", tokens=5), Grpo(kind="grpo", variant="grpo")

scores = st.sampled_from([0.0, 0.25, 1.0, math.nan])
groups = st.lists(st.lists(scores, min_size=1, max_size=6), min_size=1, max_size=4)


def tree(sample: int, told: Sequence[float], size: int = 3) -> Tree:
    """A prompt with a rollout of `size` tokens for each score; all of a sample compete."""
    found = [
        Candidate(
            id=f"{sample}.{n}",
            kind=ROLLOUT,
            cut=4,
            tokens=np.full(size, n + 1, np.int32),
            on_trunk=False,
            score=score,
            sampled=(-1.0,) * size,
        )
        for n, score in enumerate(told)
    ]
    return Tree(sample, np.arange(4, dtype=np.int32), tuple(found), whole=True)


def logps(candidates: Candidates) -> Tensor:
    """Of each token: a function of the candidate's name alone."""
    values = [math.sin(hash_of(candidates.ids[int(n)])) - 2 for n in candidates.candidate_T]
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


def hash_of(name: str) -> int:
    sample, number = name.split(".")
    return 7 * int(sample) + int(number)


def step(trees: Sequence[Tree], part: Grpo, room: int) -> tuple[dict[str, float], dict[str, float]]:
    """A step's metrics, and the gradient of each candidate's first token by its name."""
    loss, rows = Loss([part]), with_advantages(pack(trees, room), part)
    counts_N = torch.stack([loss.counts(row.candidates) for row in rows]).sum(0)
    totals, gradients = dict[str, float](), dict[str, float]()
    for row in rows:
        logp_T = logps(row.candidates)
        value, sums = loss(logp_T, row.candidates, counts_N)
        (gradient_T,) = torch.autograd.grad(value, logp_T)
        first = [
            int((row.candidates.candidate_T == n).nonzero()[0])
            for n in range(len(row.candidates.ids))
        ]
        gradients |= zip(row.candidates.ids, gradient_T[first].tolist(), strict=True)
        totals = {name: totals.get(name, 0.0) + float(v) for name, v in sums.items()}
    return report(totals), gradients


@settings(max_examples=60, deadline=None)
@given(groups, st.sampled_from([DR, STANDARD]), st.data())
def test_a_group_may_lie_in_any_rows(
    told: list[list[float]], part: Grpo, data: st.DataObject
) -> None:
    """Whole, or split into several trees with the same trunk, in one row or in many."""
    whole = [tree(number, some) for number, some in enumerate(told)]
    split = []
    for one in whole:
        at = data.draw(st.integers(0, len(one.candidates)))
        parts = [one.candidates[:at], one.candidates[at:]]
        split += [replace(one, candidates=some) for some in parts if some]
    values, gradients = step(whole, part, 512)
    others, moved = step(split, part, 128)
    assert values == pytest.approx(others, nan_ok=True)
    assert gradients == pytest.approx(moved)


def test_a_group_of_the_two_orders_of_a_pair_is_one() -> None:
    """Two prompts of a sample: what is right in one order weighs against what is wrong in both."""
    trees = [
        tree(0, [1.0, 1.0]),
        replace(tree(0, [0.0, 0.0]), trunk=np.arange(1, 5, dtype=np.int32)),
    ]
    (row,) = with_advantages(pack(trees, 128), DR)
    assert row.candidates.advantages
    assert sorted(row.candidates.advantages.advantage_C.tolist()) == [-0.5, -0.5, 0.5, 0.5]


def reference_loss(
    rewards: Tensor, logp_NT: Tensor, old_NT: Tensor, mask_NT: Tensor, standard: bool, budget: int
) -> Tensor:
    """GRPO written anew for one group, in the manner of TRL: scaled or not, and its two ways to
    reduce over tokens ("grpo": each completion's mean; "dr_grpo": a constant length).
    """
    advantage_N = rewards - rewards.mean()
    if standard:
        advantage_N = advantage_N / (rewards.std() + 1e-4)
    ratio_NT = (logp_NT - old_NT).exp()
    per_token_NT = -ratio_NT * advantage_N[:, None]
    if standard:
        return ((per_token_NT * mask_NT).sum(1) / mask_NT.sum(1)).mean()
    return (per_token_NT * mask_NT).sum() / (len(rewards) * budget)


@pytest.mark.parametrize("standard", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_the_numbers_are_those_of_another_implementation(standard: bool, seed: int) -> None:
    """Gradients too, with weights that have moved on since the rollouts were sampled."""
    draw = torch.Generator().manual_seed(seed)
    count, lengths = 5, [3, 1, 4, 2, 6]
    rewards = torch.rand(count, generator=draw, dtype=torch.float64)
    mask_NT = torch.tensor([[n < size for n in range(6)] for size in lengths])
    logp_NT = (-3 * torch.rand(count, 6, generator=draw, dtype=torch.float64)).requires_grad_()
    old_NT = logp_NT.detach() + 0.1 * torch.randn(count, 6, generator=draw, dtype=torch.float64)
    part = STANDARD if standard else DR
    expected = reference_loss(rewards, logp_NT, old_NT, mask_NT, standard, part.tokens)
    (wanted_NT,) = torch.autograd.grad(expected, logp_NT)

    candidates = Candidates(
        candidate_T=mask_NT.nonzero()[:, 0],
        cut_C=torch.zeros(count, dtype=torch.int64),
        kind_C=torch.full([count], ROLLOUT),
        score_C=rewards.float(),
        reference_C=torch.full([count], math.nan),
        sampled_T=old_NT[mask_NT].float(),
        ids=tuple(map(str, range(count))),
    )
    (candidates,) = advantages([candidates], part)
    loss, logp_T = Loss([part]), logp_NT.detach()[mask_NT].requires_grad_()
    value, _ = loss(logp_T, candidates, loss.counts(candidates))
    (gradient_T,) = torch.autograd.grad(value, logp_T)
    torch.testing.assert_close(gradient_T, wanted_NT[mask_NT], rtol=1e-4, atol=1e-6)


def test_kl_takes_from_the_score_of_what_has_become_likelier() -> None:
    """score - kl * (log p - log p_reference), before the mean of the group is taken."""
    (row,) = pack([tree(0, [1.0, 0.5, 0.0])], 128)
    known = replace(row.candidates, reference_C=torch.tensor([-3.0, -5.0, -2.0]))
    (found,) = advantages([known], Grpo(kind="grpo", kl=0.1))
    assert found.advantages
    scores_C = [1.0, 0.5 - 0.1 * (-3 + 5), 0.0 - 0.1 * (-3 + 2)]
    mean = sum(scores_C) / 3
    expected = [score - mean for score in scores_C]
    assert found.advantages.advantage_C.tolist() == pytest.approx(expected, abs=1e-6)
    assert found.advantages.spread_C[0] == 1.0  # what is watched is the judge's


def test_a_score_without_others_is_no_group() -> None:
    """It is counted, and nothing is learnt from it."""
    values, gradients = step([tree(0, [math.nan, 1.0]), tree(1, [0.0, 1.0])], DR, 128)
    assert (values["grpo/cut_points"], values["grpo/skipped"]) == (1, 1)
    assert gradients["0.0"] == gradients["0.1"] == 0.0 and gradients["1.1"] < 0
