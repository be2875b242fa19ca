"""Every kill of a command at every step, or at a sample of them, and what follows.

A state of `tests.faults.kill_states` is laid out, its command killed in a fork, and what is left
goes through each of `FOLLOWS` on a copy of its own. An outcome is `whole`; `detected`, where a
sentence said what is wrong and repair and the command then gave the whole; `clean` and `refused`
for another configuration; `left` where files were left over that no reader takes for rows; anything
else is a loss. What a repair, or another configuration, has not
changed is not looked at again. Costs some 200 ms a step.
"""

import functools
import itertools
import json
import random
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults import tiny
from tests.faults.apart import results
from tests.faults.forks import Ended, forked, make_ready
from tests.faults.kill_states import COMMANDS, SET, STATES, WHOLE, State, lay_out
from tests.faults.outcomes import Found, Truth, attempt, content
from tests.faults.steps import HALF, Point

GOOD = frozenset({"whole", "detected", "clean", "refused", "left", "same"})
REPAIRS = ("repair", "repair twice")
FOLLOWS = ("a reader", "the command", "another configuration", *REPAIRS)
"""What follows a kill of a run or of a repair; after a repair comes the command."""
WRITING = ("run", "merging", "repair")
"""The commands that write a set."""

PAIRS = [(state, second) for state in STATES for second in state.seconds]


@dataclass(frozen=True)
class Visit:
    """One kill, or two, and what came of it: the steps at which the commands died, what the last
    of these steps was, what followed, the outcome and its reason.
    """

    state: str
    points: tuple[str, ...]
    kind: str
    follow: str
    outcome: str
    why: str = ""

    @property
    def good(self) -> bool:
        return self.outcome in GOOD


class Enumeration:
    """Kills below `base`, where `laid_out` has made the states."""

    def __init__(self, base: Path, number: int = 0) -> None:
        self.base, self.work = base, base / f"work-{number}"
        self.truth = Truth.of(base / WHOLE / SET)
        self._of = dict[str, list[Point]]()
        self.exported = {
            name: (base / WHOLE / name).read_bytes() for name in ("best.jsonl", "best.parquet")
        }

    def singles(self, state: State, every: int, share: tuple[int, int]) -> Iterator[Visit]:
        """Of each `every` steps of a state's command one, see `_drawn`; of these each
        `share[1]`-th.
        """
        numbers = (_drawn(state, every, block) for block in itertools.count(*share))
        for point, ended, case in self._kills(self.base / state.name, state.command, numbers):
            visit = functools.partial(Visit, state.name, (str(point),), ended.kind)
            if ended.bug:
                yield visit("none", "traceback", ended.bug)
            before = point.number - 1
            known = before and _drawn(state, every, (before - 1) // every) == before
            if known and not ended.changed and not point.half:
                yield visit("as one step before", "same")
                continue
            for name, found in self._follow(state, case):
                yield visit(name, found.outcome, found.why)

    def pairs(self, state: State, second: str, share: tuple[int, int]) -> Iterator[Visit]:
        """Every `share[1]`-th point of the first command, then every one of the second, that differ
        in what they leave.
        """
        start, numbers = self.base / state.name, itertools.count(share[0] + 1, share[1])
        for first, ended, case in self._kills(start, state.command, numbers):
            if not ended.changed and not first.half:
                continue
            kept = self._copy(case, "kept")
            for point, again, twice in self._kills(kept, second, itertools.count(1)):
                if again.changed or point.half:
                    yield self._pair(state, second, (first, point), again, twice)

    def pair(self, draw: random.Random) -> Visit:
        """Two commands and a point of each, drawn."""
        state, second = draw.choice(PAIRS)
        start = self.base / state.name
        if state.name not in self._of:
            self._of[state.name] = self._points(start, state.command)
        first = draw.choice(self._of[state.name])
        self._kill(start, state.command, first)
        kept = self._copy(self.work / "case", "kept")
        points = self._points(kept, second)
        if not points:  # the second command finds nothing to do
            return self.pair(draw)
        point = draw.choice(points)
        again = self._kill(kept, second, point)
        return self._pair(state, second, (first, point), again, self.work / "case")

    def _pair(
        self, state: State, second: str, points: tuple[Point, Point], again: Ended, case: Path
    ) -> Visit:
        names = tuple(str(point) for point in points)
        if again.bug:
            return Visit(state.name, names, again.kind, second, "traceback", again.bug)
        found = self._then(case, (second, "run"), state)
        return Visit(state.name, names, again.kind, second, found.outcome, found.why)

    def _points(self, start: Path, command: str) -> list[Point]:
        """All points of a command."""
        case = self._copy(start, "case")
        kinds = forked(lambda: COMMANDS[command](case), case).kinds
        return [Point(n + 1, half) for n, kind in enumerate(kinds) for half in _halves(kind)]

    def _kills(
        self, start: Path, command: str, numbers: Iterable[int]
    ) -> Iterator[tuple[Point, Ended, Path]]:
        """Each point, how the command died there, and what it left; until one is beyond its end."""
        for number in numbers:
            ended = self._kill(start, command, Point(number))
            if ended.killed or ended.bug:
                yield Point(number), ended, self.work / "case"
            if not ended.killed:
                return
            if ended.kind == "write" and not ended.bug:
                half = Point(number, half=True)
                yield half, self._kill(start, command, half), self.work / "case"

    def _kill(self, start: Path, command: str, point: Point) -> Ended:
        case = self._copy(start, "case")
        return forked(lambda: COMMANDS[command](case), case, point)

    def _follow(self, state: State, case: Path) -> Iterator[tuple[str, Found]]:
        """All that may follow a kill, each from the same state of the folder."""
        yield "a reader", self._read(case, state)
        if _exports(state):
            yield "the command", self._then(case, (state.command,), state)
            return
        found = self._then(case, ("run",), state)
        left = len(set(tiny.asked) - {""})
        yield "the command", found
        yield "another configuration", self._other(case, state, left, found)
        for name in REPAIRS:
            mended = self._copy(case, name)
            _, ended = attempt(functools.partial(COMMANDS["repair"], mended))
            if ended and ended.outcome != "told":
                found = ended
            elif content(mended) != content(case):
                found = self._then(mended, ("run",), state)
            yield name, found  # a repair that changed nothing leaves what is known already
            case = mended

    def _then(self, case: Path, commands: tuple[str, ...], state: State) -> Found:
        """What a copy of `case` is worth after these commands, and if need be after a repair."""
        copy = self._copy(case, "copy")
        if (found := self._do(copy, commands)).outcome != "told":
            found = self._look(copy, state)
        if found.outcome != "told":
            return found
        mended = self._do(copy, ("repair", "run"))
        mended = self._look(copy, state) if mended.good else mended
        if mended.outcome in GOOD:
            return Found("detected", found.why)
        return Found("lost", f"{found.why}; after repair and command: {mended.why}")

    def _do(self, case: Path, commands: tuple[str, ...]) -> Found:
        """Run commands; what the first that failed said. A repair may find nothing to repair."""
        for command in commands:
            _, ended = attempt(functools.partial(COMMANDS[command], case))
            if ended and (command != "repair" or ended.outcome != "told"):
                return ended
        return Found("whole")

    def _other(self, case: Path, state: State, left: int, found: Found) -> Found:
        """Another configuration is refused, or begins where nothing was committed. found: what the
        command itself makes of the case.
        """
        copy = self._copy(case, "other")
        _, ended = attempt(lambda: COMMANDS["other"](copy))
        if ended and ended.outcome != "told":
            return ended
        if ended:
            if content(copy) != content(case):
                found = self._then(copy, ("run",), state)
            return Found("refused") if found.outcome in GOOD else found
        if left < tiny.DOCUMENTS:
            return Found("silent", f"it began over {tiny.DOCUMENTS - left} committed documents")
        found = self._look(copy, state)
        return Found("clean") if found.good else found

    def _look(self, case: Path, state: State) -> Found:
        found = self.truth.look(case / SET)
        return found if not found.good or not _exports(state) else self._exported(case, True)

    def _read(self, case: Path, state: State) -> Found:
        """What a reader finds after the kill: all, or a sentence."""
        if _exports(state):
            return self._exported(case, False)
        found = self.truth.read(case / SET)
        return Found("refused", found.why) if found.outcome == "told" else found

    def _exported(self, case: Path, done: bool) -> Found:
        """What is exported: the new file, or the older one before it is done."""
        name = next(name for name in self.exported if (case / name).exists())
        data = (case / name).read_bytes()
        more = [path.name for path in case.iterdir() if path.name not in (SET, name)]
        if data != self.exported[name] and (done or data != b"older"):
            return Found("silent", f"{name} holds {len(data)} other bytes")
        return Found("left", ", ".join(more)) if done and more else Found("whole")

    def _copy(self, folder: Path, name: str) -> Path:
        shutil.rmtree(self.work / name, ignore_errors=True)
        return Path(shutil.copytree(folder, self.work / name))


def _exports(state: State) -> bool:
    return state.command not in WRITING


def _halves(kind: str) -> tuple[bool, ...]:
    return (False, True) if kind == "write" else (False,)


def _drawn(state: State, every: int, block: int) -> int:
    """The step that is visited of the steps of one block, `every` in a row; the same each time."""
    return block * every + 1 + random.Random(f"{state.name} {block}").randrange(every)


def _work(base: Path, number: int, processes: int, every: int, pairs: int) -> Iterator[Visit]:
    """The share of one process. pairs: how many it draws; -1: all."""
    enumeration, share = Enumeration(base, number), (number, processes)
    for state in STATES:
        yield from enumeration.singles(state, every, share)
    if pairs < 0:
        for state, second in PAIRS:
            yield from enumeration.pairs(state, second, share)
    draw = random.Random(f"0-{number}")
    for _ in range(pairs):
        yield enumeration.pair(draw)


def visits(base: Path, processes: int, every: int = 1, pairs: int = -1) -> list[Visit]:
    """One of `every` steps of each command, and so many pairs (-1: all), shared by some processes,
    in `base`.
    """
    results("kill_points", ["lay out", base])
    each = pairs // processes if pairs > 0 else pairs
    calls = [["visit", base, number, processes, every, each] for number in range(processes)]
    found = results("kill_points", *calls)
    return [Visit(**{**one, "points": tuple(one["points"])}) for one in found]


def visited(found: Sequence[Visit], state: str) -> int:
    """The steps at which the command of a state was killed."""
    points = {one.points[0] for one in found if one.state == state and len(one.points) == 1}
    return sum(not point.endswith(HALF) for point in points)


def losses(found: Iterable[Visit], most: int = 20) -> list[str]:
    """Visits that did not end well, one of each kind, as lines."""
    bad: dict[tuple[str, ...], str] = {}
    for one in found:
        if not one.good:
            points = " then ".join(one.points)
            told = f"{one.state}, killed at step {points} ({one.kind}), then {one.follow}: "
            key = (one.state, one.follow, one.outcome, one.kind)
            bad.setdefault(key, f"{told}{one.outcome}: {one.why}")
    return list(bad.values())[:most]


def main(what: str, base: str, *numbers: str) -> None:
    """One process of `visits`."""
    make_ready()
    tiny.without_worker_pools()
    if what == "lay out":
        lay_out(Path(base))
        return
    number, processes, every, pairs = map(int, numbers)
    for visit in _work(Path(base), number, processes, every, pairs):
        print(json.dumps(asdict(visit)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
