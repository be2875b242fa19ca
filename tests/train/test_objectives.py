"""Objectives against the same formulas written with Python loops, over any pool of candidates.

Suffixes as in train/objectives.py.
"""

import math
import statistics
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from prewrite.base.errors import ShardError
from prewrite.train.advantages import advantages
from prewrite.train.config.phases import KINDS, Dpo, Grpo, Nll, Objective, RfNll
from prewrite.train.data.rows import Candidates
from prewrite.train.data.trees import ORIGINAL, REWRITE, ROLLOUT
from prewrite.train.objectives import TOTALS, Loss, grpo, report

ALL: list[Objective] = [
    Nll(kind="nll"),
    Nll(kind="nll", text="rewrite", weight=0.5),
    RfNll(kind="rf_nll", weight=2.0),
    Dpo(kind="dpo", beta=0.3),
    Grpo(kind="grpo", tokens=7, weight=0.1),
]

GRPO = Grpo(kind="grpo")

Text = tuple[int, int, float, float, list[float]]
"""A candidate as plain values: cut, kind, score, reference, log-probabilities of its tokens."""

logps = st.lists(st.floats(-9, -0.01), min_size=1, max_size=4)
# Few scores, so that equal ones are common, and NaN for those that were not judged.
texts = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from([ORIGINAL, REWRITE, ROLLOUT]),
        st.sampled_from([0.0, 0.5, 0.75, 2.0, math.nan]),
        st.floats(-20, -1),
        logps,
    ),
    max_size=12,
)


def row(pool: Sequence[Text], part: Objective = GRPO) -> tuple[Tensor, Candidates]:
    """The pool as the loader lays it out; log-probabilities are leaves, in float64. part: whose
    advantages it has.
    """
    owner = [number for number, text in enumerate(pool) for _ in text[4]]
    logp_T = torch.tensor([logp for text in pool for logp in text[4]], dtype=torch.float64)
    candidates = Candidates(
        candidate_T=torch.tensor(owner, dtype=torch.int64),
        cut_C=torch.tensor([text[0] for text in pool], dtype=torch.int64),
        kind_C=torch.tensor([text[1] for text in pool], dtype=torch.int64),
        score_C=torch.tensor([text[2] for text in pool], dtype=torch.float32),
        reference_C=torch.tensor([text[3] for text in pool], dtype=torch.float32),
        sampled_T=torch.full([len(owner)], math.nan),
        ids=tuple(f"row-{number}" for number in range(len(pool))),
    )
    if isinstance(part, Grpo):
        (candidates,) = advantages([candidates], part)
    return logp_T.requires_grad_(), candidates


def alone(part: Objective, pool: Sequence[Text]) -> tuple[float, int, dict[str, float], Tensor]:
    """Sum, count and details of one component of weight 1 on one row, and the gradient [T]."""
    loss = Loss([part.model_copy(update={"weight": 1.0})])
    logp_T, candidates = row(pool, part)
    counts_N = loss.counts(candidates)
    total, sums = loss(logp_T, candidates, torch.ones_like(counts_N))
    (gradient_T,) = torch.autograd.grad(total, logp_T)
    details = {
        name.partition("/")[2]: float(value)
        for name, value in sums.items()
        if name.startswith(f"{part.name}/")
    }
    return total.item(), int(counts_N[0]), details, gradient_T


def cuts(pool: Sequence[Text], least: int) -> list[list[Text]]:
    """Scored candidates of each cut that has `least`, best first."""
    found = []
    for cut in sorted({text[0] for text in pool}):
        scored = [text for text in pool if text[0] == cut and not math.isnan(text[2])]
        if len(scored) >= least:
            found.append(sorted(scored, key=lambda text: (-text[2], text[1])))
    return found


def close(found: float, expected: float) -> bool:
    return math.isclose(found, expected, rel_tol=1e-5, abs_tol=1e-5)


@settings(max_examples=60)
@given(texts, st.sampled_from(["original", "rewrite"]))
def test_nll(pool: list[Text], kind: str) -> None:
    part = Nll.model_validate({"kind": "nll", "text": kind})
    total, count, _, _ = alone(part, pool)
    learnt = [logp for text in pool if KINDS[text[1]] == kind for logp in text[4]]
    assert count == len(learnt)
    assert close(total, -sum(learnt))


@settings(max_examples=60)
@given(texts)
def test_rf_nll(pool: list[Text]) -> None:
    total, count, details, _ = alone(RfNll(kind="rf_nll"), pool)
    best = [group[0] for group in cuts(pool, 1)]
    assert count == sum(len(text[4]) for text in best)
    assert close(total, -sum(sum(text[4]) for text in best))
    assert details["cut_points"] == len(best)
    assert details["skipped"] == len({text[0] for text in pool}) - len(best)
    for number, kind in enumerate(KINDS):
        assert details[f"chosen_{kind}"] == sum(text[1] == number for text in best)


@settings(max_examples=100)
@given(texts, st.booleans())
def test_dpo(pool: list[Text], normalise: bool) -> None:
    total, count, details, _ = alone(Dpo(kind="dpo", beta=0.3, normalise=normalise), pool)
    groups = cuts(pool, 2)
    decided = [group for group in groups if group[0][2] > group[-1][2]]

    def reward(text: Text) -> float:
        return 0.3 * (sum(text[4]) - text[3]) / (len(text[4]) if normalise else 1)

    chosen = [reward(group[0]) for group in decided]
    rejected = [reward(group[-1]) for group in decided]
    margins = [c - r for c, r in zip(chosen, rejected, strict=True)]
    assert count == details["cut_points"] == len(decided)
    assert close(total, sum(math.log1p(math.exp(-margin)) for margin in margins))
    assert details["accuracy"] == sum(margin > 0 for margin in margins)
    assert details["equal"] == len(groups) - len(decided)
    assert details["skipped"] == len({text[0] for text in pool}) - len(groups)
    assert close(details["margin"], sum(margins))
    assert close(details["chosen_reward"], sum(chosen))
    assert close(details["rejected_reward"], sum(rejected))
    for number, kind in enumerate(KINDS):
        assert details[f"chosen_{kind}"] == sum(group[0][1] == number for group in decided)
        shares = [sum(text[1] == number for text in group) / len(group) for group in decided]
        assert close(details[f"chance_{kind}"], sum(shares))


@settings(max_examples=60)
@given(texts)
def test_grpo(pool: list[Text]) -> None:
    total, count, details, _ = alone(Grpo(kind="grpo", tokens=7), pool)
    groups = cuts(pool, 2)
    expected = 0.0
    for group in groups:
        mean = sum(text[2] for text in group) / len(group)
        expected -= sum((text[2] - mean) * sum(text[4]) for text in group)
    assert count == 7 * sum(map(len, groups))
    assert close(total, expected)
    assert details["cut_points"] == len(groups)
    assert close(details["spread"], sum(group[0][2] - group[-1][2] for group in groups))


@settings(max_examples=60)
@given(texts)
def test_grpo_as_it_was_first_published(pool: list[Text]) -> None:
    total, count, _, _ = alone(Grpo(kind="grpo", variant="grpo"), pool)
    expected = 0.0
    for group in cuts(pool, 2):
        scores = [text[2] for text in group]
        spread = statistics.stdev(scores) + 1e-4
        for text in group:
            advantage = (text[2] - statistics.fmean(scores)) / spread
            expected -= advantage * sum(text[4]) / len(text[4])
    assert count == sum(map(len, cuts(pool, 2)))
    assert close(total, expected)


def test_a_rollout_counts_for_what_it_has_become_likelier_by() -> None:
    """p_now / p_when_sampled of each token, at most the cap; a stored text counts once."""
    pool: list[Text] = [(0, ORIGINAL, 0.0, -1.0, [-1.0]), (0, ROLLOUT, 1.0, -1.0, [-2.0, -3.0, -1])]
    logp_T, candidates = row(pool)
    candidates.sampled_T[1:] = torch.tensor([-2.0, -2.0, -5.0])
    total, _ = grpo(logp_T, candidates, ratio_cap=1.5)
    (gradient_T,) = torch.autograd.grad(total, logp_T)
    assert gradient_T.tolist() == pytest.approx([0.5, -0.5, -0.5 * math.exp(-1), -0.5 * 1.5])


def test_drift_is_a_mean_over_the_tokens_of_rollouts() -> None:
    pool: list[Text] = [(0, ORIGINAL, 0.0, -1.0, [-1.0]), (0, ROLLOUT, 1.0, -4.0, [-2.0, -3.0])]
    logp_T, candidates = row(pool)
    candidates.sampled_T[1:] = torch.tensor([-1.0, -3.5])
    loss = Loss([Dpo(kind="dpo")], online=True)
    _, sums = loss(logp_T, candidates, loss.counts(candidates))
    values = report({name: float(value) for name, value in sums.items()})
    assert values["policy/tokens"] == 2
    assert values["policy/gap"] == pytest.approx(0.75)
    assert values["policy/sampler_kl"] == pytest.approx(0.25)
    assert values["policy/reference_kl"] == pytest.approx(-0.5)


def test_equal_scores_choose_the_first_kind_and_reject_the_last() -> None:
    pool: list[Text] = [
        (0, ROLLOUT, 1.0, -1.0, [-1.0]),
        (0, REWRITE, 1.0, -1.0, [-1.0]),
        (0, ROLLOUT, 0.0, -1.0, [-1.0]),
        (0, ORIGINAL, 0.0, -1.0, [-1.0]),
    ]
    _, _, _, gradient_T = alone(Dpo(kind="dpo"), pool)
    assert gradient_T.sign().tolist() == [0, -1, 1, 0]
    assert alone(RfNll(kind="rf_nll"), pool)[3].tolist() == [0, -1, 0, 0]


def test_the_published_value_of_a_pair_at_the_reference() -> None:
    """Equation 7 of arXiv 2305.18290: where policy and reference agree the loss is log 2, and the
    gradient is beta / 2 for each side.
    """
    pool: list[Text] = [(0, ORIGINAL, 0.0, -3.0, [-1.0, -2.0]), (0, REWRITE, 1.0, -2.0, [-2.0])]
    total, count, _, gradient_T = alone(Dpo(kind="dpo", beta=0.1), pool)
    assert count == 1
    assert total == pytest.approx(math.log(2))
    assert gradient_T.tolist() == pytest.approx([0.05, 0.05, -0.05])


def test_unknown_references_of_texts_that_are_not_compared_do_no_harm() -> None:
    pool: list[Text] = [
        (0, ORIGINAL, 0.0, -3.0, [-1.0]),
        (0, ROLLOUT, 0.5, math.nan, [-1.0]),
        (0, REWRITE, 1.0, -2.0, [-2.0]),
        (1, ORIGINAL, math.nan, math.nan, [-2.0]),
    ]
    for normalise in (False, True):
        part = Dpo(kind="dpo", normalise=normalise, reference="stored")
        total, _, _, gradient_T = alone(part, pool)
        Loss([part]).check(row(pool)[1])
        assert math.isfinite(total) and gradient_T.isfinite().all()


@pytest.mark.parametrize(("number", "kind"), [(0, "original"), (2, "rewrite")])
def test_a_missing_reference_names_the_row(number: int, kind: str) -> None:
    pool: list[Text] = [
        (0, ORIGINAL, 0.0, -3.0, [-1.0]),
        (0, ROLLOUT, 0.5, -1.0, [-1.0]),
        (0, REWRITE, 1.0, -2.0, [-2.0]),
    ]
    _, candidates = row(pool)
    candidates.reference_C[number] = math.nan
    with pytest.raises(ShardError, match=rf"^row row-{number}: .* of its {kind}; "):
        Loss([Dpo(kind="dpo", reference="stored")]).check(candidates)
    Loss([Dpo(kind="dpo", reference="frozen")]).check(candidates)
    Loss([Nll(kind="nll"), Grpo(kind="grpo")]).check(candidates)


def step(rows: Sequence[Sequence[Text]]) -> tuple[dict[str, float], Tensor]:
    """A step over rows: its summed metrics, and the gradient of every token, row after row."""
    loss = Loss(ALL)
    built = [row(pool) for pool in rows]
    counts_N = torch.stack([loss.counts(candidates) for _, candidates in built]).sum(0)
    totals: dict[str, float] = {}
    gradients: list[Tensor] = []
    for logp_T, candidates in built:
        value, sums = loss(logp_T, candidates, counts_N)
        gradients += torch.autograd.grad(value, logp_T)
        for name, part in sums.items():
            totals[name] = totals.get(name, 0.0) + float(part)
    return totals, torch.cat(gradients)


@settings(max_examples=60)
@given(texts, st.data())
def test_any_split_of_the_rows_gives_the_same_step(pool: list[Text], data: st.DataObject) -> None:
    owner = {cut: data.draw(st.integers(0, 2)) for cut in {text[0] for text in pool}}
    rows = [[text for text in pool if owner[text[0]] == number] for number in range(3)]
    whole, gradient_T = step([[text for part in rows for text in part]])
    split, gradients_T = step(rows)
    assert list(whole) == list(split)
    assert list(whole.values()) == pytest.approx(list(split.values()), rel=1e-5, abs=1e-6)
    torch.testing.assert_close(gradients_T, gradient_T)


def test_the_loss_is_the_weighted_sum_and_its_parts_are_named() -> None:
    pool: list[Text] = [
        (0, ORIGINAL, 0.0, -3.0, [-1.0, -2.0]),
        (0, REWRITE, 1.0, -2.0, [-2.0, -2.0, -1.0]),
        (1, ORIGINAL, math.nan, -2.0, [-4.0]),
    ]
    values = report(step([pool])[0])
    assert values["loss/nll_original"] == pytest.approx(7 / 3)
    assert values["loss/nll_rewrite"] == values["loss/rf_nll"] == pytest.approx(5 / 3)
    assert values["loss/grpo"] == pytest.approx((0.5 * -3 + 0.5 * 5) / 14)
    parts = [part.weight * values[f"loss/{part.name}"] for part in ALL]
    assert values["loss"] == pytest.approx(sum(parts))
    assert values["dpo/chosen_rewrite"] == 1.0
    assert values["dpo/chance_rewrite"] == 0.5
    assert (values["dpo/cut_points"], values["dpo/skipped"], values["dpo/equal"]) == (1, 1, 0)


def test_an_empty_row_has_a_gradient_and_no_loss() -> None:
    loss = Loss(ALL)
    logp_T, candidates = row([])
    value, sums = loss(logp_T, candidates, loss.counts(candidates))
    value.backward()  # type: ignore[no-untyped-call]
    assert not any(sums.values())
    reported = report({name: float(total) for name, total in sums.items()})
    for name, number in reported.items():
        total = name.startswith("loss") or name.rpartition("/")[2] in TOTALS
        assert number == 0 if total else math.isnan(number), name


def test_scores_alone_decide_what_competes() -> None:
    """The order of candidates in a row and the numbers of the cuts mean nothing."""
    pool: list[Text] = [
        (cut, kind, score, -2.0, [-1.0 - score])
        for cut in range(3)
        for kind, score in ((ORIGINAL, 0.3 * cut), (REWRITE, 0.5), (ROLLOUT, 0.9 - cut))
    ]
    mixed = [(9 - text[0], *text[1:]) for text in pool[::2] + pool[1::2]]
    there, here = step([pool])[0], step([mixed])[0]
    assert list(there.values()) == pytest.approx(list(here.values()))


def test_float32_keeps_float32() -> None:
    logp_T, candidates = row([(0, ORIGINAL, 0.0, -3.0, [-1.0]), (0, REWRITE, 1.0, -2.0, [-2.0])])
    loss = Loss(ALL)
    value, _ = loss(logp_T.detach().float(), candidates, loss.counts(candidates))
    assert value.dtype == torch.float32
