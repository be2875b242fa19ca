"""Real runs of `prewrite rewrite` that are disturbed, in process groups of their own."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

from prewrite.shards.reader import ShardSet
from tests.engine.fault_server import Fault, FaultServer
from tests.pipeline.runs import ROOT, assert_whole, corpus_lines, recipe

FILES, DOCUMENTS = 3, 16
KILLS = int(os.environ.get("PREWRITE_KILLS", "4"))
"""How often a test kills; the default is for every day, hundreds are for a night."""

COLUMNS = ["id", "original", "rewrite", "rewrite_status", "original_score", "rewrite_score"]


class Disturbed:
    """One recipe over a small corpus, started as often as a test likes."""

    def __init__(self, folder: Path, server: FaultServer, judge: bool = True, **run: Any) -> None:
        self.server, self.output, self.judge = server, str(folder / "set"), judge
        self.first = f"{self.output}/_rewrites" if judge else self.output
        self.corpus = folder / "corpus"
        self.corpus.mkdir(parents=True)
        for number in range(FILES):
            (self.corpus / f"{number}.jsonl").write_bytes(corpus_lines(number, DOCUMENTS))
        self.config = folder / "recipe.yaml"
        shape = {"rows_per_part": 8, "tasks": FILES, **run}
        text = recipe(f"{self.corpus}/*.jsonl", self.output, server.url, judge=judge, **shape)
        self.config.write_text(text)

    def start(self, *overrides: str, module: str = "prewrite") -> "subprocess.Popen[str]":
        """The command, in a process group of its own."""
        return started(module, "rewrite", "--config", str(self.config), *overrides)

    def stopped(self, step: int, *words: str) -> "subprocess.Popen[str]":
        """A command that stands still at a step of its own in the output, once it is there."""
        return started("tests.faults.stopped", self.output, str(step), *words)

    def files(self) -> list[str]:
        """Names of everything in the output. Files may appear and vanish meanwhile."""
        found = [(at, name) for at, *both in os.walk(self.output) for name in chain(*both)]
        return [os.path.relpath(os.path.join(at, name), self.output) for at, name in found]

    def after(self, calls: int) -> Callable[[], bool]:
        """The moment at which the engine has been asked so many times more."""
        goal = len(self.server.calls) + calls
        return lambda: len(self.server.calls) >= goal

    def slow(self, seconds: float) -> None:
        """Every answer of the engine takes so long."""
        self.server.plan = lambda call: Fault(seconds=seconds)

    def check(self) -> None:
        """Whole sets, every document once, every row done, and nothing beside them."""
        for url in {self.first, self.output}:
            assert_whole(url)
            manifest = ShardSet(url).manifest
            assert manifest.documents == FILES * DOCUMENTS
            assert manifest.statuses == {"ok": manifest.rows}


def started(*words: str) -> "subprocess.Popen[str]":
    """`python -m WORDS`, in a process group of its own."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def stands_still(process: "subprocess.Popen[str]") -> bool:
    """Whether a process was stopped, and not yet continued."""
    stat = Path(f"/proc/{process.pid}/stat").read_text(errors="replace")
    return stat.rpartition(")")[2].split()[0] == "T"


def rows(url: str) -> list[dict[str, Any]]:
    """What a set says, without what is of one run."""
    columns = [name for name in COLUMNS if name in ShardSet(url).manifest.columns.names]
    return list(ShardSet(url).rows(columns))


def kill_group(process: "subprocess.Popen[str]") -> None:
    """SIGKILL to the command and all that it started; its pipes are read to their end."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)


def members(group: int) -> list[int]:
    """Living processes of a group."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            state, _, of, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(of) == group and state != "Z":
                found.append(int(entry.name))
    return found


def left(group: int, seconds: float = 10) -> list[int]:
    """Those that have not ended within so long: Python's own helper of multiprocessing ends a
    moment after the process that it was for.
    """
    end = time.monotonic() + seconds
    while members(group) and time.monotonic() < end:
        time.sleep(0.05)
    return members(group)


def wait_for(
    moment: Callable[[], Any], process: "subprocess.Popen[str]", seconds: float = 90
) -> bool:
    """Whether `moment` came before the process ended."""
    end = time.monotonic() + seconds
    while process.poll() is None:
        if moment():
            return True
        assert time.monotonic() < end, "neither the moment nor the end came"
        time.sleep(0.001)
    return False


def moments(run: Disturbed, draw: random.Random) -> list[tuple[str, Callable[[], Any]]]:
    """A random moment in each phase of a run that starts now."""
    known, begun, after = set(run.files()), time.monotonic(), draw.uniform(0, 3)

    def new(part: str) -> Callable[[], bool]:
        return lambda: any(re.search(part, name) for name in set(run.files()) - known)

    return [
        ("starting", lambda: time.monotonic() > begun + after),
        ("generating", run.after(draw.randint(1, 40))),
        ("writing", new(r"\.run-\w+/\w")),
        ("committing", new("commits/0")),
        ("merging", new("commits/merge-")),
        ("finishing", new("README.md")),
        ("judging", new("_judgements/")),
    ]
