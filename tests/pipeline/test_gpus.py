"""Each worker has GPUs of its own; processes are real, the GPUs only names in the environment."""

import subprocess
import sys
from pathlib import Path

import pytest

from prewrite.pipeline.gpus import groups, visible

WORKER = """
import os, sys
from prewrite.base.errors import ConfigError
from prewrite.pipeline.gpus import claim
try:
    claim(int(sys.argv[1]))
    claim(int(sys.argv[1]))
except ConfigError as error:
    print(error, flush=True)
else:
    print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
input()
"""


def test_groups_are_neighbours_and_share_nothing() -> None:
    assert groups(["0", "1", "2", "3"], 1) == [["0"], ["1"], ["2"], ["3"]]
    assert groups(["0", "1", "2", "3", "4"], 2) == [["0", "1"], ["2", "3"]]
    assert groups(["0"], 2) == []


def test_the_environment_decides_what_is_visible() -> None:
    assert visible({"CUDA_VISIBLE_DEVICES": "3, 1"}) == ["3", "1"]
    assert visible({"CUDA_VISIBLE_DEVICES": "MIG-a,MIG-b"}) == ["MIG-a", "MIG-b"]
    assert visible({"CUDA_VISIBLE_DEVICES": ""}) == []


class Worker:
    """A process that claims GPUs and keeps them until it is told to end."""

    def __init__(self, count: int) -> None:
        command = [sys.executable, "-c", WORKER, str(count)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout
        self.said = self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


def test_workers_take_what_is_free_and_a_killed_one_gives_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7,9")
    first, second = Worker(2), Worker(2)
    assert [first.said, second.said] == ["4,5", "6,7"]
    third = Worker(2)
    assert third.said == (
        "run.gpus_per_task: found 2, but no 2 of 5 GPUs are free; accepted: a number with which "
        "all run.workers fit"
    )
    first.kill()
    fourth = Worker(2)
    assert fourth.said == "4,5"
    for worker in (second, third, fourth):
        worker.kill()
