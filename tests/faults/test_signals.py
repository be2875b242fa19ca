"""SIGINT and SIGTERM at any moment end with 130 and one line; the same command goes on."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from prewrite.shards import names
from tests.engine.fault_server import FaultServer
from tests.faults.runs import Disturbed, left, wait_for
from tests.pipeline.runs import ended

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BOTH = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


@pytest.mark.parametrize("number", BOTH)
@pytest.mark.parametrize("workers", [1, 2])
def test_while_an_engine_loads(
    tmp_path: Path,
    server: FaultServer,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    workers: int,
) -> None:
    """At once: nobody waits for a model that is not wanted any more."""
    monkeypatch.setenv("LOADING", "600")
    run = Disturbed(tmp_path, server, judge=False, workers=workers)
    process = run.start(module="tests.faults.deadly")
    assert process.stdout and "loading" in process.stdout.readline()
    process.send_signal(number)
    code, _, err = ended(process, 60)
    assert code == 130
    assert "Traceback" not in err
    line = err.splitlines()[-1]
    assert line.startswith("interrupted") and line.endswith("the same command continues")
    assert left(process.pid) == []
    assert names.LOCK not in run.files()


@pytest.mark.parametrize("number", BOTH)
def test_while_rows_are_made(tmp_path: Path, server: FaultServer, number: signal.Signals) -> None:
    run = Disturbed(tmp_path, server, judge=False, workers=2)
    run.slow(0.05)
    process = run.start()
    assert wait_for(lambda: len(server.calls) > 10, process)
    os.killpg(process.pid, number)  # as a terminal does, and as a scheduler may
    code, _, err = ended(process, 60)
    assert code == 130 and "Traceback" not in err, err
    assert err.endswith("interrupted after a clean commit; the same command continues\n")
    server.plan, asked = None, len(server.calls)
    code, _, err = ended(run.start("run.workers=1"), 90)
    assert code == 0, err
    run.check()
    calls = [call.text for call in server.calls]
    assert len(calls) == len(set(calls)), "a committed row was asked for again"
    assert asked < len(calls)


def test_a_second_interrupt_does_not_wait(tmp_path: Path, server: FaultServer) -> None:
    run = Disturbed(tmp_path, server, judge=False)
    run.slow(600)
    process = run.start()
    assert wait_for(lambda: len(server.calls) > 3, process)
    process.send_signal(signal.SIGINT)
    time.sleep(1)  # two at once are one
    assert process.poll() is None, "the first one waits for the rows under way"
    asked = len(server.calls)
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process, 60)
    assert code == 130 and "Traceback" not in err, err
    assert err.endswith("interrupted; the same command continues\n")
    assert len(server.calls) - asked < 5
