"""Runs that are killed, stopped or continued elsewhere tell the history of one that was not."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.train.small import Command, curve, done, metrics, newest, settings, weights

pytestmark = pytest.mark.slow


def _partial(output: Path) -> bool:
    return any(output.glob(".run-*/step-00000004.partial/*"))


KILLS: list[Callable[[Path], bool]] = [
    lambda output: len(metrics(output)) >= 1,  # before the first checkpoint
    lambda output: newest(output) >= 2,
    _partial,  # while one is written
    lambda output: newest(output) >= 4,  # the edge of a phase
    lambda output: len(metrics(output)) == 7,
    lambda output: newest(output) == 8,  # before or within the export
]


def killed(train: dict[str, Any], condition: Callable[[Path], bool], ranks: int = 1) -> None:
    """Start the run and kill it as soon as a condition holds; what it leaves is in order."""
    command = Command(train, ranks=ranks)
    command.until(lambda: condition(command.output))
    command.signal(signal.SIGKILL)
    assert command.end() <= 0
    if newest(command.output):
        latest = command.output / f"checkpoints/step-{newest(command.output):08d}"
        assert json.loads((latest / "state.json").read_text())["step"] == newest(command.output)


def same(output: Path, whole: Path) -> None:
    """One history, the same losses and weights to the last bit, and nothing left over."""
    assert [step["step"] for step in metrics(output)] == list(range(1, 9))
    assert curve(output) == curve(whole)
    expected = weights(whole)
    for key, value in weights(output).items():
        assert torch.equal(value, expected[key]), key
    names = sorted(path.name for path in (output / "checkpoints").iterdir())
    assert names == ["latest", "step-00000006", "step-00000008"]


def test_a_run_that_is_killed_again_and_again(whole: Command, small: Path) -> None:
    train = settings(small, "killed")
    for condition in KILLS:
        killed(train, condition)
    same(done(train), whole.output)


def test_asynchronous_checkpoints(small: Path) -> None:
    """Two data parallel ranks; other processes write, and outlive the kill for a moment."""
    checkpoint = {"every": 2, "asynchronous": True}
    train = settings(small, "async", checkpoint=checkpoint)
    for condition in (_partial, lambda output: newest(output) == 6):
        killed(train, condition, ranks=2)
    same(done(train, ranks=2), done(settings(small, "sync"), ranks=2))


def test_signals_end_a_run_after_its_step(whole: Command, small: Path) -> None:
    train = settings(small, "signals", checkpoint={"every": 100})
    steps = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        command = Command(train)
        while len(metrics(command.output)) == steps and command.ranks[0].is_alive():
            time.sleep(0.001)
        command.signal(number)
        assert command.end() == 130, command.text
        steps = newest(command.output)
        said = command.text.splitlines()[-1]
        assert said == f"stopped after step {steps}; the same command continues"
        assert "Traceback" not in command.text and len(metrics(command.output)) == steps < 8
    output = done(train)
    assert curve(output) == curve(whole.output)


def test_goes_on_with_other_processes(whole: Command, small: Path) -> None:
    train = settings(small, "reshard")
    killed(train | {"parallel": {"tp": 2}}, lambda output: newest(output) >= 2, ranks=2)
    killed(train, lambda output: newest(output) >= 4)
    killed(train, lambda output: newest(output) >= 6, ranks=2)
    output = done(train | {"parallel": {"pp": 2, "recompute": "full"}}, ranks=2)
    assert curve(output) == pytest.approx(curve(whole.output), rel=1e-5)
    expected = weights(whole.output)
    for key, value in weights(output).items():
        torch.testing.assert_close(value, expected[key], rtol=1e-3, atol=1e-4)


def test_a_run_that_gets_more_phases_is_the_one_that_had_them(small: Path) -> None:
    """To the last bit where rates restart, a phase of a single step among them; where they would
    have been others, it says so.
    """
    optimizer = {"lr": 1e-2, "min_lr": 1e-3, "warmup_steps": 1}
    phases = [
        {"name": "imitate", "objective": "nll", "until": {"step": 3}},
        {"name": "once", "objective": "rf_nll", "until": {"samples": 16}},
        {"name": "prefer", "objective": "dpo", "until": {"step": 6}},
    ]
    restarted = [phases[0], *(phase | {"learning_rate": "restart"} for phase in phases[1:])]
    once = done(settings(small, "at-once", curriculum=restarted, optimizer=optimizer))
    told = [(step["step"], step["phase"]) for step in metrics(once)]
    assert told == [(1, "imitate"), (2, "imitate"), (3, "imitate"), (4, "once")] + [
        (5, "prefer"), (6, "prefer"),
    ]  # fmt: skip
    for count in (1, 2, 3):
        grown = settings(small, "grown", curriculum=restarted[:count], optimizer=optimizer)
        command = Command(grown)
        assert command.end() == 0, command.text
        assert "train.curriculum" not in command.text
        if count == 1:
            shutil.copytree(command.output, small / "planned-otherwise")
    kept = ("step", "phase", "loss", "learning_rate", "grad_norm", "samples")
    both = [
        [[step[key] for key in kept] for step in metrics(run)] for run in (once, small / "grown")
    ]
    assert both[0] == both[1]
    expected = weights(once)
    for key, value in weights(small / "grown").items():
        assert torch.equal(value, expected[key]), key
    command = Command(
        settings(small, "planned-otherwise", curriculum=phases[:2], optimizer=optimizer)
    )
    assert command.end() == 0, command.text
    assert command.text.splitlines()[0] == (
        "train.curriculum: steps up to 3 were made with other phases, so learning rates differ "
        "from those of a run that had these from the start (step 3: 0.001 in place of 0.00325)"
    )
    assert [step["phase"] for step in metrics(command.output)] == ["imitate"] * 3 + ["once"]


def test_torchrun(small: Path) -> None:
    """SIGTERM reaches both processes; torchrun's own exit code is not theirs."""
    train = settings(small, "torchrun", checkpoint={"every": 100})
    recipe = small / "torchrun.yaml"
    recipe.write_text(yaml.safe_dump({"output": "unused", "train": train}))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    words += [f"--master-port={port}", "-m", "prewrite", "train", "--config", str(recipe)]
    words += ["train.parallel.tp=2"]
    with open(small / "torchrun.log", "w+") as log:
        env = os.environ | {"OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(words, stdout=log, stderr=log, env=env)
        while not metrics(small / "torchrun") and process.poll() is None:
            time.sleep(0.01)
        process.terminate()
        assert process.wait() == 1
        log.seek(0)
        text = log.read()
    step = newest(small / "torchrun")
    assert step
    assert text.count(f"stopped after step {step}; the same command continues") == 1
