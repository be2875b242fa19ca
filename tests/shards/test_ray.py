"""A real Ray on this machine: the same set as one worker makes, through a death and a Ctrl-C."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shards.reader import ShardSet
from tests.engine.fault_server import Fault, FaultServer
from tests.shards.runs import assert_whole, corpus_lines, ended, recipe, start

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FILES, DOCUMENTS = 6, 12


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A temporary folder with a short path: Ray's sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def config(tmp_path: Path, server: FaultServer) -> Path:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(FILES):
        (corpus / f"{number}.jsonl").write_bytes(corpus_lines(number, DOCUMENTS))
    path = tmp_path / "recipe.yaml"
    shape = {"executor": "ray", "tasks": 3, "workers": 2, "rows_per_part": 10}
    path.write_text(recipe(f"{corpus}/*.jsonl", str(tmp_path / "set"), server.url, **shape))
    return path


def begun(config: Path, scratch: Path) -> "subprocess.Popen[str]":
    """A run on Ray that has committed something and is far from done."""
    process = start(config, scratch=scratch)
    deadline = time.monotonic() + 200
    while len(list((config.parent / "set/commits").glob("*.json"))) < 2:
        assert time.monotonic() < deadline and process.poll() is None, ended(process, 1)
        time.sleep(0.05)
    return process


def actors(run: "subprocess.Popen[str]") -> list[int]:
    """Process ids of the workers of a run; Ray names a process after what it does."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            command = (status.parent / "cmdline").read_text()
            parents = ancestors(int(status.parent.name))
        except OSError:
            continue
        if command.startswith("ray::_Actor") and run.pid in parents:
            found.append(int(status.parent.name))
    return found


def ancestors(pid: int) -> list[int]:
    found = []
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        found.append(pid)
    return found


def check(config: Path) -> None:
    url = str(config.parent / "set")
    assert_whole(url)
    assert ShardSet(url).manifest.documents == FILES * DOCUMENTS


def test_a_killed_worker_is_replaced(config: Path, scratch: Path, server: FaultServer) -> None:
    server.plan = lambda call: Fault(seconds=0.05)
    process = begun(config, scratch)
    pids = actors(process)
    assert len(pids) == 2
    os.kill(pids[0], signal.SIGKILL)
    code, _, err = ended(process, 250)
    assert code == 0, err
    assert "Traceback" not in err
    check(config)


def test_ctrl_c_commits_and_a_local_run_completes(
    config: Path, scratch: Path, server: FaultServer
) -> None:
    server.plan = lambda call: Fault(seconds=0.05)
    process = begun(config, scratch)
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process, 100)
    asked = len(server.calls)
    assert code == 130, err
    assert err.splitlines()[-1] == "interrupted after a clean commit; the same command continues"
    server.plan = None
    code, _, err = ended(start(config, "run.executor=local", scratch=scratch), 100)
    assert code == 0, err
    check(config)
    total = ShardSet(str(config.parent / "set")).manifest.rows
    assert len(server.calls) == total > asked, "a committed row was asked for again"


def test_an_error_of_a_task_is_one_sentence(
    config: Path, scratch: Path, server: FaultServer
) -> None:
    server.plan = lambda call: Fault(401) if call.number == 30 else None
    code, _, err = ended(start(config, scratch=scratch), 250)
    assert code == 1
    assert err.splitlines()[-1].startswith("error: the endpoint") and "HTTP 401" in err
    assert "Traceback" not in err
