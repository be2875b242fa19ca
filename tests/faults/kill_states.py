"""The commands that are killed, and what stands in the folder when each begins.

A case is a folder with a `set` and, for exports, what is exported beside it. Nothing here knows the
names of a set's files but its manifest's and where rows lie: a state in the middle of a run is
found by how many documents the next run asks for.
"""

import json
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from prewrite.shards import merge, names
from prewrite.shards.export import Export
from prewrite.shards.export_files import export
from prewrite.shards.reader import ShardSet
from prewrite.shards.repair import repair
from tests.faults import tiny
from tests.faults.forks import forked
from tests.faults.steps import Point
from tests.shards.edits import files_with_rows, flip

SET, WHOLE = "set", "whole"
PART_BYTES = 2000  # more than any row group of `tiny` has
Action = Callable[[Path], object]


def _run(case: Path) -> None:
    tiny.asked.clear()
    tiny.go(str(case / SET))


def _merging(case: Path) -> None:
    """Brings each two commits into one file as soon as both are there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merge, "FILE_BYTES", PART_BYTES + 1)
        _run(case)


def _other(case: Path) -> None:
    tiny.go(str(case / SET), salt="another")


def _jsonl(case: Path) -> None:
    export(Export(str(case / SET), "chunk"), str(case / "best.jsonl"))


def _parquet(case: Path) -> None:
    export(Export(str(case / SET), "chunk"), str(case / "best.parquet"))


COMMANDS: dict[str, Action] = {
    "run": _run,
    "merging": _merging,
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


def _flip(case: Path) -> None:
    """A bit of a row group, of three in its file."""
    flip(case / SET, ShardSet(case / SET).parts[1])


def _flip_verdicts(case: Path) -> None:
    flip(case / SET, ShardSet(case / SET).verdicts[1])


def _cut(case: Path) -> None:
    """A file without its footer."""
    (path,) = files_with_rows(case / SET)
    path.write_bytes(path.read_bytes()[:-9])


def _lose(case: Path) -> None:
    (path,) = files_with_rows(case / SET)
    path.unlink()


def _edit(case: Path) -> None:
    """The manifest counts a row too many, and its digest is not that of its content."""
    path = case / SET / names.MANIFEST
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


def killed(left: int, run: Action = _run) -> Action:
    """A run killed at the first step after which at most so much is left to be done: documents, and
    one more where any is, or an end of a file that is not yet written down.
    """

    def make(case: Path) -> None:
        _empty(case)
        low, high = 1, len(forked(lambda: run(case), case).kinds)
        while low < high:
            middle = (low + high) // 2
            enough = _left(case, middle, run) <= left
            low, high = (low, middle) if enough else (middle + 1, high)
        _kill(case, low, run)

    return make


def _merged(case: Path) -> None:
    """A run killed right after the record of its first merge, before the old files go."""
    _empty(case)
    number = 1
    while _kill(case, number, _merging) and not list((case / SET / names.RECORDS).glob("merge-*")):
        number += 1
    assert list((case / SET / names.RECORDS).glob("merge-*"))


def _kill(case: Path, number: int, run: Action) -> bool:
    shutil.rmtree(case / SET, ignore_errors=True)
    return forked(lambda: run(case), case, Point(number)).killed


def _left(case: Path, number: int, run: Action) -> int:
    """What a run does that follows one which was killed at step `number`."""
    if not _kill(case, number, run):
        return 0
    _run(case)
    return len(tiny.asked)


def _nothing(case: Path) -> None:
    """As it is."""


def _exported(name: str) -> Action:
    def make(case: Path) -> None:
        (case / name).write_bytes(b"older")

    return make


_half_done = killed(2)
STATES = (
    State("run", "run", _empty, ("run", "repair")),
    State("resume", "run", _half_done, ("run", "repair")),
    State("resume a stopped run", "run", _stopped, ("run",)),
    State("finish", "run", killed(0), ("run", "repair")),
    State("redo", "run", _repaired, ("run", "repair")),
    State("run and merge", "merging", _empty, ("merging", "repair")),
    State("resume after a merge", "merging", _merged, ("run", "repair")),
    State("redo and merge", "merging", _repaired, ("merging", "repair")),
    State("repair a part", "repair", _flip, ("repair", "run")),
    State("repair verdicts", "repair", _flip_verdicts, ("repair", "run")),
    State("repair a file without a footer", "repair", _cut, ("repair", "run")),
    State("repair a lost file", "repair", _lose, ("repair", "run")),
    State("repair the manifest", "repair", _edit, ("repair", "run")),
    State("repair nothing", "repair", _nothing, ("repair", "run")),
    State("repair a killed run", "repair", _half_done, ("repair", "run")),
    State("repair after a merge", "repair", _merged, ("repair", "run")),
    State("export as JSON lines", "jsonl", _exported("best.jsonl"), ("jsonl",)),
    State("export as Parquet", "parquet", _exported("best.parquet"), ("parquet",)),
)


def lay_out(base: Path, states: Sequence[State] = STATES) -> None:
    """A whole run with its exports, and states, each in a folder of its name."""
    whole = base / WHOLE
    whole.mkdir(parents=True)
    for command in ("run", "jsonl", "parquet"):
        COMMANDS[command](whole)
    made = dict[Action, Path]()
    for state in states:
        case = base / state.name
        if state.make in made:
            shutil.copytree(made[state.make], case)
            continue
        shutil.copytree(whole / SET, case / SET)
        state.make(case)
        made[state.make] = case
