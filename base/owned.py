"""A folder that one run owns: what it writes after another run has taken over changes nothing.

A process may sleep for an hour between any two of its instructions, so a look at the lock before a
write proves nothing; the write itself has to fail. On a local disk every file of an owner is made
in its `scratch` folder and renamed from there. The next owner removes that folder first, so a late
rename finds no source. On S3 a file with a fixed name is replaced only if it is still the version
that this owner has seen (`IfMatch`). Other stores have no such write: there the lock is looked at
right before, which leaves the time of one request. Files with names of their own need none of this:
a late one is named by no record that counts.
"""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from uuid import uuid4

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder, publish, sync, told_as
from prewrite.base.whole import written

_LARGEST = 64 << 20  # bytes of a conditional write; a larger file goes in pieces, without one


class OwnedFolder(Folder):
    """The folder at `url` while one run owns it. scratch: name of the owner's folder in it; owner:
    that run, as names of files have it.

    Picklable, so that worker processes write as the owner that sent them.
    """

    def __init__(self, url: str, scratch: str, owner: str) -> None:
        super().__init__(url)
        self.scratch, self.owner = scratch, owner
        self._versions: dict[str, str | None] = {}
        self._check: Callable[[], None] | None = None

    def __reduce__(self) -> tuple[type["OwnedFolder"], tuple[str, str, str]]:
        """Conditional writes are those of the process that holds the lock."""
        return OwnedFolder, (self.url, self.scratch, self.owner)

    @property
    def is_s3(self) -> bool:
        """Whether files are replaced by conditional writes."""
        return "s3" in self.fs.protocol

    def watch(self, names: Iterable[str], check: Callable[[], None]) -> None:
        """From now on replace these files only as this owner has seen them. check: raises where
        the lock is absent or another's; called before every change on a local disk, and before
        these files on a store that has no conditional writes.
        """
        self._check = check
        for name in names if not self.is_local else ():
            self._versions[name] = self._version(name) if self.is_s3 else None

    def write(self, name: str, data: bytes) -> None:
        """Write `name` whole or not at all; ShardError where this run owns the folder no more."""
        if self.is_local:
            self._look()
            self.refuse_outside(os.path.dirname(name))
            self._publish(name, data)
        elif name in self._versions and len(data) <= _LARGEST and self.is_s3:
            self._replace(name, data)
        else:
            if name in self._versions:
                self._look()
            super().write(name, data)

    @contextmanager
    def writing(self, name: str) -> Iterator[IO[bytes]]:
        """A stream whose bytes are the new file `name` once the block has ended without an error:
        for what is too large for `write`. ShardError where this run owns the folder no more.
        """
        if not self.is_local:
            with written(f"{self.url}/{name}") as stream:
                yield stream
            return
        self._look()
        self.refuse_outside(os.path.dirname(name))
        target, temporary = Path(self.path(name)), self._temporary()
        with told_as(ShardError, f"{self.url}/{name}: cannot write"):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with open(temporary, "wb") as stream:
                    yield stream
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(temporary, target)
            except FileNotFoundError:
                self._refuse_if_lost()
                raise
            finally:
                temporary.unlink(missing_ok=True)
            sync(target.parent)

    def remove(self, name: str) -> None:
        """Delete a file or a folder with all it holds; nothing happens when there is none."""
        if not self.is_local:
            super().remove(name)
            return
        self._look()
        self.refuse_outside(os.path.dirname(name))
        condemned = self._temporary()
        try:
            os.rename(self.path(name), condemned)
        except FileNotFoundError:
            self._refuse_if_lost()
            return
        if condemned.is_dir() and not condemned.is_symlink():
            shutil.rmtree(condemned, ignore_errors=True)
        else:
            condemned.unlink(missing_ok=True)

    def refuse_if_lost(self) -> None:
        """Raise where this run is seen to own the folder no more."""
        self._look()

    def lost(self) -> ShardError:
        """The error of a run that owns this folder no more."""
        return ShardError(
            f"{self.url}: another run has taken this folder over; this one writes nothing more"
        )

    def _look(self) -> None:
        """Raise where the lock is seen to be lost: sooner than a write fails, and where a person
        removed it.
        """
        if self._check:
            self._check()

    def _publish(self, name: str, data: bytes) -> None:
        target = Path(self.path(name))
        with told_as(ShardError, f"{self.url}/{name}: cannot write"):
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                publish(self._temporary(), target, data)
            except FileNotFoundError:
                self._refuse_if_lost()
                raise

    def _temporary(self) -> Path:
        return Path(self.path(self.scratch), uuid4().hex)

    def _refuse_if_lost(self) -> None:
        if not Path(self.path(self.scratch)).is_dir():
            raise self.lost() from None

    def _replace(self, name: str, data: bytes) -> None:
        """A conditional PUT. One that was stored although its answer was lost is found by its
        digest, for the library then tries again.
        """
        seen = self._versions[name]
        condition = {"IfMatch": seen} if seen else {"IfNoneMatch": "*"}
        with told_as(ShardError, f"{self.url}/{name}: cannot write"):
            try:
                self._versions[name] = self.fs.pipe_file(self.path(name), data, **condition)["ETag"]
            except OSError as error:
                if not _is_refused(error):
                    raise
                found = self._version(name)
                if found != f'"{hashlib.md5(data).hexdigest()}"':
                    raise self.lost() from None
                self._versions[name] = found

    def _version(self, name: str) -> str | None:
        with suppress(FileNotFoundError):
            self.fs.invalidate_cache(self.path(name))
            return str(self.fs.info(self.path(name))["ETag"])
        return None


def _is_refused(error: OSError) -> bool:
    """Whether a store says that the condition of a write does not hold."""
    return isinstance(error, FileExistsError | FileNotFoundError) or "pre-condition" in str(error)
