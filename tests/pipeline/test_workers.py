"""Several worker processes: the same set as one makes, through every kind of death."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prewrite.base.config import load
from prewrite.rewrite import command as main
from prewrite.rewrite.config import RewriteRecipe
from prewrite.shards import names
from prewrite.shards.reader import ShardSet
from tests.engine.fault_server import Fault, FaultServer
from tests.pipeline.runs import assert_whole, corpus_lines, ended, recipe, rows, start

pytestmark = pytest.mark.slow

FILES, DOCUMENTS, TASKS = 6, 25, 3


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


class Run:
    """One recipe in a folder of its own, run as often as a test likes."""

    def __init__(self, folder: Path, server: FaultServer, workers: int) -> None:
        self.folder, self.server = folder, server
        self.output, self.scratch = str(folder / "set"), folder / "scratch"
        corpus = folder / "corpus"
        corpus.mkdir(parents=True)
        for number in range(FILES):
            (corpus / f"{number}.jsonl").write_bytes(corpus_lines(number, DOCUMENTS))
        self.config = folder / "recipe.yaml"
        shape: dict[str, Any] = {"workers": workers, "tasks": TASKS, "rows_per_part": 10}
        self.config.write_text(recipe(str(corpus / "*.jsonl"), self.output, server.url, **shape))

    def start(self, *overrides: str) -> "subprocess.Popen[str]":
        return start(self.config, *overrides, scratch=self.scratch)

    def start_and_wait_for_commits(self) -> "subprocess.Popen[str]":
        """A run that has committed something and is far from done."""
        self.server.plan = lambda call: Fault(seconds=0.05)
        process = self.start()
        until(lambda: len(self.records()) >= 2, "the first commits")
        assert process.poll() is None
        return process

    def records(self) -> list[Path]:
        return list(Path(self.output, names.RECORDS).glob("*.json"))

    def complete(self) -> None:
        """Run to the end, in this process for speed, and check all that must hold then."""
        self.server.plan = None
        main.run(load(RewriteRecipe, str(self.config), ["run.workers=1"]))
        self.check()

    def check(self) -> None:
        assert_whole(self.output)
        assert ShardSet(self.output).manifest.documents == FILES * DOCUMENTS


def until(condition: Callable[[], Any], what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no sign of {what} in {seconds} s"
        time.sleep(0.02)


def workers_of(process: "subprocess.Popen[str]") -> list[int]:
    """Process ids of the children that do the work (not Python's resource tracker)."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [int(pid) for pid in text.split() if "spawn_main" in command_of(int(pid))]


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def one_error_line(err: str) -> str:
    lines = err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), err
    return lines[0]


def test_more_workers_make_the_same_set(tmp_path: Path, server: FaultServer) -> None:
    one, two = (Run(tmp_path / str(n), server, workers=n) for n in (1, 2))
    # The row's id holds the path relative to the glob, so both corpora give the same ids.
    one.complete()
    code, _, err = ended(two.start())
    assert code == 0, err
    two.check()
    assert rows(one.output) == rows(two.output)
    assert {row["rewrite_status"] for row in rows(two.output, ["rewrite_status"])} == {"ok"}


def test_sigterm_commits_and_a_rerun_completes(tmp_path: Path, server: FaultServer) -> None:
    run = Run(tmp_path, server, workers=2)
    process = run.start_and_wait_for_commits()
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process, 20)
    asked = len(server.calls)
    assert code == 130, err
    assert err.splitlines() == ["interrupted after a clean commit; the same command continues"]
    manifest = ShardSet(run.output).manifest
    assert manifest.status == "interrupted" and manifest.rows > 0
    assert list(run.scratch.iterdir()) == []
    run.complete()
    total = ShardSet(run.output).manifest.rows
    assert asked < total * 0.4, "the interrupted run went on"
    assert len(server.calls) == total, "a committed row was asked for again, or one was lost"


def test_a_killed_worker_is_replaced(tmp_path: Path, server: FaultServer) -> None:
    run = Run(tmp_path, server, workers=2)
    process = run.start_and_wait_for_commits()
    victim, _ = workers_of(process)
    os.kill(victim, signal.SIGKILL)
    server.plan = None
    code, _, err = ended(process)
    assert code == 0, err
    assert "its worker died (SIGKILL); another one continues" in err
    run.check()
    manifest = ShardSet(run.output).manifest
    # It counts where documents were open, not committed, when the worker died.
    assert manifest.passes[-1].counts.get("worker:died", 0) <= 1
    assert manifest.statuses == {"ok": manifest.rows}


def test_workers_end_with_a_killed_parent(tmp_path: Path, server: FaultServer) -> None:
    run = Run(tmp_path, server, workers=2)
    process = run.start_and_wait_for_commits()
    pids = workers_of(process)
    assert len(pids) == 2
    process.kill()
    process.wait()
    until(lambda: not any(map(command_of, pids)), "the workers' end", 5)
    asked = len(server.calls)
    time.sleep(0.3)
    assert len(server.calls) == asked
    run.complete()


def test_an_error_in_one_worker_ends_the_run(tmp_path: Path, server: FaultServer) -> None:
    run = Run(tmp_path, server, workers=2)
    server.plan = lambda call: Fault(401) if call.number == 30 else Fault(seconds=0.05)
    code, _, err = ended(run.start(), 30)
    assert code == 1
    assert "HTTP 401" in one_error_line(err)
    assert len(server.calls) < FILES * DOCUMENTS
    run.complete()
