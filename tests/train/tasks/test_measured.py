"""What is measured of a prompted task's groups: in a step, and by a probe."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prewrite.engine.tokenizer import load_tokenizer
from prewrite.judge.pool import Pool
from prewrite.train.config.sections import TrainConfig
from prewrite.train.config.task import JudgeTask, RewriteTask
from prewrite.train.data.prompted import Wanted
from prewrite.train.data.texts import TextTokens
from prewrite.train.messages import Rollout, RolloutGroup, RolloutPrompt, rollout_name
from prewrite.train.tasks import probed
from prewrite.train.tasks.prompted import with_rollouts
from prewrite.train.tasks.watched import Watched, all_failed
from tests.train.small import settings

QUICKSTART = Path(__file__).parents[3] / "models/smollm2-135m-instruct"


def prompt(sample: int, turn: int = 0, kind: str = "quality") -> RolloutPrompt:
    texts = {"original": "one", "rewrite": "two"} if kind == "quality" else {}
    wanted = Wanted(kind, criterion="quality" if kind == "quality" else "")
    return RolloutPrompt(sample, (1, 2, 3), 0, Pool("row", (), "one two", texts), turn, wanted)


def group(asked: RolloutPrompt, *scores: float | None, **told: Any) -> RolloutGroup:
    text = told.pop("text", "one two")
    rollouts = tuple(
        Rollout(text=text, tokens=(5, 6), logprobs=(-1.0, -1.0), ended=True) for _ in scores
    )
    known = {rollout_name(n): score for n, score in enumerate(scores) if score is not None}
    return RolloutGroup(
        sample=asked.sample, id=asked.id, version=0, rollouts=rollouts, scores=known, **told
    )


def test_both_orders_of_a_pair_are_one_group() -> None:
    """All right in one order and all wrong in the other is a mixed group; one score is none."""
    told: dict[int, list[tuple[float, ...]]] = {
        0: [(1.0, 1.0), (0.0, 0.0)],
        1: [(0.0,), (0.0,)],
        2: [(1.0,), (1.0,)],
        3: [(1.0,), ()],
    }
    asked = [prompt(sample, turn) for sample in told for turn in (0, 1)]
    groups = {one.key: group(one, *told[one.sample][one.turn]) for one in asked}
    data = [{"set": "a", "criterion": "quality"}]
    phase = {"name": "p", "objective": "grpo", "candidates": ["rollout"], "until": {"step": 9}}
    rollouts = {"engine": "policy", "tokens": 8}
    config = TrainConfig.model_validate(
        settings(
            Path("x"), task={"kind": "judge"}, data=data, curriculum=[phase], rollouts=rollouts
        )
    )
    watched = Watched(config)
    found = watched.report(watched.tally(asked, groups))
    names = ("mixed", "all_zero", "all_one", "alone")
    assert [found[f"rewards/{name}"] for name in names] == [0.25] * 4
    assert found["rewards/of_quality"] == 5 / 9
    empty = watched.report(watched.tally([], {}))
    assert empty.keys() == found.keys() and all(map(math.isnan, empty.values()))


def test_a_step_that_fails_for_one_reason_is_told() -> None:
    assert all_failed({"form/refusal": 1.0, "form/too_long": 0.0}) == "refusal"
    assert all_failed({"form/refusal": 0.5, "form/too_long": 0.5}) is None


def test_a_probe_of_a_judge() -> None:
    """Right in both orders only where the worse of the two is."""
    told = {0: (1.0, 1.0), 1: (1.0, 0.0)}
    asked = [prompt(sample, turn) for sample in told for turn in (0, 1)]
    values = {"quality": {rollout_name(0): 1.0}}
    groups = {one.key: group(one, told[one.sample][one.turn], values=values) for one in asked}
    texts = TextTokens(load_tokenizer(str(QUICKSTART)))
    found = probed.means(probed.tally(JudgeTask(kind="judge"), asked, groups, texts))
    assert found == {"reward": 0.75, "both_orders": 0.5, "says_first": 1.0, "unread": 0.0}


def test_a_probe_of_a_rewriter() -> None:
    asked = [prompt(0, kind="copied"), prompt(1, kind="mended"), prompt(2, kind="mended")]
    scores: tuple[float | None, ...] = (1.0, 0.5, None)
    groups = {one.key: group(one, score) for one, score in zip(asked, scores, strict=True)}
    texts = TextTokens(load_tokenizer(str(QUICKSTART)))
    task = RewriteTask(kind="rewrite")
    found = probed.means(probed.tally(task, asked, groups, texts))
    assert (found["reward"], found["reward_copied"], found["reward_mended"]) == (0.75, 1.0, 0.5)
    assert (found["copied_mended"], found["overlap_copied"]) == (1.0, 1.0)
    assert found["unread"] == pytest.approx(1 / 3) and found["refused"] == 0


@pytest.mark.parametrize(("one", "other", "share"), [([1, 1, 2], [1, 2, 2, 3], 0.5), ([], [], 1)])
def test_overlap_counts_tokens_as_often_as_both_have_them(
    one: list[int], other: list[int], share: float
) -> None:
    assert probed.overlap(one, other) == share


def test_rollouts_that_do_not_fit_lie_in_several_trees_of_one_group() -> None:
    asked = prompt(0)
    trees = with_rollouts([asked], {asked.key: group(asked, 1.0, 0.0, None)}, longest=6)
    assert [len(tree.candidates) for tree in trees] == [2, 1]
    assert all(tree.whole and tree.cost <= 6 for tree in trees)
    scores = np.array([c.score for tree in trees for c in tree.candidates])
    np.testing.assert_array_equal(scores, [1.0, 0.0, np.nan])
