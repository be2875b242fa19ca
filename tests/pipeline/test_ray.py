"""A real Ray on this machine: the same set as one worker makes, through a death and a Ctrl-C."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from prewrite.base.config import load
from prewrite.rewrite.command import run
from prewrite.rewrite.config import RewriteRecipe
from prewrite.shards import names
from prewrite.shards.reader import ShardSet
from tests.engine.fault_server import Fault, FaultServer
from tests.pipeline.runs import assert_whole, corpus_lines, ended, recipe, start

pytest.importorskip("ray")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

FILES, DOCUMENTS = 6, 12


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A temporary folder with a short path: Ray's sockets lie in it."""
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as name:
        yield Path(name)


CLUSTER = """
import ray
found = ray.init("local", num_cpus=2, include_dashboard=False, _node_ip_address="127.0.0.1")
print(found["address"], flush=True)
input()
"""


@pytest.fixture(scope="module")
def cluster(scratch: Path) -> Iterator["subprocess.Popen[str]"]:
    """A Ray of two CPUs that outlives the runs; RAY_ADDRESS names it meanwhile."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("MODE", "token"), ("TOKEN", "f" * 64)):
            patch.setenv(f"RAY_AUTH_{name}", value)
        process = subprocess.Popen(
            [sys.executable, "-c", CLUSTER],
            env=os.environ | {"TMPDIR": str(scratch)},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout
        patch.setenv("RAY_ADDRESS", process.stdout.readline().strip())
        yield process
        process.communicate("\n", timeout=60)


@pytest.fixture
def config(tmp_path: Path, server: FaultServer) -> Path:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number in range(FILES):
        (corpus / f"{number}.jsonl").write_bytes(corpus_lines(number, DOCUMENTS))
    path = tmp_path / "recipe.yaml"
    shape: dict[str, Any] = {"executor": "ray", "tasks": 3, "workers": 2, "rows_per_part": 10}
    path.write_text(recipe(f"{corpus}/*.jsonl", str(tmp_path / "set"), server.url, **shape))
    return path


def begun(config: Path, scratch: Path) -> "subprocess.Popen[str]":
    """A run on Ray that has committed something and is far from done."""
    process = start(config, scratch=scratch)
    deadline = time.monotonic() + 200
    while len(list((config.parent / "set" / names.RECORDS).glob("*.json"))) < 2:
        assert time.monotonic() < deadline and process.poll() is None, ended(process, 1)
        time.sleep(0.05)
    return process


def actors(cluster: "subprocess.Popen[str]") -> list[int]:
    """Process ids of the workers on it; Ray names a process after what it does."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            ours = cluster.pid in ancestors(int(folder.name))
            if ours and (folder / "cmdline").read_text().startswith("ray::_Actor"):
                found.append(int(folder.name))
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


def test_ctrl_c_commits_and_a_local_run_completes(
    config: Path, scratch: Path, server: FaultServer
) -> None:
    server.plan = lambda call: Fault(seconds=0.05)
    process = begun(config, scratch)
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process, 100)
    asked = len(server.calls)
    assert code == 130, err
    # Ray may print a line of an actor after it.
    assert "interrupted after a clean commit; the same command continues" in err.splitlines()
    server.plan = None
    run(load(RewriteRecipe, str(config), ["run.executor=local"]))
    check(config)
    total = ShardSet(str(config.parent / "set")).manifest.rows
    assert len(server.calls) == total > asked, "a committed row was asked for again"


def test_a_killed_worker_is_replaced(
    config: Path, scratch: Path, server: FaultServer, cluster: "subprocess.Popen[str]"
) -> None:
    server.plan = lambda call: Fault(seconds=0.05)
    process = begun(config, scratch)
    pids = actors(cluster)
    assert len(pids) == 2
    os.kill(pids[0], signal.SIGKILL)
    code, _, err = ended(process, 250)
    assert code == 0, err
    assert "Traceback" not in err
    check(config)


def test_an_error_of_a_task_is_one_sentence(
    config: Path, scratch: Path, server: FaultServer
) -> None:
    server.plan = lambda call: Fault(401) if call.number == 30 else None
    code, _, err = ended(start(config, scratch=scratch), 250)
    assert code == 1
    assert any(line.startswith("error: the endpoint") for line in err.splitlines())
    assert "HTTP 401" in err
    assert "Traceback" not in err
