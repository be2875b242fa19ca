"""Runs with a online phase, as a user starts them: real Megatron, real vLLM, a judge that can tell.

Few runs, for each starts an engine: one that nothing stops, with a lag of one step; the same one
killed three times, and gone on with on two ranks; one that learns from kept pools again.
"""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from prewrite.shards.reader import ShardSet
from prewrite.train.config.sections import TrainConfig
from prewrite.train.online import kept_pools
from prewrite.train.plan import plan
from tests.listening import open_to_others
from tests.train.online.workers import engines, make_policy
from tests.train.small import Command, curve, make_set, metrics, newest, settings, weights

pytestmark = pytest.mark.slow

CRITERION = {
    "name": "letters",
    "version": 1,
    "kind": "python",
    "function": "tests.functions:letters",
    "scale": [0, 1],
}
ONLINE = 2  # steps before the online phase
STEPS = 7


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("late")
    make_policy(folder / "model")
    make_set(folder / "set")
    make_set(folder / "held-out", seed=9)
    (folder / "letters.yaml").write_text(yaml.safe_dump(CRITERION))
    return folder


def recipe(folder: Path, output: str, **changed: Any) -> dict[str, Any]:
    rollouts = {
        "engine": "policy",
        "judge": {"engine": "policy", "criteria": [str(folder / "letters.yaml")]},
        "samples": 3,
        "tokens": 10,
        "max_staleness": 1,
        "tolerance": 0.001,
        "dump_every": 1,
        "probe": {"set": str(folder / "held-out"), "cut_points": 5, "every": 3},
    }
    late = {
        "name": "explore",
        "objective": ["dpo", {"kind": "grpo", "weight": 0.5}],
        "candidates": ["original", "rewrite", "rollout"],
        "until": {"step": STEPS},
    }
    return settings(
        folder,
        output,
        batch={"samples": 4, "sequence_tokens": 128, "max_seq_len": 64, "context_tokens": 16},
        curriculum=[{"name": "imitate", "objective": "nll", "until": {"step": ONLINE}}, late],
        rollouts=rollouts | changed,
    )


def start(folder: Path, output: str, ranks: int = 1, **changed: Any) -> Command:
    known = {n: one.model_dump(mode="json") for n, one in engines(folder / "model").items()}
    return Command(recipe(folder, output, **changed), ranks=ranks, engines=known)


def sampled(output: Path) -> dict[tuple[int, str], tuple[int, list[tuple[int, ...]]]]:
    """Of every place: the version that sampled, and the tokens."""
    groups = kept_pools.load(str(output / "rollouts/pools"))
    return {key: (one.version, [r.tokens for r in one.rollouts]) for key, one in groups.items()}


@pytest.fixture(scope="module")
def whole(place: Path) -> Path:
    command = start(place, "whole")
    assert command.end(300) == 0, command.text
    return command.output


def test_what_a_run_says_of_its_rollouts(whole: Path) -> None:
    steps = metrics(whole)
    assert [step["step"] for step in steps] == list(range(1, STEPS + 1))
    assert not [name for step in steps[:ONLINE] for name in step if name.startswith("rollouts/")]
    late = steps[ONLINE:]
    assert [step["sync/staleness"] for step in late] == [0, 1, 1, 1, 1]
    assert all(step["sync/difference"] < 1e-3 for step in late)
    assert late[0]["policy/gap"] < 1e-3 < late[-1]["policy/gap"], "the policy has moved"
    assert all(step["rollouts/pools"] == 4 and step["rollouts/spread"] > 0 for step in late)
    assert all(step["time/train"] > 0 and step["time/wait"] > 0 for step in late)
    assert all(step["work/rollout_requests"] == 4 for step in late)
    assert all(0 < step["dpo/chance_rollout"] < 1 for step in late)
    assert [step["step"] for step in steps if "probe/win_rate" in step] == [3, 6]
    assert all(step["probe/judged"] == 5 for step in steps if "probe/win_rate" in step)


def test_a_plan_bounds_what_a_run_samples(whole: Path, place: Path) -> None:
    text = plan(TrainConfig.model_validate(recipe(place, "plan")))
    assert "explore: steps 3 to 7, 4 cut points and 12 rollouts a step, at most 120 t" in text


def test_what_a_run_leaves(whole: Path, place: Path) -> None:
    assert sorted(path.name for path in (whole / "rollouts").iterdir()) == [
        "pools", "probe", "store", "worker-0.log",
    ]  # fmt: skip
    assert [path.name for path in (whole / "rollouts/store").glob("*/*")] == ["manifest.json"]
    found = sampled(whole)
    assert sorted({sample for sample, _ in found}) == list(range(4 * ONLINE, 4 * STEPS))
    documents = {row["id"]: row["doc_id"] for row in ShardSet(place / "set").rows(["id", "doc_id"])}
    pools = str(whole / "rollouts/pools")
    for _, kept in kept_pools.each(pools, kept_pools.check(pools)):
        assert kept.doc_id == documents[kept.group.id] and kept.kind is None
    pool = (whole / "rollouts/pools/step-00000003-rank-00000.md").read_text()
    assert "### rollout-2" in pool and "### original" in pool


def test_a_run_that_is_killed_again_and_again(whole: Path, place: Path) -> None:
    output = place / "killed"
    moments = [
        lambda: any((output / "rollouts/store").glob("*/*.jsonl")),  # sampled, not trained
        lambda: len(metrics(output)) >= 6,
    ]
    for moment in moments:
        command = start(place, "killed")
        command.until(moment)
        command.signal(signal.SIGKILL)
        command.end()
    command = start(place, "killed")
    assert command.end(300) == 0, command.text
    assert curve(output) == curve(whole)
    assert sampled(output) == sampled(whole)
    expected = weights(whole)
    for name, tensor in weights(output).items():
        assert torch.equal(tensor, expected[name]), name


def test_a_run_that_goes_on_with_two_ranks(whole: Path, place: Path) -> None:
    command = start(place, "ranks")
    command.until(lambda: newest(command.output) >= 4)
    command.signal(signal.SIGTERM)
    assert command.end(120) == 130, command.text
    done = newest(command.output)
    command, heard = start(place, "ranks", ranks=2), set[str]()
    while any(rank.is_alive() for rank in command.ranks):
        heard |= command.listening()
        time.sleep(0.5)
    assert command.end(400) == 0, command.text
    assert heard and not open_to_others(heard)
    assert curve(command.output) == pytest.approx(curve(whole), rel=1e-4)
    own, other = sampled(command.output), sampled(whole)
    assert {key: version for key, (version, _) in own.items()} == {
        key: version for key, (version, _) in other.items()
    }
    before = [key for key, (version, _) in own.items() if version < done]
    assert {key: own[key] for key in before} == {key: other[key] for key in before}


def test_kept_pools_teach_again_without_an_engine(whole: Path, place: Path) -> None:
    pools = str(whole / "rollouts/pools")
    command = start(place, "replay", replay=pools, dump_every=0, probe=None)
    assert command.end(100) == 0, command.text
    assert curve(command.output) == curve(whole)
    assert not (command.output / "rollouts/worker-0.log").exists()


def test_early_phases_start_no_engine(place: Path) -> None:
    train = recipe(place, "early")
    train["curriculum"] = train["curriculum"][:1]
    policy = {"kind": "vllm", "model": str(place / "model")}
    command = Command(train, engines={"policy": policy})
    assert command.end(100) == 0, command.text
    assert not (command.output / "rollouts").exists()


def test_a_judge_that_is_not_there_ends_the_run_in_a_sentence(place: Path) -> None:
    judge = {"engine": "policy", "criteria": [str(place / "no.yaml")]}
    command = start(place, "nobody", judge=judge)
    assert command.end(100) == 2
    assert "no.yaml" in command.text and "Traceback" not in command.text


def test_no_worker_is_left(whole: Path) -> None:
    folder = str(whole.parent)
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if folder in os.readlink(process / "fd/1"):
                found.append((process / "cmdline").read_bytes())
        except OSError:
            continue
    assert found == []
    (manifest,) = (whole / "rollouts/store").glob("*/manifest.json")
    assert json.loads(manifest.read_text())
