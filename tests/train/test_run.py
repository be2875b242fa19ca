"""Runs from shards to a model: what they leave, and that every layout learns the same."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing import event_accumulator  # type: ignore[import-untyped]
from transformers import AutoModelForCausalLM, AutoTokenizer

from prewrite.judge.provenance import TrainedOn, read
from prewrite.shards.reader import ShardSet
from prewrite.train.trainer import COUNTED
from tests.train.small import (
    Command,
    curve,
    done,
    make_model,
    make_set,
    metrics,
    newest,
    settings,
    weights,
)

pytestmark = pytest.mark.slow

_LINES = [
    r"step \d of 8 · (imitate|prefer) · .* tokens/s · data wait \d+% · about .* left",
    r"…'.*' → '.*'",
    r"report: prewrite train report .*/whole",
    r"model:  .*/whole/model",
]
"""All that a run has to say."""


def test_says_only_what_concerns_a_person(whole: Command) -> None:
    lines = whole.text.splitlines()
    assert [line for line in lines if not any(re.fullmatch(form, line) for form in _LINES)] == []
    assert re.fullmatch(_LINES[-1], lines[-1])
    assert sum("→" in line for line in lines) == 3


def test_metrics_tell_every_step(whole: Command) -> None:
    steps = metrics(whole.output)
    assert [step["step"] for step in steps] == list(range(1, 9))
    assert [step["samples"] for step in steps] == list(range(4, 33, 4))
    assert [step["phase"] for step in steps] == ["imitate"] * 4 + ["prefer"] * 4
    for step in steps:
        assert {f"data/{name}" for name in COUNTED} <= step.keys()
        assert 0 <= step["data_wait"] <= 1 and 0 <= step["padding"] < 1
        assert step["tokens_per_second"] > 0 and step["skipped_steps"] == 0
    assert steps[-1]["loss"] == pytest.approx(
        steps[-1]["loss/dpo"] + 0.5 * steps[-1]["loss/rf_nll"], rel=1e-6
    )
    assert steps[3]["loss"] < steps[0]["loss"] - 1
    assert sum(step["data/no_rewrite"] for step in steps) > 0


def test_tensorboard_has_the_same_numbers(whole: Command) -> None:
    board = event_accumulator.EventAccumulator(str(whole.output / "tensorboard"))
    board.Reload()
    shown = [(event.step, event.value) for event in board.Scalars("loss")]
    steps = metrics(whole.output)
    assert shown == [(s["step"], pytest.approx(s["loss"])) for s in steps]
    named = {key for step in steps for key in step} - {"step", "phase"}
    assert set(board.Tags()["scalars"]) == named


def test_leaves_a_model_and_continuations(whole: Command, small: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(whole.output / "model", dtype=torch.float32)
    before = AutoModelForCausalLM.from_pretrained(small / "model", dtype=torch.float32)
    ids = AutoTokenizer.from_pretrained(whole.output / "model")(
        " the fox runs over seven", return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        assert model(ids, labels=ids).loss < before(ids, labels=ids).loss - 1
    text = (whole.output / "continuations.md").read_text()
    assert text.count("**") == 6 and text.startswith("# Greedy continuations")


def test_says_beside_the_model_what_it_was_trained_on(whole: Command, small: Path) -> None:
    left = read(str(whole.output / "model"))
    assert left
    assert [one.set for one in left.data] == [str(small / "set")]
    assert left.data[0].same_as(TrainedOn.of("", ShardSet(str(small / "set")).manifest, None))
    assert left.judged_by == []  # the scores of this set came from no judge pass


def test_a_second_start_says_that_the_run_is_complete(whole: Command, small: Path) -> None:
    again = Command(settings(small, "whole"))
    assert again.end() == 0
    assert again.text == f"{whole.output}: the run is complete; nothing to do\n"


def test_a_run_is_complete_as_long_as_its_model_is_there(
    whole: Command, small: Path, tmp_path: Path
) -> None:
    train = settings(small, str(tmp_path / "run"))
    shutil.copytree(whole.output, train["output"])
    file = tmp_path / "run/model/model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    again = Command(train)
    assert again.end() == 0
    assert again.text.startswith(
        f"{file.parent}: {file.name}: found other bytes than were written; the model is exported "
    )
    expected = weights(whole.output)
    assert all(torch.equal(value, expected[key]) for key, value in weights(again.output).items())
    # With a nearer end than the step that is reached, too, and that is said.
    train["curriculum"][-1]["until"] = {"step": 6}
    again = Command(train)
    assert again.end() == 0
    assert again.text.startswith(
        "train.curriculum: the phase prefer ends at step 6 by now; step 8 is made, and the model "
        "is that of this step\n"
    )
    assert again.text.endswith(": the run is complete; nothing to do\n")


@pytest.mark.parametrize(
    ("ranks", "parallel", "sequence_tokens"),
    [
        (1, {"distributed_optimizer": False, "recompute": "full"}, 512),
        (2, {}, 128),
        (2, {"tp": 2, "sequence": True, "recompute": "selective"}, 256),
        (2, {"pp": 2, "distributed_optimizer": False}, 128),
    ],
)
def test_learns_the_same_on_every_layout(
    whole: Command, small: Path, ranks: int, parallel: dict[str, object], sequence_tokens: int
) -> None:
    name = "-".join(map(str, parallel))
    train = settings(small, f"layout-{ranks}-{name}", parallel=parallel)
    train["batch"]["sequence_tokens"] = sequence_tokens
    train["checkpoint"] = {"every": 8}
    output = done(train, ranks)
    assert curve(output) == pytest.approx(curve(whole.output), rel=1e-5)
    expected = weights(whole.output)
    for key, value in weights(output).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-4)


def test_phases_end_at_a_plateau_and_at_samples(small: Path) -> None:
    """No loss falls tenfold, so the first phase ends as soon as its two windows are full."""
    still = {"step": 6, "plateau": {"steps": 2, "improvement": 10.0}}
    phases = [
        {"name": "still", "objective": "nll", "until": still},
        {"name": "rest", "objective": {"kind": "grpo"}, "until": {"samples": 26}},
    ]
    train = settings(small, "plateau", curriculum=phases, checkpoint={"every": 1})
    command = Command(train)
    command.until(lambda: len(metrics(command.output)) >= 3)
    command.signal(9)
    command.end()
    done(train)
    told = [(step["phase"], step["samples"]) for step in metrics(command.output)]
    assert told == [("still", n) for n in (4, 8, 12, 16)] + [("rest", n) for n in (20, 24, 28)]


def test_a_step_that_is_not_finite(small: Path) -> None:
    """One word of one document, a sample of step 2, has no finite embedding."""
    folder = small / "poisoned"
    make_model(folder / "model", tie_word_embeddings=False, poisoned=" zebra")
    make_set(folder / "set", rare=" zebra")
    train = settings(folder, seed=2, checkpoint={"every": 1, "keep": 3})
    train["curriculum"] = [{"name": "all", "objective": "nll", "until": {"step": 3}}]
    stopped = Command(train)
    assert stopped.end() == 1
    sentence = (
        r"step 2 \(samples 4 to 7\): the loss is not finite, in the rows of samples [4-7, ]+; "
    )
    refusal = rf"error: {sentence}train.non_finite: skip would leave such steps out"
    assert re.fullmatch(refusal, stopped.text.splitlines()[-1])
    assert "Traceback" not in stopped.text
    assert len(metrics(stopped.output)) == newest(stopped.output) == 1
    skipping = Command(train | {"non_finite": "skip"})  # goes on with the same run
    assert skipping.end() == 0, skipping.text
    assert re.search(f"^{sentence}the step is skipped$", skipping.text, re.MULTILINE)
    steps = metrics(skipping.output)
    assert [step["skipped_steps"] for step in steps] == [0, 1, 1]
    assert [step["step"] for step in steps if step["loss"] is None] == [2]
    states = sorted(skipping.output.glob("checkpoints/step-*"))
    before, skipped, after = (_tensors(state) for state in states)
    assert skipped == before != after
    assert json.loads((states[1] / "state.json").read_text())["skipped"] == 1
    for key, value in weights(skipping.output).items():
        bad = ~value.isfinite().reshape(len(value), -1).all(1)
        assert int(bad.sum()) == ("embed_tokens" in key), key


def _tensors(checkpoint: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in checkpoint.glob("*.distcp")}
