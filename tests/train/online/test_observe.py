"""What is logged of a step's rollouts, worked out by hand and over any split into ranks."""

from collections.abc import Mapping
from math import isnan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.train.config.sections import ParallelConfig
from prewrite.train.messages import RolloutGroup, RolloutPrompt
from prewrite.train.online.observe import MEANS, TOTALS, report, tally
from tests.train.launch import launch, started
from tests.train.online.pools import any_pools, group, prompt, rollout

NO_SHARES = {"spread", "chosen_score", "rejected_score", "length", "length_ratio", "entropy"}
REFUSAL = "I'm sorry, but I can't help with that request."


def watched(
    *groups: RolloutGroup, prompts: list[RolloutPrompt] | None = None, tokens: int = 8
) -> dict[str, float]:
    found = report(tally(groups, prompts or [prompt()] * len(groups), [tokens] * len(groups)))
    return {name.removeprefix("rollouts/"): value for name, value in found.items()}


def same(found: Mapping[str, float], **expected: float) -> None:
    assert {name: found[name] for name in expected} == pytest.approx(expected, nan_ok=True)


def test_scores_of_the_pools() -> None:
    found = watched(
        group("a", "b", scores={"original": 0.5, "rollout-0": 0.9, "rollout-1": 0.2}),
        group("a", "b", scores={"original": 0.8, "rewrite": 0.1, "rollout-0": 0.3}),
        group("a", "b", scores={"original": 0.4, "rollout-0": 0.4}),
        group("a", "b", scores={"original": 0.4}),
        group(scores={}),
    )
    same(found, pools=5, unscored_pools=2 / 5, equal=1 / 3)
    same(found, spread=1.4 / 3, chosen_score=2.1 / 3, rejected_score=0.7 / 3)
    # Of two decided pools one chose a rollout; by chance it would have been 2/3 and 1/3.
    same(found, chosen_share=1 / 2, chance_share=1 / 2)
    same(found, unscored=4 / 8)


def test_a_stored_text_is_chosen_of_equal_best_ones() -> None:
    scores = {"rollout-0": 0.9, "rewrite": 0.9, "rollout-1": 0.2}
    same(watched(group("a", "b", scores=scores)), chosen_share=0, chance_share=2 / 3)


def test_rollouts_alone_choose_a_rollout_as_often_as_chance() -> None:
    scores = {"rollout-0": 0.9, "rollout-1": 0.2}
    same(watched(group("a", "b", scores=scores)), chosen_share=1, chance_share=1)


def test_length_end_and_entropy() -> None:
    first = group(rollout("a", 2, 0.5), rollout("b", 10, 1.5, ended=False))
    second = group(rollout("c", 6, 3.0))
    found = report(tally([first, second], [prompt()] * 2, [4, 10]))
    assert found["rollouts/length"] == pytest.approx(6)
    assert found["rollouts/length_ratio"] == pytest.approx(18 / (4 + 4 + 10))
    assert found["rollouts/ended"] == pytest.approx(2 / 3)
    assert found["rollouts/entropy"] == pytest.approx((1 + 15 + 18) / 18)


def test_texts() -> None:
    found = watched(
        group("one two three four five", "la la la la la", REFUSAL, REFUSAL),
        group("", "", ""),
        group("alone"),
    )
    same(found, refusals=2 / 8, distinct=(3 / 4 + 1 / 3) / 2)
    assert found["repetition"] == pytest.approx(0.5 / 4)  # of those that have four words
    assert 0 < found["distinct_2"] < 1


def test_a_document_may_quote_a_refusal() -> None:
    same(watched(group(REFUSAL), prompts=[prompt(original=REFUSAL)]), refusals=0)


def test_verdicts_that_failed() -> None:
    counts = {"verdict:ok": 6, "verdict:failed": 1, "verdict:outside": 1, "pool:ties": 3}
    found = watched(group("a", counts=counts), group("b", counts={"verdict:ok": 2}))
    same(found, verdicts=10, verdicts_failed=0.2)


def added_up(*cases: list[RolloutGroup]) -> list[dict[str, float]]:
    """What a rank logs of each case when every second pool is its own."""
    from prewrite.train import parallel

    found = []
    with started(ParallelConfig()):
        for groups in cases:
            mine = groups[parallel.data_rank() :: parallel.data_size()]
            sums = tally(mine, [prompt()] * len(mine), [8] * len(mine))
            found.append(report(parallel.all_reduce_sum(sums)))
    return found


@pytest.mark.slow
def test_two_processes_log_what_one_would() -> None:
    """Also where one of them has no pool."""
    one = [group("a b c d", "b", scores={"rollout-0": 0.5, "original": 0.25})]
    three = [*one, group(rollout("x y z a a a a", 9)), group(scores={})]
    for found in launch(added_up, 2, one, three):
        for groups, values in zip((one, three), found, strict=True):
            alone = report(tally(groups, [prompt()] * len(groups), [8] * len(groups)))
            assert values == pytest.approx(alone, nan_ok=True)


def test_nothing_is_not_zero() -> None:
    """A step without a rollout, or a rank without a pool, has all names and no means."""
    found = watched()
    assert set(found) == {*TOTALS, *MEANS}
    assert all(found[name] == 0 for name in TOTALS) and all(isnan(found[name]) for name in MEANS)
    same(watched(group()), pools=1, unscored_pools=1)
    assert isnan(watched(group())["length_ratio"]) and isnan(watched(group("a"))["distinct"])


@given(any_pools(), st.data())
def test_ranks_add_up(pools: list[Any], data: st.DataObject) -> None:
    """However the pools are split, the sums have the same names in the same order and add up."""
    prompts, groups = [one for one, _ in pools], [one for _, one in pools]
    cut = data.draw(st.integers(0, len(pools)))
    whole = tally(groups, prompts, [3] * len(pools))
    first = tally(groups[:cut], prompts[:cut], [3] * cut)
    rest = tally(groups[cut:], prompts[cut:], [3] * (len(pools) - cut))
    assert [*whole] == [*first] == [*rest]
    for name, value in whole.items():
        if name not in ("surprise", "spread", "chosen_score", "rejected_score"):
            assert value == pytest.approx(first[name] + rest[name])
    shares = report(whole)
    for name in MEANS.keys() - NO_SHARES:
        assert isnan(shares[f"rollouts/{name}"]) or 0 <= shares[f"rollouts/{name}"] <= 1
