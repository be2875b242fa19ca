"""Modules of this folder in processes of their own, for they replace functions of Python: each
prints its results as lines of JSON.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.pipeline.runs import ROOT

MEMORY = Path("/dev/shm")


def results(module: str, *calls: Sequence[object], before: Sequence[str] = ()) -> list[Any]:
    """What `python -m tests.faults.MODULE WORDS` prints, of one process for each of `calls`, all at
    a time; `before` is a command that runs it. RuntimeError with its last words where one fails.
    """
    env = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    env["PYTHONPATH"] = os.pathsep.join([str(ROOT), env.get("PYTHONPATH", "")])
    with ExitStack() as stack:
        started = []
        for words in calls:
            out, err = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(2))
            command = [*before, sys.executable, "-m", f"tests.faults.{module}", *map(str, words)]
            process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=out, stderr=err)
            stack.callback(process.kill)
            started.append((process, out, err))
        for process, _, err in started:
            if process.wait():
                err.seek(0)
                last = err.read()[-3000:]
                raise RuntimeError(f"{module} ended with {process.returncode}: {last}")
        found = []
        for _, out, _ in started:
            out.seek(0)
            found += [json.loads(line) for line in out]
    return found


def scratch() -> "tempfile.TemporaryDirectory[str]":
    """A folder in memory, where there is one."""
    return tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
