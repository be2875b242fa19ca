"""A disk that is full: one sentence that says so, exit code 1, and the same command goes on once
there is room. On a real small disk, so for those who may mount one.
"""

import subprocess
from collections.abc import Iterator
from errno import ENOSPC
from pathlib import Path

import pytest
import torch

from prewrite.base.errors import ShardError
from prewrite.train.log import RunLog
from prewrite.train.metrics import parse
from prewrite.train.model.export import copy_file, save
from prewrite.train.output import Output
from tests.train.small import Command, curve, newest, settings, weights

pytestmark = pytest.mark.slow


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 60 MB: two checkpoints, and half of a third."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=60m", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no right to mount a disk")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left"), open(disk / "full", "wb") as stream:
        while True:
            stream.write(bytes(1 << 16))
            stream.flush()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_checkpoint(whole: Command, small: Path, disk: Path, asynchronous: bool) -> None:
    checkpoint = {"every": 2, "asynchronous": asynchronous}
    train = settings(small, str(disk / "run"), checkpoint=checkpoint)
    full = Command(train)
    assert full.end() == 1, full.text
    assert "Traceback" not in full.text
    (error,) = [line for line in full.text.splitlines() if not line.startswith("step ")]
    assert error.startswith(f"error: {disk}/run/"), error
    assert error.endswith(": No space left on device") and ": cannot write" in error, error
    assert asynchronous or "/checkpoints: cannot write a checkpoint" in error
    assert newest(full.output) == 4
    assert not list(full.output.glob(".run-*")), "what was half written leaves room"
    subprocess.run(["mount", "-o", "remount,size=500m", str(disk)], check=True)
    again = Command(train)
    assert again.end() == 0, again.text
    assert curve(again.output) == curve(whole.output)
    expected = weights(whole.output)
    assert all(torch.equal(one, expected[name]) for name, one in weights(again.output).items())


def test_metrics_and_weights(disk: Path) -> None:
    output = Output(disk, disk)
    values = {"loss": 1.0, "tokens_per_second": 1.0, "data_wait": 0.0}
    with RunLog(output, 0, 9) as log:
        log.record(1, "a", values)
        before = log.written()
        fill(disk)
        with pytest.raises(ShardError, match="metrics.jsonl: cannot write: No space left on dev"):
            for step in range(2, 2000):
                log.record(step, "a" * 99, values)
        with pytest.raises(OSError, match="No space left on device") as refused:
            save(iter([("weight", torch.zeros(1 << 20))]), disk)
        assert refused.value.errno == ENOSPC and str(disk) in str(refused.value.filename)
        source = disk.with_name("tokenizer.json")
        source.write_bytes(bytes(1 << 20))
        with pytest.raises(OSError, match="No space left on device") as refused:
            copy_file(source, disk / source.name)
        assert refused.value.filename == str(disk / source.name)
        (disk / "full").unlink()
    lines = parse((disk / "metrics.jsonl").read_bytes())
    assert lines.damaged == [] and lines.values[0]["step"] == 1
    with RunLog(output, 1, 9, before) as again:
        again.record(2, "a", values)
    assert [line["step"] for line in parse((disk / "metrics.jsonl").read_bytes()).values] == [1, 2]
