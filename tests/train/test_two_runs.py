"""Two runs at one output: the second is refused; a first one that slept while another took over
changes nothing when it wakes.
"""

import signal
from pathlib import Path

import pytest
import torch

from tests.train.small import Command, curve, newest, settings, weights

pytestmark = pytest.mark.slow


def left(output: Path) -> dict[str, bytes]:
    """Every file of a run, but for TensorBoard's, where each process has its own."""
    files = (path for path in output.rglob("*") if path.is_file())
    return {str(path): path.read_bytes() for path in files if "tensorboard" not in path.parts}


def test_two_runs_at_one_output(whole: Command, small: Path) -> None:
    train = settings(small, "twice")
    first = Command(train)
    first.until(lambda: newest(first.output) >= 2)
    first.signal(signal.SIGSTOP)
    refused = Command(train, ranks=2)
    assert refused.end() == 1, refused.text
    (line,) = refused.text.splitlines()
    assert line.startswith("error: ") and "another run is writing here" in line
    (first.output / "lock.json").unlink()  # what a run does that takes a silent one's over
    second = Command(train)
    assert second.end() == 0, second.text
    before = left(second.output)
    first.signal(signal.SIGCONT)
    assert first.end() == 1, first.text
    errors = [line for line in first.text.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "this run has lost lock.json: another one took it ov" in errors[0]
    assert "Traceback" not in first.text
    assert left(second.output) == before
    assert curve(second.output) == curve(whole.output)
    expected = weights(whole.output)
    assert all(torch.equal(one, expected[name]) for name, one in weights(second.output).items())
    assert not list(second.output.glob(".run-*"))
