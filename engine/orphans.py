"""Ends the processes of an engine whose own process was killed.

vLLM's engine core and its workers are child processes that outlive a SIGKILL of their parent, with
all their accelerator memory. A guard, a small process in a session of its own, notes the
descendants of its parent twice a second. When the parent is gone, however it ended, it kills those
that are left. Cost: 10 MB, and a walk over a few files in /proc.
"""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import cache
from pathlib import Path

_SPARED = "resource_tracker"  # Python's own: it frees shared memory after its parent, then ends


@cache
def guard() -> None:
    """Start the guard of this process, once. It watches when this returns: on a busy machine it
    would else find its parent gone, and nothing known of what it left.
    """
    root = str(Path(__file__).parents[2])
    process = subprocess.Popen(
        [sys.executable, "-m", "prewrite.engine.orphans", str(os.getpid())],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert process.stdout
    with process.stdout as watching:
        watching.read(1)


def descendants(pid: int) -> dict[int, str]:
    """Every process below `pid`, with the time it was started: ids are used again."""
    found: dict[int, str] = {}
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                found |= {child: _started(child)} | descendants(child)
    return found


def watch(parent: int) -> None:
    """Wait for the end of `parent`, whose child this is, then kill what it left."""
    known = descendants(parent)
    os.write(sys.stdout.fileno(), b".")
    while os.getppid() == parent:
        known = descendants(parent)
        time.sleep(0.5)
    for pid, started in known.items():
        if started and _started(pid) == started and pid != os.getpid() and not _is_spared(pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _started(pid: int) -> str:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def _is_spared(pid: int) -> bool:
    try:
        return _SPARED in Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except OSError:
        return True


if __name__ == "__main__":
    watch(int(sys.argv[1]))
