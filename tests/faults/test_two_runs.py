"""Two commands at one output: the second is refused, and a killed first one is in nobody's way."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from prewrite.shards import names
from tests.engine.fault_server import FaultServer
from tests.faults.runs import Disturbed, kill_group, wait_for
from tests.pipeline.runs import ended

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with FaultServer() as running:
        yield running


def test_the_second_is_refused(tmp_path: Path, server: FaultServer) -> None:
    run = Disturbed(tmp_path, server, judge=False)
    run.slow(1)
    first = run.start()
    assert wait_for(run.after(1), first)
    code, out, err = ended(run.start(), 90)
    assert (code, out) == (1, "")
    assert err.startswith(f"error: {run.output}: another run is writing here (process {first.pid} ")
    assert err.endswith("; wait for it\n") and err.count("\n") == 1
    assert first.poll() is None
    kill_group(first)
    assert names.LOCK in run.files()
    server.plan = None
    code, _, err = ended(run.start(), 90)
    assert code == 0, err
    run.check()
