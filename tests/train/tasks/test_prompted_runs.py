"""Runs of the tasks `judge` and `rewrite`, as a user starts them: real Megatron, real vLLM.

The policy is tiny and random, but likely to say A, B or the end, so that verdicts are read and
rewards differ. One run of each that nothing stops; the judge's once more, killed, and on two ranks;
the rewriter's with kept pools and no engine.
"""

import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from prewrite.judge.provenance import NAME, read
from tests.train.online.workers import engines, make_policy
from tests.train.small import Command, curve, make_set, metrics, newest, settings, weights

pytestmark = pytest.mark.slow

STEPS = 4
QUALITY = {
    "name": "quality",
    "version": 1,
    "kind": "pairwise",
    "verdicts": {"A": 1, "B": 0},
    "answer": "",
    "template": "1 <a{{ fence }}>{{ first }}</a{{ fence }}> 2 <b{{ fence }}>{{ second }}"
    "</b{{ fence }}> ",
}
LETTERS = {
    "name": "letters",
    "version": 1,
    "kind": "python",
    "function": "tests.functions:letters",
    "scale": [0, 1],
}
TEMPLATE = "Again: <text{{ fence }}>{{ lead }}{{ text }}</text{{ fence }}>"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    make_policy(folder / "model", max_position_embeddings=256)
    teach_to_answer(folder / "model", ["A", "B", "A", "the fox"])
    make_set(folder / "set")
    make_set(folder / "held-out", seed=9)
    (folder / "quality.yaml").write_text(yaml.safe_dump(QUALITY))
    (folder / "letters.yaml").write_text(yaml.safe_dump(LETTERS))
    (folder / "again.jinja").write_text(TEMPLATE)
    return folder


def teach_to_answer(folder: Path, answers: list[str]) -> None:
    """Make a model say one of `answers` after whatever prompt, and then the end."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder),
        AutoTokenizer.from_pretrained(folder),
    )
    said = [tokenizer(f"<|im_start|>assistant\n{text}<|im_end|>").input_ids for text in answers]
    draw, adam = torch.Generator().manual_seed(0), torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(80):
        answer = torch.tensor(said[step % len(said)])
        before = torch.randint(100, 40_000, (8, 24), generator=draw)
        tokens_NS = torch.cat([before, answer.expand(8, -1)], 1)
        labels_NS = tokens_NS.clone()
        labels_NS[:, : 24 + 3] = -100
        model(tokens_NS, labels=labels_NS).loss.backward()
        adam.step()
        adam.zero_grad()
    model.save_pretrained(folder)


def judging(folder: Path, output: str, **changed: Any) -> dict[str, Any]:
    criterion = str(folder / "quality.yaml")
    train = _settings(folder, output, {"kind": "judge", "max_context_tokens": 16}, changed)
    train["data"][0]["criterion"] = criterion
    sample = _probe(folder) | {"criterion": criterion}
    again = {name: value for name, value in sample.items() if name != "every"}
    train["rollouts"]["probe"] = sample | {"also": {"again": again}, "canaries": True}
    # Room for some canaries of one scene.
    train["batch"] |= {"sequence_tokens": 256, "max_seq_len": 212}
    return train


def rewriting(folder: Path, output: str, **changed: Any) -> dict[str, Any]:
    task = {
        "kind": "rewrite",
        "template": str(folder / "again.jinja"),
        "copies": "original_quality > 0.5",
        "length": {"min": 0, "max": 100},
        "max_context_tokens": 16,
    }
    judge = {"engine": "policy", "criteria": [str(folder / "letters.yaml")]}
    train = _settings(folder, output, task, {"judge": judge, "dump_every": 1} | changed)
    train["rollouts"]["probe"] = _probe(folder)
    return train


def _probe(folder: Path) -> dict[str, Any]:
    return {"set": str(folder / "held-out"), "cut_points": 12, "every": 2}


def _settings(
    folder: Path, output: str, task: dict[str, Any], rollouts: dict[str, Any]
) -> dict[str, Any]:
    phase = {
        "name": "earn",
        "objective": {"kind": "grpo", "tokens": 8, "kl": 0.01},
        "candidates": ["rollout"],
        "until": {"step": STEPS},
    }
    return settings(
        folder,
        output,
        task=task,
        # A group of 8 rollouts does not fit into one packed sequence.
        batch={"samples": 4, "sequence_tokens": 128, "max_seq_len": 120, "context_tokens": 0},
        curriculum=[phase],
        rollouts={"engine": "policy", "samples": 8, "tokens": 8, "tolerance": 0.001} | rollouts,
        optimizer={"lr": 1e-3, "schedule": "constant", "warmup_steps": 0},
        checkpoint={"every": 1, "asynchronous": False},
    )


def start(train: dict[str, Any], folder: Path, ranks: int = 1) -> Command:
    known = {n: one.model_dump(mode="json") for n, one in engines(folder / "model").items()}
    known["policy"]["max_model_len"] = 224
    return Command(train, ranks=ranks, engines=known)


@pytest.fixture(scope="module")
def judge(place: Path) -> Path:
    command = start(judging(place, "judge"), place)
    assert command.end(300) == 0, command.text
    return command.output


@pytest.fixture(scope="module")
def rewriter(place: Path) -> Path:
    command = start(rewriting(place, "rewriter"), place)
    assert command.end(300) == 0, command.text
    return command.output


def test_what_a_judges_run_says(judge: Path) -> None:
    begun, *steps = metrics(judge)
    assert len(steps) == STEPS and begun["step"] == 0 and "loss" not in begun
    for step in steps:
        assert step["rollouts/pools"] <= 8, "both orders of at most 4 pairs"
        assert step["rewards/alone"] == 0
        assert step["form/unparsable"] < 1
        assert step["policy/gap"] < 1e-3
        assert 0 <= step["rewards/of_quality"] <= 1
    assert any(step["rewards/mixed"] for step in steps)
    probed = [begun, *(step for step in steps if "probe/reward" in step)]
    assert [step["step"] for step in probed] == [0, 2, 4]
    for step in probed:
        assert 0 <= step["probe/both_orders"] <= step["probe/reward"]
        assert 0 <= (step["probe/says_first"] or 0) <= 1
        for name in ("reward", "both_orders", "says_first", "unread", "cut_points"):
            assert step[f"probe/again/{name}"] == step[f"probe/{name}"], "the same sample"


def test_a_judge_is_asked_the_canaries_from_its_start_on(judge: Path) -> None:
    probed = [step for step in metrics(judge) if "probe/canary_flips" in step]
    assert [step["step"] for step in probed] == [0, 2, 4]
    for step in probed:
        assert 0 < step["probe/canary_too_long"] < 1 and 0 < step["probe/canary_unread"] < 1
        assert 0 <= step["probe/canary_held"] < 1 and 0 <= (step["probe/canary_flips"] or 0) <= 1
        assert step["probe/rollout_requests"] > step["probe/cut_points"] * 2, "and those of both"


def test_what_a_rewriters_run_says(rewriter: Path) -> None:
    begun, *steps = metrics(rewriter)
    assert len(steps) == STEPS and "probe/reward_mended" in begun
    assert all(step["rewards/of_copied"] == 0 for step in steps), "random texts copy nothing"
    assert any(step["rewards/of_mended"] > 0 for step in steps)
    forms = [name for name in steps[0] if name.startswith("form/")]
    assert any(step["form/max_tokens"] > 0 for step in steps) and len(forms) > 8
    (first, _) = (step for step in steps if "probe/reward" in step)
    assert 0 <= first["probe/overlap_copied"] <= 1 and first["probe/refused"] == 0


def test_what_the_model_was_made_from_lies_beside_it(judge: Path, rewriter: Path) -> None:
    left = read(str(judge / "model"))
    assert left and left.task == "judge" and len(left.parents) == 1
    assert json.loads((rewriter / "model" / NAME).read_text())["task"] == "rewrite"


def test_a_run_that_is_killed_goes_on_to_the_last_bit(judge: Path, place: Path) -> None:
    output = place / "killed"
    command = start(judging(place, "killed"), place)
    command.until(lambda: newest(output) >= 2)
    command.signal(signal.SIGKILL)
    command.end()
    command = start(judging(place, "killed"), place)
    assert command.end(300) == 0, command.text
    assert curve(output) == curve(judge)
    expected = weights(judge)
    for name, tensor in weights(output).items():
        assert torch.equal(tensor, expected[name]), name


def test_two_ranks_learn_the_same(judge: Path, place: Path) -> None:
    """Until their rounding differs so much that another token is sampled: two steps."""
    train = judging(place, "ranks")
    train["curriculum"][0]["until"] = {"step": 2}
    command = start(train, place, ranks=2)
    assert command.end(400) == 0, command.text
    names = ("loss", "rewards/mixed", "rewards/of_quality", "grpo/cut_points", "rollouts/pools")
    begun, *steps = metrics(command.output)
    expected, *others = metrics(judge)
    measures = [name for name in expected if not re.match("probe/(rollout|judge)_", name)]
    assert {name: begun[name] for name in measures} == {n: expected[n] for n in measures}
    for own, other in zip(steps[:2], others[:2], strict=True):
        for name in names:
            assert own[name] == pytest.approx(other[name], rel=1e-4, abs=1e-6), name


@pytest.mark.parametrize("parallel", [{}, {"tp": 2}, {"pp": 2}], ids=["one", "tp", "pp"])
def test_kept_pools_teach_again_without_an_engine(
    rewriter: Path, place: Path, parallel: dict[str, int]
) -> None:
    """On one process to the last bit; with tensor or pipeline parallel up to rounding."""
    pools = str(rewriter / "rollouts/pools")
    train = rewriting(place, "-".join(["replay", *parallel]), replay=pools, dump_every=0)
    train["rollouts"]["probe"] = None
    command = start(train | {"parallel": parallel}, place, ranks=2 if parallel else 1)
    assert command.end(100) == 0, command.text
    expected = curve(rewriter)
    assert curve(command.output) == (
        pytest.approx(expected, rel=5e-3, abs=1e-5) if parallel else expected
    )
    assert not (command.output / "rollouts/worker-0.log").exists()
