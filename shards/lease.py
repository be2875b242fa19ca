"""One run an output: `lock.json` in its folder says which process of which machine writes there.

Works on any file system, without a server. A lock of this machine is stale when its process is
gone. One of another machine is watched: its run counts up in it every `BEAT` seconds, so it is
stale when nothing changed for `SILENT` seconds; clocks are not compared. On a local disk exactly
one run takes a free lock. On an object store, and where a stale one is taken over, each run writes,
waits for `SETTLE` seconds and looks whose lock it is: two that begin at the same moment are told
apart unless a write takes longer than that. A run that finds another's lock in place of its own
(it had slept, or lost the network) commits and ends.
"""

import errno
import json
import os
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

from base.cli import console
from base.errors import ShardError
from base.files import Folder

NAME = "lock.json"
BEAT, SILENT, SETTLE = 10.0, 60.0, 1.0  # seconds


@dataclass(frozen=True)
class Holder:
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

    def is_gone(self) -> bool | None:
        """Whether its process has ended; None: it is not one that can be seen from here."""
        return _started(self.pid) != self.started if self.space == _space() else None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


class Lease:
    """Holds the lock of `folder` while it is entered; ShardError when another run does."""

    def __init__(self, folder: Folder) -> None:
        self.folder, self.mine = folder, Holder.me()
        self._end = threading.Event()
        self._lost: Holder | None = None
        self._heart = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Self:
        found = self._found()
        if found and not self._is_stale(found):
            raise self._refusal(found)
        if found or not self._create():
            self._write()
            time.sleep(SETTLE)
            found = self._found()
            if found is None or found.token != self.mine.token:
                raise self._refusal(found)
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
        if self._lost:
            raise self._refusal(self._lost) from None
        self.folder.remove(NAME)

    def _found(self) -> Holder | None:
        data = self.folder.read(NAME)
        try:
            return Holder(**json.loads(data)) if data is not None else None
        except (ValueError, TypeError):
            raise ShardError(
                f"{self.folder.url}/{NAME}: damaged; remove it if no run is writing here"
            ) from None

    def _is_stale(self, found: Holder) -> bool:
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

    def _refusal(self, holder: Holder | None) -> ShardError:
        who = f" ({holder})" if holder else ""
        return ShardError(f"{self.folder.url}: another run is writing here{who}; wait for it")

    def _create(self) -> bool:
        """Take a free lock on a local disk; False: not local, or another run was faster."""
        if not self.folder.is_local:
            return False
        path = Path(self.folder.path(NAME))
        path.parent.mkdir(parents=True, exist_ok=True)
        mine = path.with_name(f".{NAME}.tmp-{self.mine.token}")
        try:
            mine.write_bytes(self._data())
            os.link(mine, path)  # fails where the name exists, and the content comes with it
        except FileExistsError:
            raise self._refusal(self._found()) from None
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            return False  # a file system without links
        finally:
            mine.unlink(missing_ok=True)
        return True

    def _beat(self) -> None:
        """Count up; end the run when the lock is another's."""
        while not self._end.wait(BEAT):
            with suppress(Exception):  # a store that is away for a while; the run itself will tell
                found = self._found()
                if found and found.token != self.mine.token:
                    self._lost = found
                    os.kill(os.getpid(), signal.SIGTERM)
                    return
                self.mine = replace(self.mine, beat=self.mine.beat + 1)
                self._write()

    def _write(self) -> None:
        self.folder.write(NAME, self._data())

    def _data(self) -> bytes:
        return json.dumps(asdict(self.mine)).encode()


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
