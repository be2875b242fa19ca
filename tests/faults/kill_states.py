"""The commands that are killed, and what stands in the folder when each begins.

A case is a folder with a `set` and, for exports, what is exported beside it. Nothing here knows the
names of a set's files but its manifest's: a state in the middle of a run is found by how many
documents the next run asks for.
"""

import json
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from prewrite.shards.export import Export
from prewrite.shards.export_files import export
from prewrite.shards.repair import repair
from tests.faults import tiny
from tests.faults.forks import forked
from tests.faults.steps import Point

SET, WHOLE = "set", "whole"
Action = Callable[[Path], object]


def _run(case: Path) -> None:
    tiny.asked.clear()
    tiny.go(str(case / SET))


def _other(case: Path) -> None:
    tiny.go(str(case / SET), salt="another")


def _jsonl(case: Path) -> None:
    export(Export(str(case / SET), "chunk"), str(case / "best.jsonl"))


def _parquet(case: Path) -> None:
    export(Export(str(case / SET), "chunk"), str(case / "best.parquet"))


COMMANDS: dict[str, Action] = {
    "run": _run,
    "repair": lambda case: repair(str(case / SET)),
    "other": _other,
    "jsonl": _jsonl,
    "parquet": _parquet,
}


@dataclass(frozen=True)
class State:
    """A command, and how the folder in which it begins is made of one that a whole run has left.

    seconds: the commands that may be started once the first is killed.
    """

    name: str
    command: str
    make: Action
    seconds: tuple[str, ...]


def part(case: Path, number: int) -> Path:
    """A file with rows, in the order of their names."""
    return sorted((case / SET).glob("part-*.parquet"))[number]


def _flip(case: Path) -> None:
    data = bytearray(part(case, 1).read_bytes())
    data[len(data) // 2] ^= 1
    part(case, 1).write_bytes(data)


def _edit(case: Path) -> None:
    """The manifest counts a row too many."""
    path = case / SET / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["rows"] += 1
    path.write_text(json.dumps(manifest))


def _empty(case: Path) -> None:
    shutil.rmtree(case / SET)


def _repaired(case: Path) -> None:
    _flip(case)
    repair(str(case / SET))


def _stopped(case: Path) -> None:
    """A run that a signal ended after its first document."""
    _empty(case)

    def run() -> None:
        tiny.stops.append(signal.SIGTERM)
        _run(case)

    ended = forked(run)
    assert "interrupted" in ended.sentence, ended


def killed(left: int) -> Action:
    """A run killed at the first step after which at most so much is left to be done: documents, and
    one more where any is, or an end of a file that is not yet written down.
    """

    def make(case: Path) -> None:
        _empty(case)
        low, high = 1, len(forked(lambda: _run(case), case).kinds)
        while low < high:
            middle = (low + high) // 2
            enough = _left(case, middle) <= left
            low, high = (low, middle) if enough else (middle + 1, high)
        _kill(case, low)

    return make


def _kill(case: Path, number: int) -> bool:
    shutil.rmtree(case / SET, ignore_errors=True)
    return forked(lambda: _run(case), case, Point(number)).killed


def _left(case: Path, number: int) -> int:
    """What a run does that follows one which was killed at step `number`."""
    if not _kill(case, number):
        return 0
    _run(case)
    return len(tiny.asked)


def _nothing(case: Path) -> None:
    """As it is."""


def _exported(name: str) -> Action:
    def make(case: Path) -> None:
        (case / name).write_bytes(b"older")

    return make


STATES = (
    State("run", "run", _empty, ("run", "repair")),
    State("resume", "run", killed(2), ("run", "repair")),
    State("resume a stopped run", "run", _stopped, ("run",)),
    State("finish", "run", killed(0), ("run", "repair")),
    State("redo", "run", _repaired, ("run", "repair")),
    State("repair a part", "repair", _flip, ("repair", "run")),
    State("repair a lost part", "repair", lambda case: part(case, 0).unlink(), ("repair", "run")),
    State("repair the manifest", "repair", _edit, ("repair", "run")),
    State("repair nothing", "repair", _nothing, ("repair", "run")),
    State("repair a killed run", "repair", killed(2), ("repair", "run")),
    State("export as JSON lines", "jsonl", _exported("best.jsonl"), ("jsonl",)),
    State("export as Parquet", "parquet", _exported("best.parquet"), ("parquet",)),
)


def lay_out(base: Path, states: Sequence[State] = STATES) -> None:
    """A whole run with its exports, and states, each in a folder of its name."""
    whole = base / WHOLE
    whole.mkdir(parents=True)
    for command in ("run", "jsonl", "parquet"):
        COMMANDS[command](whole)
    for state in states:
        case = base / state.name
        shutil.copytree(whole / SET, case / SET)
        state.make(case)
