"""A step without anything to learn from moves nothing, is counted, and is said."""

import re
from pathlib import Path
from signal import SIGKILL
from typing import Any

import pytest

from prewrite.train.config.sections import TrainConfig
from prewrite.train.feed import open_loader
from prewrite.train.model.shape import load_shape
from prewrite.train.plan import plan
from tests.train.small import Command, curve, done, make_model, make_set, metrics, settings, weights

pytestmark = pytest.mark.slow

STEPS = 9


def _few(row: dict[str, Any]) -> dict[str, Any]:
    """One document in three has scores."""
    scores = ("original_score", "rewrite_score")
    return {} if int(row["doc_id"].split("-")[2]) % 3 == 0 else dict.fromkeys(scores)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("empty")
    make_model(found / "model")
    make_set(found / "set", edit=_few)
    return found


def recipe(folder: Path, output: str, **changed: Any) -> dict[str, Any]:
    """Two samples a step, so that some steps have none with scores."""
    train = settings(folder, output)
    train["batch"]["samples"] = 2
    phase = {"name": "prefer", "objective": ["dpo", "grpo"], "until": {"step": STEPS}}
    train |= {"curriculum": [phase], "alerts": {"window": 3, "max_empty_steps": 0.5}}
    return train | changed


@pytest.fixture(scope="module")
def run(folder: Path) -> Command:
    every = {"every": 1, "keep": STEPS, "asynchronous": False}
    command = Command(recipe(folder, "run", checkpoint=every))
    assert command.end() == 0, command.text
    return command


def test_an_empty_step_moves_nothing_and_is_counted(run: Command) -> None:
    steps = metrics(run.output)
    empty = [step["step"] for step in steps if step["learnt_cut_points"] == 0]
    assert 2 <= len(empty) <= 7 and len(steps) == STEPS
    states = [
        {path.name: path.read_bytes() for path in state.glob("*.distcp")}
        for state in sorted(run.output.glob("checkpoints/step-*"))
    ]
    for number, (before, after) in enumerate(zip(states, states[1:], strict=False), start=2):
        assert (before == after) == (number in empty), number
    assert [step["empty_steps"] for step in steps] == [
        sum(number <= step["step"] for number in empty) for step in steps
    ]
    for step in steps:
        assert (step["loss"] is None) == (step["step"] in empty)
        assert (
            (step["loss/dpo"] is None)
            == (step["dpo/accuracy"] is None)
            == (not step["dpo/cut_points"])
        )
        assert step["failed_verdicts"] == 1 or step["dpo/cut_points"] + step["dpo/equal"]
        assert step["skipped_steps"] == 0 and step["grad_norm"] >= 0


def test_what_was_learnt_from_is_said(run: Command) -> None:
    steps = metrics(run.output)
    last = next(line for line in run.text.splitlines() if line.startswith(f"step {STEPS} of"))
    assert (
        f" · learnt {steps[-1]['learnt_cut_points']:.0%} of cut points · verdicts failed " in last
    )
    empty = int(steps[-1]["empty_steps"])
    told = (
        rf"^prefer: of {STEPS} steps {empty} had nothing to learn from \(cut points: \d+ with no "
    )
    assert re.search(told, run.text, re.MULTILINE)
    flags = [step["learnt_cut_points"] == 0 for step in steps]
    most = max(sum(flags[n : n + 3]) for n in range(STEPS - 2)) / 3
    assert ("train.alerts.max_empty_steps: found a share of" in run.text) == (most > 0.5)
    assert "train.alerts.max_failed_verdicts: found a share of" in run.text


def test_a_killed_run_goes_on_alike(run: Command, folder: Path) -> None:
    command = Command(recipe(folder, "killed"))
    command.until(lambda: len(metrics(command.output)) >= 5)
    command.signal(SIGKILL)
    command.end()
    again = Command(recipe(folder, "killed"))
    assert again.end() == 0, again.text
    output = again.output
    assert curve(output) == curve(run.output)
    (said,) = (line for line in run.text.splitlines() if line.startswith("prefer: of "))
    assert said in again.text
    assert [s["empty_steps"] for s in metrics(output)] == [
        s["empty_steps"] for s in metrics(run.output)
    ]
    expected = weights(run.output)
    assert all(expected[name].equal(value) for name, value in weights(output).items())


def test_ranks_agree(run: Command, folder: Path) -> None:
    """One of two has nothing in most steps; a step is empty only where neither has anything."""
    output = done(recipe(folder, "ranks"), ranks=2)
    names = ("empty_steps", "learnt_cut_points", "failed_verdicts", "data/cut_points")
    for found, expected in zip(metrics(output), metrics(run.output), strict=True):
        assert [found[name] for name in names] == [expected[name] for name in names]
        assert (found["loss"] is None) == (expected["loss"] is None)
        assert found["loss"] is None or found["loss"] == pytest.approx(expected["loss"], rel=1e-5)


UNSCORED = {"original_score": None, "rewrite_score": None}
EQUAL = {"original_score": 0.5, "rewrite_score": 0.5}
IMITATE = {"name": "imitate", "objective": "nll", "until": {"step": 1}}


def _phase(end: int) -> dict[str, Any]:
    return {"name": "prefer", "objective": "dpo", "until": {"step": end}}


@pytest.mark.parametrize(
    ("scores", "phases", "code"),
    [
        (UNSCORED, [IMITATE, _phase(2)], 1),
        (EQUAL, [IMITATE, _phase(2)], 0),
        (EQUAL, [_phase(1)], 1),
    ],
    ids=["no scores", "a tie", "a tie and nothing else"],
)
def test_a_phase_that_has_learnt_nothing_is_no_success(
    folder: Path, scores: dict[str, Any], phases: list[dict[str, Any]], code: int
) -> None:
    """Its set has something to learn from, but not the samples of its steps."""
    name = f"{code}-{len(phases)}"
    train = recipe(folder, f"run-{name}", curriculum=phases)
    train["optimizer"]["warmup_steps"] = 0
    config = TrainConfig.model_validate(train)
    with open_loader(config, load_shape(config.model.path)) as loader:
        batch = loader.batch(2 * (len(phases) - 1), config.curriculum[-1])
    taken = {id.rpartition("-")[0] for row in batch.rows for id in row.candidates.ids}
    make_set(folder / name, edit=lambda row: scores if row["doc_id"] in taken else {})
    train["data"] = [{"set": str(folder / name)}]
    for _ in range(1 + code):  # the same command comes to the same end
        command = Command(train)
        assert command.end() == code, command.text
        why = r"1 had nothing to learn from \(cut points: \d+ with (no|equal) scores.*\)"
        refused = rf"error: .* phase prefer: found no step of 1 that moved the model: {why}; .* one"
        lines = [line for line in command.text.splitlines() if "prefer" in line]
        said = rf"prefer: of 1 steps {why}"
        assert re.fullmatch(refused if code else said, lines[-1]), command.text
        assert len(metrics(command.output)) == len(phases)
        assert (command.output / "model").exists() == (not code)


def test_one_long_rewrite_ends_no_run(folder: Path) -> None:
    """It is left out and counted, in the dry run as in the run; its document is learnt."""
    long = {"rewrite": " the fox" * 60, "rewrite_status": "ok", "rewrite_score": 0.5}
    make_set(folder / "long", edit=lambda row: long if row["id"] == "0-1-3-0" else {})
    train = recipe(folder, "long-run", data=[{"set": str(folder / "long")}])
    train["curriculum"][0]["until"] = {"samples": 32}  # an epoch
    assert ", 1 rewrites too long in " in plan(TrainConfig.model_validate(train))
    steps = metrics(done(train))
    assert sum(step["data/too_long"] for step in steps) == 1 and len(steps) == 16
