"""An order of kinds in place of a judge: what it says of a pool."""

import asyncio

from judge.pool import Pool
from train.rollouts.config import RolloutsConfig
from train.rollouts.prefer import Preferred, rater


def test_the_first_kind_is_best_whatever_the_texts_say() -> None:
    config = RolloutsConfig(engine="policy", prefer=["rewrite", "rollout"])
    pools = [
        Pool("a", (), "o", {"rewrite": "r", "rollout-0": "x", "rollout-11": "r"}),
        Pool("b", (), "o", {"rollout-0": "x"}),
    ]
    said = rater(config, {})
    assert isinstance(said, Preferred)
    found = asyncio.run(said(pools, [{}, {}]))
    assert [one.scores for one in found] == [
        {"rewrite": 1, "rollout-0": 0, "rollout-11": 0},
        {"rollout-0": 0},
    ]
