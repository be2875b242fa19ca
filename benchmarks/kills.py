"""What a kill costs, and that it costs no row: the real command against an instant endpoint.

A run with two workers, rewriting and judging, is killed with its whole process group again and
again, at random moments, and started anew until it is done. Then the rows are counted against those
of an undisturbed run. Another run is killed when half of its requests are answered: how
many requests does the next one repeat, and after how long does the first new one arrive?
"""

import random
import tempfile
import time
from pathlib import Path
from typing import Any

from prewrite.shards.manifest import Manifest
from prewrite.shards.reader import ShardSet
from tests.engine.fault_server import Fault, FaultServer
from tests.faults.runs import Disturbed, kill_group, rows, wait_for

KILLS = 12
ROWS_PER_PART = 16
SECONDS = 0.02  # of an answer


def _run(folder: Path, server: FaultServer) -> Disturbed:
    server.plan = lambda call: Fault(seconds=SECONDS)
    return Disturbed(folder, server, workers=2, rows_per_part=ROWS_PER_PART)


def _complete(run: Disturbed) -> None:
    process = run.start()
    _, err = process.communicate(timeout=600)
    if process.returncode:
        raise RuntimeError(err)


def _killed_often(folder: Path, undisturbed: Disturbed) -> dict[str, int]:
    """Kill until `KILLS` runs were killed or one was through; then to the end."""
    draw, killed = random.Random(0), 0
    with FaultServer() as server:
        run = _run(folder, server)
        for _ in range(KILLS):
            moment, process = run.after(draw.randint(0, 60)), run.start()
            killed += wait_for(moment, process, 600)
            kill_group(process)
        _complete(run)
    expected, found = rows(undisturbed.output), rows(run.output)
    ids = [row["id"] for row in found]
    return {
        "kills": killed,
        "rows": len(expected),
        "lost": len({row["id"] for row in expected} - set(ids)),
        "doubled": len(ids) - len(set(ids)),
        "different": sum(a != b for a, b in zip(expected, found, strict=False)),
    }


def _restart(folder: Path) -> dict[str, Any]:
    """Killed when half is answered: what is asked again, and when the first new thing is."""
    with FaultServer() as server:
        run = _run(folder, server)
        _complete(run)
        asked = len(server.calls)
    with FaultServer() as server:
        run = _run(folder / "again", server)
        process = run.start()
        wait_for(run.after(asked // 2), process, 600)
        kill_group(process)
        before = {(call.path, call.text) for call in server.calls}
        begun, first = time.monotonic(), len(server.calls)
        _complete(run)
        new = [c for c in server.calls[first:] if (c.path, c.text) not in before]
        repeated = len(server.calls) - asked
    manifests: list[Manifest] = [ShardSet(url).manifest for url in (run.first, run.output)]
    return {
        "requests": asked,
        "repeated": repeated,
        "share": repeated / asked,
        "rows": manifests[-1].rows,
        "first_request_s": round(server.calls[first].begun - begun, 1),
        "first_new_s": round(new[0].begun - begun, 1),
    }


def measure() -> dict[str, Any]:
    """The figures."""
    with tempfile.TemporaryDirectory() as folder, FaultServer() as server:
        undisturbed = _run(Path(folder, "undisturbed"), server)
        _complete(undisturbed)
        return {
            "kills": _killed_often(Path(folder, "killed"), undisturbed),
            "restart": _restart(Path(folder, "restart")),
            "rows_per_part": ROWS_PER_PART,
        }
