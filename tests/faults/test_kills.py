"""SIGKILL in every phase, again and again, until the sets are done: every row once, none else."""

import os
import random
import shutil
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from prewrite.shards.reader import ShardSet
from tests.engine.fault_server import FaultServer
from tests.faults.runs import (
    KILLS,
    Disturbed,
    kill_group,
    left,
    members,
    moments,
    rows,
    stands_still,
    started,
    wait_for,
)
from tests.faults.stopped import SAID
from tests.pipeline.runs import ended
from tests.shards.edits import flip

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60 * KILLS + 120)]


LATE = (0.8, 0.97)
REPAIRING = (0.4, 0.8)
"""Shares of the steps that a command makes, at which it is killed."""


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[object], list[object]]:
    """The rows of both sets, made in one go."""
    with FaultServer() as server:
        run = Disturbed(tmp_path_factory.mktemp("undisturbed"), server)
        code, _, err = ended(run.start(), 120)
        assert code == 0, err
        run.check()
        return list(rows(run.first)), list(rows(run.output))


def test_killed_in_every_phase(
    tmp_path: Path, server: FaultServer, undisturbed: tuple[list[object], list[object]]
) -> None:
    """The whole group at once, as a machine that is switched off; one worker and two in turn."""
    draw, run = random.Random(1), Disturbed(tmp_path, server)
    killed: list[str] = []
    for number in range(KILLS):
        run.slow(draw.choice((0.0, 0.02, 0.05)))
        every = moments(run, draw)
        phase, moment = every[number % len(every)]
        process = run.start(f"run.workers={1 + number % 2}")
        if wait_for(moment, process):
            killed.append(phase)
        kill_group(process)
        assert left(process.pid) == []
    assert killed
    server.plan = None
    code, _, err = ended(run.start(), 120)
    assert code == 0, err
    run.check()
    assert (rows(run.first), rows(run.output)) == undisturbed


def test_workers_killed_under_a_running_command(
    tmp_path: Path, server: FaultServer, undisturbed: tuple[list[object], list[object]]
) -> None:
    """The command itself replaces them and ends well."""
    draw, run = random.Random(2), Disturbed(tmp_path, server, workers=2)
    run.slow(0.03)
    process, killed = run.start(), 0
    while killed < max(3, KILLS // 2):
        if not wait_for(run.after(draw.randint(1, 30)), process):
            break
        workers = [pid for pid in members(process.pid) if _is_worker(pid)]
        if workers:
            os.kill(draw.choice(workers), signal.SIGKILL)
            killed += 1
    assert killed
    server.plan = None
    code, _, err = ended(process, 120)
    assert code == 0, err
    assert err.count("its worker died (SIGKILL); another one continues") == killed
    run.check()
    assert (rows(run.first), rows(run.output)) == undisturbed
    died = [ShardSet(url).manifest.passes[-1].counts for url in (run.first, run.output)]
    # One that had nothing open but what was committed is replaced, and not counted.
    assert sum(counts.get("worker:died", 0) for counts in died) <= killed


def test_the_workers_of_a_killed_command_end(tmp_path: Path, server: FaultServer) -> None:
    run = Disturbed(tmp_path, server, judge=False, workers=2)
    run.slow(0.05)
    process = run.start()
    assert wait_for(run.after(5), process)
    process.kill()
    process.wait()
    end = time.monotonic() + 10
    while members(process.pid):
        assert time.monotonic() < end, "a worker outlives its command"
        time.sleep(0.05)
    process.communicate()


def killed_at(run: Disturbed, step: int, *words: str) -> None:
    """Start a command and kill it from here, before a step of its own."""
    process = run.stopped(step, *words)
    assert wait_for(lambda: stands_still(process), process), process.communicate()
    kill_group(process)


def steps_of(run: Disturbed, *words: str) -> int:
    """How many steps a command makes, which is done."""
    code, _, err = ended(run.stopped(0, *words), 120)
    assert code == 0, err
    return int(err.rpartition(SAID)[2])


def test_killed_at_a_late_step(
    tmp_path: Path, server: FaultServer, undisturbed: tuple[list[object], list[object]]
) -> None:
    """While the last parts are committed, the set is finished, and what a run needs is removed."""
    run = Disturbed(tmp_path, server, judge=False)
    words = ("rewrite", "--config", str(run.config))
    steps = steps_of(run, *words)
    for share in LATE:
        shutil.rmtree(run.output)
        killed_at(run, int(share * steps), *words)
        code, _, err = ended(run.start(), 120)
        assert code == 0, err
        run.check()
        assert rows(run.output) == undisturbed[0]


def test_killed_while_it_is_repaired(tmp_path: Path, server: FaultServer) -> None:
    """Then a repair and the command give the whole."""
    run = Disturbed(tmp_path, server, judge=False)
    code, _, err = ended(run.start(), 120)
    assert code == 0, err
    before = rows(run.output)
    flip(Path(run.output), ShardSet(run.output).parts[1])
    damaged = shutil.copytree(run.output, tmp_path / "damaged")
    repair = ("shards", "verify", run.output, "--repair")
    steps = steps_of(run, *repair)
    for share in REPAIRING:
        shutil.rmtree(run.output)
        shutil.copytree(damaged, run.output)
        killed_at(run, int(share * steps), *repair)
        for start in (partial(started, "prewrite", *repair), run.start):
            code, _, err = ended(start(), 120)
            assert code == 0, err
        run.check()
        assert rows(run.output) == before


def _is_worker(pid: int) -> bool:
    try:
        return "spawn_main" in Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return False
