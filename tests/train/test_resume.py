"""Runs that are killed, stopped or continued elsewhere tell the history of one that was not."""

import json
import os
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


def test_a_run_may_get_more_phases(whole: Command, small: Path) -> None:
    train = settings(small, "longer")
    train["optimizer"] |= {"schedule": "constant"}
    short = train | {"curriculum": train["curriculum"][:1]}
    done(short)
    first = weights(done(short))
    output = done(train)
    assert [step["step"] for step in metrics(output)] == list(range(1, 9))
    after = weights(output)
    assert any(not torch.equal(value, after[key]) for key, value in first.items())


def test_torchrun(small: Path) -> None:
    """SIGTERM reaches both processes; torchrun's own exit code is not theirs."""
    train = settings(small, "torchrun", checkpoint={"every": 100})
    recipe = small / "torchrun.yaml"
    recipe.write_text(yaml.safe_dump({"output": "unused", "train": train}))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    words = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2"]
    words += [f"--master-port={port}", "-m", "train", "--config", str(recipe)]
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
