"""Every kind of file of a shard set, damaged in every way, and all that may be done with the set.

The files are found by listing, and what each is, by what it holds. The set is whole, or what a
killed run has left, or one under repair.
"""

import io
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from prewrite.shards.repair import repair
from tests.faults import tiny
from tests.faults.apart import results
from tests.faults.damage import Extent, Verdict, copied, others_of
from tests.faults.forks import forked, make_ready
from tests.faults.kill_states import COMMANDS, SET, STATES, WHOLE, lay_out
from tests.faults.outcomes import Found, Truth, attempt, content

_KILLED, _REPAIRED = "resume", "redo"
_MERGED = "resume after a merge"
KINDS = {
    WHOLE: {"manifest", "part", "judgements", "log", "skipped.jsonl", "card"},
    _KILLED: {"manifest", "part", "judgements", "record", "mark", "lock"},
    _REPAIRED: {"manifest", "part", "judgements", "log"},
    _MERGED: {"manifest", "part", "judgements", "record", "merge", "mark", "lock"},
}
"""The kinds of file that must be found in each state of a set."""

_KEYS = {
    "manifest": ("passes", "inputs"),
    "merge": ("records", "part"),
    "record": ("split", "documents"),
    "lock": ("host", "pid"),
    "mark": ("committed", "stop"),
    "skipped.jsonl": ("line", "reason"),
}
"""Words in quotes that a JSON file of each kind holds; the first kind that fits is it."""


_COLUMNS = {"part": "original", "judgements": "judge", "log": "record"}
"""A column that a Parquet file of each kind has."""


def kind(path: Path) -> str:
    """What a file of a set is; `other` where that cannot be said."""
    data = path.read_bytes()
    if data.startswith(b"PAR1"):
        try:
            columns = pq.read_schema(io.BytesIO(data)).names
        except OSError:  # the part that the repair is for
            return "other"
        return next((k for k, name in _COLUMNS.items() if name in columns), "other")
    if path.suffix == ".md":
        return "card"
    fits = (k for k, keys in _KEYS.items() if all(f'"{key}":'.encode() in data for key in keys))
    return next(fits, "other")


def files(folder: Path) -> dict[str, list[Path]]:
    """The files of a set by kind, in the order of their names."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.setdefault(kind(path), []).append(path)
    return found


class Matrix:
    """The damage matrix of the sets below `base`, of which copies are damaged in `work`."""

    def __init__(self, base: Path, work: Path, extent: Extent) -> None:
        self.base, self.work, self.extent = base, work, extent
        self.truth = Truth.of(base / "new" / WHOLE / SET)
        self.rows = tiny.exactly(str(base / "new" / WHOLE / SET))

    def verdicts(self, state: str) -> Iterator[Verdict]:
        """All damages to the files of a set in one state, and all its uses."""
        before, old = (self.base / name / state / SET for name in ("new", "old"))
        older = files(old)
        for name, paths in files(before).items():
            for number, path in enumerate(paths[: self.extent.each]):
                others = others_of(paths, number, older.get(name, []))
                place = path.relative_to(before)
                others |= self._states(state, place) if name == "manifest" else {}
                for damage, data in self.extent.damages(path, others, f"{state} {name} {number}"):
                    for use, outcome, why in self._uses(state, place, data):
                        yield Verdict(told(state), name, str(place), damage, use, outcome, why)

    def _states(self, state: str, place: Path) -> dict[str, Path]:
        """A file as it is in the other states of a set."""
        others = (other for other in KINDS if other != state)
        return {
            f"that of the set {_TOLD[other]}": self.base / "new" / other / SET / place
            for other in others
        }

    def _uses(self, state: str, place: Path, data: bytes | None) -> list[tuple[str, str, str]]:
        """Every use of a set in which a file was damaged, each of a copy of its own: its name, the
        outcome, the reason.
        """
        uses = [use for use in _USES if state == WHOLE or use not in _OF_WHOLE]

        def all_of_them() -> list[tuple[str, ...]]:
            return [(use, *_verdict(_USES[use](self, damaged()))) for use in uses]

        def damaged() -> Path:
            before = self.base / "new" / state
            return copied(before, Path(SET, place), data, self.work)

        ended = forked(all_of_them)
        failed = ended.bug or ended.sentence
        return [("any", "traceback", failed)] if failed else ended.value

    def verify(self, case: Path) -> Found:
        """`verify` may call the set good, but not one of which a file says something else."""
        found = self.truth.look(case / SET)
        same = _meaning(case / SET) == _meaning(self.base / "new" / WHOLE / SET)
        return found if same or not found.good else Found("unnoticed", "verify says good")

    def read(self, case: Path) -> Found:
        rows, ended = attempt(lambda: tiny.exactly(str(case / SET)))
        if ended or rows == self.rows:
            return ended or Found("whole")
        return Found("silent", "other rows or verdicts are read")

    def export(self, case: Path) -> Found:
        """What is exported, beside what is exported of the good set."""
        _, ended = attempt(lambda: COMMANDS["jsonl"](case))
        good = self.base / "new" / WHOLE / "best.jsonl"
        if ended or good.read_bytes() == (case / good.name).read_bytes():
            return ended or Found("whole")
        return Found("silent", "other records are exported")

    def command(self, case: Path) -> Found:
        _, ended = attempt(lambda: COMMANDS["run"](case))
        self.made = ended or self.truth.look(case / SET)
        return self.made

    def repair(self, case: Path) -> Found:
        """`verify --repair`, then the command; what the repair says counts as a sentence. What the
        command, which comes before, makes of a set that this repair does not change, is known.
        """
        before = content(case)
        said, ended = attempt(lambda: repair(str(case / SET)))
        if ended and ended.outcome == "traceback":
            return ended
        found = self.made if content(case) == before else self.command(case)
        return found if not found.good or not (said or ended) else Found("told", str(said or ended))

    def other(self, case: Path) -> Found:
        """Another configuration, which must not begin where rows are."""
        _, ended = attempt(lambda: COMMANDS["other"](case))
        return ended or Found("silent", "another configuration began over committed rows")


_USES: dict[str, Callable[[Matrix, Path], Found]] = {
    "verify": Matrix.verify,
    "read": Matrix.read,
    "export": Matrix.export,
    "the command": Matrix.command,
    "repair, the command": Matrix.repair,
    "another configuration": Matrix.other,
}
_OF_WHOLE: Sequence[str] = ("verify", "read", "export")
_TOLD = {
    WHOLE: "whole",
    _KILLED: "of a killed run",
    _REPAIRED: "under repair",
    _MERGED: "of a run killed in a merge",
}


def told(state: str) -> str:
    """What a set in a state is called."""
    return f"set, {_TOLD[state]}"


def _meaning(folder: Path) -> dict[str, object]:
    """What each file of a set says; how JSON is laid out does not matter."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): _of(path.read_bytes()) for path in files}


def _of(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return data.rstrip()


def _verdict(found: Found) -> tuple[str, str]:
    names = {"whole": "harmless", "left": "harmless", "told": "detected"}
    return names.get(found.outcome, found.outcome), found.why


def verdicts(base: Path, states: Sequence[str], extent: Extent) -> list[Verdict]:
    """The damage matrix of sets, made in `base`, in a process for each state."""
    results("damaged_sets", ["lay out", base])
    calls = [["damage", base, extent.each, extent.times, state] for state in states]
    return [Verdict(**found) for found in results("damaged_sets", *calls)]


def main(what: str, base: str, *words: str) -> None:
    """One process of `verdicts`."""
    make_ready()
    tiny.without_worker_pools()
    if what == "lay out":
        for name in ("new", "old"):
            lay_out(Path(base, name), [state for state in STATES if state.name in KINDS])
        return
    each, times, state = words
    matrix = Matrix(Path(base), Path(base, f"case of {state}"), Extent(int(each), int(times)))
    for verdict in matrix.verdicts(state):
        print(json.dumps(asdict(verdict)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
