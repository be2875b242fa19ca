"""One run an output: `lock.json` in `_prewrite/` says which process of which machine writes there.

Works on any file system, without a server. A lock of this machine is stale when its process is
gone. One of another machine is watched: its run counts up in it every `BEAT` seconds, so it is
stale when nothing changed for `SILENT` seconds; clocks are not compared. On a local disk and on S3
exactly one run takes a free lock. Elsewhere, and where a stale one is taken over on a disk, each
run writes, waits for `SETTLE` seconds and looks whose lock it is.

A run that was taken for dead may wake (a suspended machine, a frozen container) between any two of
its instructions. So a run writes through `OutputLock.folder`, in which a late write fails
(`base.owned`); on a local disk a run that takes over removes what the earlier one writes from. A
run that finds its lock absent or another's ends, and commits nothing.
"""

import errno
import json
import os
import shutil
import signal
import socket
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from prewrite.base.cli import console
from prewrite.base.errors import ShardError
from prewrite.base.files import Folder, told_as
from prewrite.base.owned import OwnedFolder
from prewrite.base.text import one_line
from prewrite.shards.names import FIXED, LOCK, OWNER, SCRATCH, is_scratch

BEAT, SILENT, SETTLE = 10.0, 60.0, 1.0  # seconds
_GONE = f"{SCRATCH}gone-"


@dataclass(frozen=True)
class LockHolder:
    """Who holds a lock. space: the machine, since its start, and what its process ids count in;
    started: when the process did, in the kernel's ticks, because ids are used again.
    """

    host: str
    pid: int
    space: str
    started: str
    since: str
    token: str
    beat: int = 0

    @classmethod
    def me(cls) -> Self:
        """This process."""
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        pid, token = os.getpid(), uuid.uuid4().hex
        return cls(socket.gethostname(), pid, _space(), _started(pid), f"{since} UTC", token)

    @classmethod
    def read(cls, data: bytes) -> Self:
        """Of what a lock holds; ValueError or TypeError where that is something else."""
        found = cls(**json.loads(data))
        if type(found.pid) is not int:
            raise TypeError(f"pid: {found.pid!r}")
        return found

    def is_gone(self) -> bool | None:
        """Whether its process has ended; None: it is not one that can be seen from here."""
        return _started(self.pid) != self.started if self.space == _space() else None

    def __str__(self) -> str:
        pid, host, since = (one_line(str(t), 80) for t in (self.pid, self.host, self.since))
        return f"process {pid} on {host}, since {since}"


class OutputLock:
    """Holds the lock of `folder` while it is entered; ShardError when another run does.

    folder: what the holder writes through. name: of the lock, where one of many tasks of a run
    holds it; owner: then that run, as names of files have it.
    """

    def __init__(self, folder: Folder, name: str = LOCK, owner: str | None = None) -> None:
        self.name, self.mine = name, LockHolder.me()
        self._others = SCRATCH if owner is None else f"{SCRATCH}{Path(name).stem}-"
        token = self.mine.token
        self.folder = OwnedFolder(folder.url, self._others + token, owner or token[:OWNER])
        self._fixed = FIXED if owner is None else ()
        self._end = threading.Event()
        self._lost = False
        self._heart = threading.Thread(target=self._beat, name="output lock", daemon=True)

    @property
    def scratch(self) -> Path | None:
        """On a local disk, where this run makes files before it renames them."""
        local = self.folder.is_local
        return Path(self.folder.path(self.folder.scratch)) if local else None

    def below(self, name: str) -> OwnedFolder:
        """A folder in this one, which the same run owns. Call it while the lock is held."""
        mine = self.folder
        inner = OwnedFolder(f"{mine.url}/{name}", f"../{mine.scratch}", mine.owner)
        inner.watch(FIXED, self._refuse_if_lost)
        return inner

    def __enter__(self) -> Self:
        if self.folder.is_s3:
            self.folder.watch([self.name], self._refuse_if_lost)
        found = self._found()
        if found and not self._is_stale(found):
            raise self._refusal(found)
        try:
            with told_as(ShardError, f"{self.folder.url}/{self.name}: cannot write"):
                if self.scratch:
                    self.scratch.mkdir(parents=True)
                self._take(free=found is None)
            self.folder.watch(self._fixed, self._refuse_if_lost)
        except BaseException:
            self._remove_scratch()
            raise
        self._heart.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._heart.join()
        try:
            if self._lost or not self._is_mine():
                raise self._refusal(self._found()) from None
            self.folder.remove(self.name)
        finally:
            self._remove_scratch()

    def _take(self, free: bool) -> None:
        """Make the lock this run's, and every earlier holder unable to write."""
        if self.folder.is_s3:
            try:
                self._write()
            except ShardError:
                raise self._refusal(self._found()) from None
        elif not (free and self._create()):
            self._write()
            time.sleep(SETTLE)
        self._refuse_if_lost()
        if self.scratch:
            for other in self._owners(self._others):
                if other != self.scratch:
                    _remove_tree(other)
            for left in self._owners(_GONE):  # by a removal that was killed
                shutil.rmtree(left, ignore_errors=True)
            self._refuse_if_lost()

    def _owners(self, prefix: str) -> list[Path]:
        """The folders of owners on a local disk; those of others are left alone."""
        beside = self.scratch.parent.iterdir() if self.scratch else ()
        return [path for path in beside if is_scratch(path.name, prefix) and path.is_dir()]

    def _is_mine(self) -> bool:
        found = self._found()
        return found is not None and found.token == self.mine.token

    def _refuse_if_lost(self) -> None:
        if not self._is_mine():
            raise self._refusal(self._found())

    def _found(self) -> LockHolder | None:
        data = self.folder.read(self.name)
        if data is None and self.folder.is_local and os.path.islink(self.folder.path(self.name)):
            raise ShardError(
                f"{self.folder.url}/{self.name}: found a link that leads nowhere; accepted: a lock "
                "of a run, or none; remove it"
            )
        try:
            return LockHolder.read(data) if data is not None else None
        except (ValueError, TypeError, RecursionError):
            raise ShardError(
                f"{self.folder.url}/{self.name}: damaged; remove it if no run is writing here"
            ) from None

    def _is_stale(self, found: LockHolder) -> bool:
        """Whether the run of `found` has ended; waits for its next beat where that is not known."""
        gone = found.is_gone()
        if gone is not None:
            return gone
        console.print(f"{self.folder.url}: waiting for a sign of {found}", soft_wrap=True)
        end = time.monotonic() + SILENT
        while time.monotonic() < end:
            time.sleep(min(1.0, SILENT))
            if self._found() != found:
                return self._found() is None
        return True

    def _refusal(self, holder: LockHolder | None) -> ShardError:
        if holder is None:
            return ShardError(
                f"{self.folder.url}: this run has lost {self.name}: another one took it over, or "
                "it was removed"
            )
        return ShardError(f"{self.folder.url}: another run is writing here ({holder}); wait for it")

    def _create(self) -> bool:
        """Take a free lock on a local disk; False: not local, or a disk without links."""
        if not self.scratch:
            return False
        mine, target = self.scratch / Path(self.name).name, Path(self.folder.path(self.name))
        try:
            mine.write_bytes(self._data())
            target.parent.mkdir(exist_ok=True)
            os.link(mine, target)  # fails where the name exists
        except (FileExistsError, FileNotFoundError):
            raise self._refusal(self._found()) from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            return False
        finally:
            mine.unlink(missing_ok=True)
        return True

    def _beat(self) -> None:
        """Count up; end the run when the lock is not this run's any more."""
        while not self._end.wait(BEAT):
            with suppress(Exception):  # a store that is away for a while; the run itself will fail
                if not self._is_mine():
                    self._lost = True
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                self.mine = replace(self.mine, beat=self.mine.beat + 1)
                self._write()

    def _write(self) -> None:
        self.folder.write(self.name, self._data())

    def _data(self) -> bytes:
        return json.dumps(asdict(self.mine)).encode()

    def _remove_scratch(self) -> None:
        if self.scratch:
            _remove_tree(self.scratch)


def _remove_tree(folder: Path) -> None:
    """Make a run unable to write, at once: its folder goes under another name first."""
    condemned = folder.with_name(f"{_GONE}{uuid.uuid4().hex}")
    with suppress(FileNotFoundError):
        os.rename(folder, condemned)
        shutil.rmtree(condemned, ignore_errors=True)


def _space() -> str:
    """What a process id means something in: a start of a kernel, and a name space in it."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return f"{boot} {os.readlink('/proc/self/ns/pid')}"


def _started(pid: int) -> str:
    """When a process started, empty when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    state, *rest = stat.rpartition(")")[2].split()
    return "" if state == "Z" else rest[18]
