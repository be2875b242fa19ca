"""One run an output: who holds the lock, and when it is stale."""

import errno
import json
import subprocess
import sys
import threading
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.shards import lock
from prewrite.shards.lock import LockHolder, OutputLock
from prewrite.shards.names import LOCK as NAME


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("BEAT", 0.05), ("SILENT", 0.6), ("SETTLE", 0.1)):
        monkeypatch.setattr(lock, name, seconds)


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    """A local folder, and one of a file system without renames and links."""
    store = f"memory://lease-{tmp_path.name}"
    return Folder(str(tmp_path / "set") if request.param == "disk" else store)


def put(folder: Folder, holder: LockHolder) -> None:
    folder.write(NAME, json.dumps(asdict(holder)).encode())


def elsewhere() -> LockHolder:
    """A holder of another machine."""
    return replace(LockHolder.me(), host="other", space="another kernel", pid=1)


def ended_process() -> LockHolder:
    """A holder of this machine whose process was killed."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    holder = replace(LockHolder.me(), pid=child.pid, started=lock._started(child.pid))
    assert holder.is_gone() is False
    child.kill()
    child.communicate()
    return holder


def test_a_second_run_is_refused_until_the_first_ends(folder: Folder) -> None:
    with (
        OutputLock(folder),
        pytest.raises(ShardError, match=r"another run .*process \d+ on .*UTC\); wait for it"),
        OutputLock(folder),
    ):
        pass
    with OutputLock(folder):
        assert folder.names() == [NAME]
    assert NAME not in folder.names()


def test_a_killed_run_does_not_lock(folder: Folder) -> None:
    put(folder, ended_process())
    with OutputLock(folder) as held:
        found = folder.read(NAME)
        assert found and json.loads(found)["token"] == held.mine.token


def test_a_process_id_that_is_used_again_does_not_lock(folder: Folder) -> None:
    put(folder, replace(LockHolder.me(), started="1"))
    with OutputLock(folder):
        pass


def test_a_silent_run_of_another_machine_is_taken_over(folder: Folder) -> None:
    put(folder, elsewhere())
    with OutputLock(folder):
        pass


def test_a_living_run_of_another_machine_is_refused(folder: Folder) -> None:
    holder, stop = elsewhere(), threading.Event()

    def live() -> None:
        beat = 0
        while not stop.wait(0.05):
            beat += 1
            put(folder, replace(holder, beat=beat))

    put(folder, holder)
    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(ShardError, match="process 1 on other"), OutputLock(folder):
            pass
    finally:
        stop.set()
        thread.join()


def test_what_a_lock_of_another_machine_says_is_made_fit_to_be_shown(
    folder: Folder, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile = "\x1b[31m[/red]\nerror: " + "x" * 5000
    found = replace(elsewhere(), host=hostile, since=hostile)
    put(folder, found)
    with OutputLock(folder):
        pass
    (line,) = capsys.readouterr().err.splitlines()
    assert "\x1b" not in line and "[/red]" in line and len(line) < 500 + len(folder.url)
    assert "\x1b" not in str(found) and "\n" not in str(found) and len(str(found)) < 300


def test_of_two_that_take_over_one_wins(folder: Folder) -> None:
    put(folder, ended_process())
    held, refused = [], []
    start, over = threading.Barrier(4), threading.Event()

    def take() -> None:
        start.wait()
        try:
            with OutputLock(folder) as mine:
                held.append(mine)
                over.wait()
        except ShardError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(held) + len(refused) < 4:
        time.sleep(0.01)
    over.set()
    for thread in threads:
        thread.join()
    assert len(held) == 1 and len(refused) == 3


def test_a_run_whose_lock_was_taken_ends(folder: Folder) -> None:
    """As after a sleep: SIGTERM comes, and what it does is not taken for an interruption."""
    from prewrite.base.cli import ending

    def run() -> None:
        with OutputLock(folder):
            put(folder, elsewhere())
            threading.Event().wait(20)

    assert ending(run) == 1
    found = folder.read(NAME)
    assert found and json.loads(found)["host"] == "other"


def with_pid(pid: object) -> bytes:
    return json.dumps(asdict(LockHolder.me()) | {"pid": pid}).encode()


DAMAGED = {
    "empty": b"{}",
    "deep": b"[" * 100_000,
    "pid with NUL": with_pid("1\0"),
    "pid of a path": with_pid("self/../1"),
    "pid half a character": with_pid("\ud800"),
    "pid a fraction": with_pid(1.5),
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_lock_is_one_sentence(folder: Folder, data: bytes) -> None:
    folder.write(NAME, data)
    with pytest.raises(ShardError, match=r"lock.json: damaged; remove it"), OutputLock(folder):
        pass


def test_a_disk_without_room_for_the_lock_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with (
        pytest.raises(ShardError, match="lock.json: cannot write: No space left"),
        OutputLock(Folder(str(tmp_path))),
    ):
        pass
    assert not list(tmp_path.iterdir())
