"""Every kind of file of a shard set, damaged in every way, and all that may be done with the set.

The files are found by listing, and what each is, by what it holds. The set is whole, or what a
killed run has left, or one under repair.
"""

import io
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from shards.repair import repair
from tests.faults import tiny
from tests.faults.damage import Verdict, damages, put
from tests.faults.forks import forked
from tests.faults.kill_states import COMMANDS, SET, STATES, WHOLE, lay_out
from tests.faults.outcomes import Found, Truth, attempt

_KILLED, _REPAIRED = "resume", "redo"
KINDS = {
    WHOLE: {"manifest", "part", "judgements", "commits.jsonl", "skipped.jsonl", "card"},
    _KILLED: {"manifest", "part", "judgements", "record", "mark", "lock"},
    _REPAIRED: {"manifest", "part", "judgements", "commits.jsonl"},
}
"""The kinds of file that must be found in each state of a set."""

_KEYS = {
    "manifest": ("passes", "inputs"),
    "record": ("split", "documents"),
    "lock": ("host", "pid"),
    "mark": ("committed", "stop"),
    "skipped.jsonl": ("line", "reason"),
}
"""Words in quotes that a JSON file of each kind holds; the first kind that fits is it."""


def kind(path: Path) -> str:
    """What a file of a set is; `other` where that cannot be said."""
    data = path.read_bytes()
    if data.startswith(b"PAR1"):
        columns = pq.read_schema(io.BytesIO(data)).names
        return "part" if "original" in columns else "judgements"
    if path.suffix == ".md":
        return "card"
    fits = (k for k, keys in _KEYS.items() if all(f'"{key}":'.encode() in data for key in keys))
    found = next(fits, "other")
    return path.name if found == "record" and path.suffix == ".jsonl" else found


def files(folder: Path) -> dict[str, list[Path]]:
    """The files of a set by kind, in the order of their names."""
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found.setdefault(kind(path), []).append(path)
    return found


class Matrix:
    """The damage matrix of sets that are made below `base`. each: files of a kind that are damaged
    (the first ones); times: how often what is drawn is drawn.
    """

    def __init__(self, base: Path, each: int, times: int) -> None:
        self.base, self.each, self.times = base, each, times
        states = [state for state in STATES if state.name in KINDS]
        for name in ("new", "old"):
            lay_out(base / name, states)
        self.truth = Truth.of(base / "new" / WHOLE / SET)
        self.rows = tiny.exactly(str(base / "new" / WHOLE / SET))

    def verdicts(self, state: str) -> Iterator[Verdict]:
        """All damages to the files of a set in one state, and all its uses."""
        before = self.base / "new" / state / SET
        for name, paths in files(before).items():
            for number, path in enumerate(paths[: self.each]):
                place = path.relative_to(before)
                seed = f"{state} {place.suffix} {name} {number}"
                others = self._others(state, name, number)
                for damage, data in damages(path.read_bytes(), others, seed, self.times):
                    for use, found in self._uses(state, place, data):
                        yield Verdict(
                            f"set, {_TOLD[state]}", name, str(place), damage, use, *_verdict(found)
                        )

    def _others(self, state: str, name: str, number: int) -> dict[str, bytes]:
        """Files of a kind that one is exchanged with."""
        mine = files(self.base / "new" / state / SET)[name]
        old = files(self.base / "old" / state / SET).get(name, [])
        others = {"another of the set": p for p in mine[:number] + mine[number + 1 :][:1]}
        others |= {"that of an older run": path for path in old[number : number + 1]}
        if name == "manifest":
            others |= {
                f"that of the set {_TOLD[other]}": self.base / "new" / other / SET / mine[0].name
                for other in KINDS
                if other != state
            }
        return {told: path.read_bytes() for told, path in others.items()}

    def _uses(self, state: str, place: Path, data: bytes | None) -> list[tuple[str, Found]]:
        """Every use of a set in which a file was damaged, each of a copy of its own."""

        def all_of_them() -> list[tuple[str, str, str]]:
            found = []
            for use, call in _USES.items():
                if state == WHOLE or use not in _OF_WHOLE:
                    case = self._damaged(state, place, data)
                    one = call(self, case)
                    found.append((use, one.outcome, one.why))
            return found

        ended = forked(all_of_them)
        if ended.bug or ended.sentence:
            return [("any", Found("traceback", ended.bug or ended.sentence))]
        return [(use, Found(outcome, why)) for use, outcome, why in ended.value]

    def _damaged(self, state: str, place: Path, data: bytes | None) -> Path:
        case = self.base / "case"
        shutil.rmtree(case, ignore_errors=True)
        shutil.copytree(self.base / "new" / state, case)
        put(case / SET / place, data)
        return case

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
        return ended or self.truth.look(case / SET)

    def repair(self, case: Path) -> Found:
        """`verify --repair`, then the command; what the repair says counts as a sentence."""
        said, ended = attempt(lambda: repair(str(case / SET)))
        if ended and ended.outcome == "traceback":
            return ended
        found = self.command(case)
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
_TOLD = {WHOLE: "whole", _KILLED: "of a killed run", _REPAIRED: "under repair"}


def _meaning(folder: Path) -> dict[str, object]:
    """What each file of a set says; how JSON is laid out does not matter."""
    return {str(path.relative_to(folder)): _of(path.read_bytes()) for path in sorted(folder.rglob("*.*"))}


def _of(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return data


def _verdict(found: Found) -> tuple[str, str]:
    names = {"whole": "harmless", "left": "harmless", "told": "detected"}
    return names.get(found.outcome, found.outcome), found.why
