"""Trainer and worker as they work together: a Megatron process, its vLLM process, real weights."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from prewrite.base.errors import EngineError
from prewrite.engine.config import EngineConfig
from prewrite.train.config.sections import ParallelConfig, TrainConfig
from prewrite.train.messages import RolloutGroup, RolloutRequest, WeightsSynced, WeightSync
from tests.train.launch import launch, started
from tests.train.online.workers import PROOF, config, engines, make_policy, prompt, worker

PROMPTS = [(1, 50, 60, 70), (1, 50, 60, 70, 80, 90, 91, 92, 93, 94), (1, 7, 8, 9)]


@dataclass
class Life:
    """What became of a run: at each sync what it said, the groups, and what the trainer says of
    every rollout's tokens; the weights that remain; how a sync of old weights ended.
    """

    synced: list[WeightsSynced]
    groups: list[list[RolloutGroup]]
    expected: list[list[list[float]]]
    folders: list[list[str]]
    stale: str


def live(config: TrainConfig, engines: dict[str, EngineConfig]) -> Life:
    """Sync and sample before the first step and after the third, then sync with old weights."""
    from prewrite.train.data.rows import build_row
    from prewrite.train.data.trees import ORIGINAL, Candidate, Tree
    from prewrite.train.learner import Learner
    from prewrite.train.model.shape import load_shape
    from prewrite.train.online.weights import probe_logprobs, publish

    life = Life([], [], [], [], "")
    weights = Path(config.output) / "weights"
    with started(config.parallel), worker(config, engines) as client:
        shape = load_shape(config.model.path)
        learner = Learner(config, shape)
        trunk = np.arange(100, 130, dtype=np.int32)
        text = Candidate("", ORIGINAL, 1, trunk[1:], on_trunk=True)
        for step in range(0, 4, 3):
            publish(learner.model, shape, weights / str(step))
            logprobs = probe_logprobs(learner.model, PROOF)
            client.send(WeightSync(step, str(weights / str(step)), PROOF, logprobs))
            prompts = tuple(prompt(number, ids) for number, ids in enumerate(PROMPTS))
            client.send(RolloutRequest(step, step, prompts, 4, keep=False))
            life.synced.append(client.synced(step))
            life.groups.append([*client.answer(step).groups])
            life.expected.append(
                [
                    [*probe_logprobs(learner.model, [*one.tokens, *rollout.tokens])]
                    for one, group in zip(prompts, life.groups[-1], strict=True)
                    for rollout in group.rollouts
                ]
            )
            for _ in range(3):
                rows = [build_row([Tree(0, trunk, (text,))], 128)]
                assert learner.step(rows, config.curriculum[0], 1e-2).fault is None
            life.folders.append(sorted(path.name for path in weights.iterdir()))
        logprobs = probe_logprobs(learner.model, PROOF)
        client.send(WeightSync(6, str(weights / "3"), PROOF, logprobs))
        with pytest.raises(EngineError) as caught:
            client.synced(6)
        life.stale = str(caught.value)
    return life


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("policy")
    make_policy(folder / "model")
    return folder


@pytest.fixture(scope="module")
def life(policy: Path) -> Life:
    (found,) = launch(live, 1, config(policy), engines(policy / "model"))
    return found


@pytest.mark.slow
def test_the_engine_says_what_the_trainer_says(life: Life) -> None:
    for groups, expected, synced in zip(life.groups, life.expected, life.synced, strict=True):
        assert synced.difference < 1e-4 and synced.seconds > 0
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        assert len(rollouts) == 12
        for rollout, told in zip(rollouts, expected, strict=True):
            wanted = told[-len(rollout.tokens) :]
            assert len(rollout.logprobs) == len(rollout.tokens)
            assert np.mean(np.abs(np.subtract(rollout.logprobs, wanted))) < 1e-3


@pytest.mark.slow
def test_rollouts_come_from_the_weights_of_their_version(life: Life) -> None:
    first, second = life.groups
    assert [group.version for group in first + second] == [0, 0, 0, 3, 3, 3]
    assert [group.rollouts for group in first] != [group.rollouts for group in second]


@pytest.mark.slow
def test_old_weights_are_noticed(life: Life) -> None:
    assert life.stale.startswith("the engine does not have the weights of version 6: its log-prob")
    assert "tolerance): 0.05" in life.stale


@pytest.mark.slow
def test_weights_that_were_loaded_do_not_stay(life: Life) -> None:
    assert life.folders == [["0"], ["3"]]


def measure(folder: Path, layouts: Sequence[ParallelConfig]) -> list[Any]:
    """What each layout says of the proof; the last weights that it published remain."""
    from prewrite.train.config.sections import ModelConfig
    from prewrite.train.model.build import build
    from prewrite.train.model.shape import load_shape
    from prewrite.train.online.weights import probe_logprobs, publish

    found = []
    for number, layout in enumerate(layouts):
        with started(layout):
            shape = load_shape(str(folder / "model"))
            model = build(shape, ModelConfig(path="unused"), layout, seed=0)
            publish(model, shape, folder / "published" / str(number))
            found.append(probe_logprobs(model, PROOF))
    return found


def test_every_layout_says_the_same(policy: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        model = AutoModelForCausalLM.from_pretrained(policy / "model")
        told = torch.log_softmax(model(torch.tensor([PROOF])).logits[0], -1)
    expected = [float(told[at, token]) for at, token in enumerate(PROOF[1:])]
    layouts = [ParallelConfig(tp=2, sequence=True), ParallelConfig(pp=2), ParallelConfig()]
    for rank in launch(measure, 2, policy, layouts):
        for logprobs in rank:
            assert logprobs == pytest.approx(expected, abs=1e-4)
    weights = load_file(policy / "model/model.safetensors")
    for folder in (policy / "published").iterdir():
        new = load_file(folder / "model.safetensors")
        assert all(torch.equal(new[name], weights[name]) for name in new)
        assert new.keys() == weights.keys() and len(list(folder.iterdir())) == 1
