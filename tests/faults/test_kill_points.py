"""No kill of a command costs a row: at one of each four steps in a row, drawn, and at 20 pairs of
steps. `python -m benchmarks faults` visits all of them.
"""

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.faults import trace
from tests.faults.apart import scratch
from tests.faults.forks import forked
from tests.faults.kill_points import FOLLOWS, WRITING, Visit, losses, visited, visits
from tests.faults.kill_states import STATES
from tests.faults.steps import Point

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

EVERY, PAIRS, PROCESSES = 4, 20, 2
NAMES = [state.name for state in STATES]
WRITES = [state.name for state in STATES if state.command in WRITING]


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    with scratch() as folder:
        yield Path(folder, "kills")


@pytest.fixture(scope="module")
def found(base: Path) -> list[Visit]:
    base.mkdir()
    return visits(base, PROCESSES, EVERY, PAIRS)


@pytest.mark.parametrize("state", NAMES)
def test_a_kill_costs_no_row(found: list[Visit], state: str) -> None:
    """Whatever follows: the command, a repair or two, another configuration, a reader."""
    mine = [one for one in found if one.state == state and len(one.points) == 1]
    assert not (bad := losses(mine)), "\n".join(bad)
    follows = {"a reader", "the command"}
    if state in WRITES:
        follows |= {*FOLLOWS}
    assert {one.follow for one in mine} >= follows


def test_two_kills_cost_no_row(found: list[Visit]) -> None:
    """The command, or a repair, is killed at one step; it is started again, and killed again."""
    pairs = [one for one in found if len(one.points) == 2]
    assert len(pairs) == PAIRS
    assert not (bad := losses(pairs)), "\n".join(bad)


@pytest.mark.parametrize("state", WRITES)
def test_nothing_is_left_over(found: list[Visit], state: str) -> None:
    """A complete set holds nothing else, not even what no reader takes for rows."""
    left = [one for one in found if one.state == state and one.outcome == "left"]
    assert [f"{one.points}: {one.follow}: {one.why}" for one in left] == []


@pytest.mark.skipif(not trace.available(), reason="there is no strace that may trace")
def test_no_step_is_passed_by(found: list[Visit], base: Path) -> None:
    """The system calls of the same commands, by strace: Python saw each, and visited its part."""
    for state, (seen, calls) in trace.traced(base).items():
        assert trace.missed(seen, calls) == [], state
        assert visited(found, state) >= sum(calls.values()) // EVERY > 0, state


def test_a_step_that_python_does_not_make_is_missed() -> None:
    """What strace prints of a library's own writing is counted, and missed."""
    lines = [
        '7 openat(AT_FDCWD</work>, "/base/run/a", O_WRONLY|O_CREAT, 0666) = 3</base/run/a>',
        '7 openat(AT_FDCWD</work>, "/base/run/a", O_RDONLY) = 3</base/run/a>',
        '7 write(3</base/run/a>, ""..., 5 <unfinished ...>',
        "7 <... write resumed>) = 5",
        '[pid 8] unlinkat(4</base/run>, "b", 0) = 0',
        '8 unlinkat(4</base/run>, "c", AT_REMOVEDIR) = 0',
        '8 rename("/base/finish/d", "/elsewhere") = 0',
        '8 rename("/elsewhere", "/base/finish/d") = -1 ENOENT (No such file or directory)',
        "8 fsync(5</base/finish>) = 0",
        "8 fsync(5</basement/finish>) = 0",
    ]
    calls = trace.counted(lines, "/base")
    assert calls["run"] == {"open": 1, "write": 1, "unlink": 1, "rmdir": 1}
    assert calls["finish"] == {"rename": 2, "fsync": 1}
    seen = calls["run"].copy()
    seen["write"] -= 1
    assert trace.missed(seen, calls["run"]) == ["write: 0 of 1"]


def _change(folder: Path) -> None:
    """One of each kind of step but fsync."""
    (folder / "new").mkdir()
    with open(folder / "new/a", "w") as stream:
        stream.write("text")
    os.link(folder / "new/a", folder / "b")
    os.replace(folder / "b", folder / "c")
    os.truncate(folder / "c", 1)
    (folder / "new/a").unlink()
    (folder / "new").rmdir()
    (folder.parent / f"{folder.name}-beside").touch()  # not below the folder


LEFT = [
    {},
    {"new": None},
    {"new": None, "new/a": ""},
    {"new": None, "new/a": "text"},
    {"new": None, "new/a": "text", "b": "text"},
    {"new": None, "new/a": "text", "c": "text"},
    {"new": None, "new/a": "t", "c": "t"},
    {"new": None, "c": "t"},
    {"c": "t"},
]
"""What is in the folder before each step, and at the end."""


def _content(folder: Path) -> dict[str, str | None]:
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
    }


def test_a_process_dies_at_the_step_that_it_is_told(tmp_path: Path) -> None:
    kinds = ["mkdir", "open", "write", "link", "rename", "truncate", "unlink", "rmdir"]
    for number, left in enumerate(LEFT, 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        ended = forked(partial(_change, folder), folder, Point(number))
        assert _content(folder) == left
        assert ended.killed == (number < len(LEFT)) and not ended.bug
        assert ended.kind == (kinds[number - 1] if ended.killed else "")
    assert ended.kinds == kinds
    (tmp_path / "half").mkdir()
    forked(partial(_change, tmp_path / "half"), tmp_path / "half", Point(3, half=True))
    assert _content(tmp_path / "half") == {"new": None, "new/a": "te"}


def test_how_a_fork_ended(tmp_path: Path) -> None:
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    assert forked(lambda: [1, "a"]).value == [1, "a"]
    assert forked(kill).bug == "died of signal 11"
    assert "ZeroDivisionError" in forked(lambda: 1 / 0).bug
    assert forked((tmp_path / "none").read_text).sentence.endswith("No such file or directory")
    assert forked(signal.pause, limit=0.1).bug == "no end within 0.1 s"
