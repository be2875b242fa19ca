"""An order of kinds in place of a judge: what it says of a pool."""

import asyncio

import pytest

from prewrite.base.errors import EngineError
from prewrite.engine.config import EndpointConfig
from prewrite.judge.pool import Pool
from prewrite.judge.scorer import PoolScorer
from prewrite.train.config.rollouts import RolloutsConfig
from prewrite.train.tasks.prefer import Preferred, scorer_of
from tests.engine.fault_server import Fault, FaultServer


def test_the_first_kind_is_best_whatever_the_texts_say() -> None:
    config = RolloutsConfig(engine="policy", prefer=["rewrite", "rollout"])
    pools = [
        Pool("a", (), "o", {"rewrite": "r", "rollout-0": "x", "rollout-11": "r"}),
        Pool("b", (), "o", {"rollout-0": "x"}),
    ]
    said = scorer_of(config, {})
    assert isinstance(said, Preferred)
    found = asyncio.run(said(pools))
    assert [one.scores for one in found] == [
        {"rewrite": 1, "rollout-0": 0, "rollout-11": 0},
        {"rollout-0": 0},
    ]


def test_a_judge_is_asked_for_a_verdict_before_the_first_rollout() -> None:
    judge = {"engine": "judge", "criteria": ["safety"]}
    config = RolloutsConfig.model_validate({"engine": "policy", "judge": judge})
    with FaultServer() as server:
        engines = {
            "judge": EndpointConfig(kind="endpoint", urls=[server.url], model="m", retries=0)
        }
        assert isinstance(scorer_of(config, engines), PoolScorer)
        no_logprobs = Fault(edit=lambda answer: answer["choices"][0].update(logprobs=None))
        server.first = lambda call: no_logprobs
        with pytest.raises(EngineError, match=r"asked for a verdict 3 times .* found failed: "):
            scorer_of(config, engines)
        assert server.probes
