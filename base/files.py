"""Folders on any fsspec file system, with writes that are whole or not there.

Guarantee of `Folder.write`: a reader sees the old bytes or the new ones, never a part. On a local
disk that costs a temporary file, two fsyncs and a rename; on an object store it is one PUT.
"""

import errno
import hashlib
import io
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import IO, Any, cast

import fsspec
from fsspec.implementations.local import LocalFileSystem

from prewrite.base.errors import InputError, PrewriteError, ShardError
from prewrite.base.extras import missing

_STORAGE = ("botocore", "aiobotocore", "s3fs", "gcsfs", "adlfs", "aiohttp", "fsspec")
"""Libraries of object stores; they raise their own exceptions for missing keys and the like."""


class Folder:
    """A folder at an fsspec URL; names inside it are relative and use `/`. What is read and written
    lies in it, or in the folder `within` that it is a part of: ShardError for a link that leads
    out. The folder itself may be a link.
    """

    def __init__(self, url: str, within: str | None = None) -> None:
        # The root of a file system is written with slashes alone.
        self.url = url if re.fullmatch(r"([a-z0-9]+:)?/+", url) else url.rstrip("/")
        self.fs, self.root = resolve(self.url)
        self.is_local = isinstance(self.fs, LocalFileSystem)
        self._within = resolve(within)[1] if within else self.root

    def path(self, name: str) -> str:
        """The path of `name` for this folder's file system."""
        return f"{self.root.rstrip('/')}/{name}"

    def parent(self) -> tuple["Folder", str]:
        """The folder that this one lies in, and its name there."""
        above, _, name = self.root.rstrip("/").rpartition("/")
        return Folder(above or "/" if self.is_local else self.fs.unstrip_protocol(above)), name

    def read(self, name: str) -> bytes | None:
        """The bytes of `name`, or None when it does not exist."""
        with told_as(ShardError, f"{self.url}/{name}: cannot read"):
            try:
                if self.is_local:
                    with self.open(name) as stream:
                        return stream.read()
                # With a start, object stores are asked for the bytes and for nothing before that.
                return bytes(self.fs.cat_file(self.path(name), start=0))
            except FileNotFoundError:
                return None

    def open(self, name: str) -> IO[bytes]:
        """Open `name` to read it from its start; of a local disk as `opened` does."""
        self.refuse_outside(name)
        if self.is_local:
            return opened(self.path(name))
        stream: IO[bytes] = self.fs.open(self.path(name), "rb")
        return stream

    def open_at_random(self, name: str, size: int) -> IO[bytes]:
        """Open `name`, of `size` bytes, for reads here and there: what is read is asked for, each
        time, and nothing around it. OSError where it is shorter.
        """
        return self.open(name) if self.is_local else cast(IO[bytes], _Ranges(self, name, size))

    def refuse_outside(self, name: str) -> None:
        """ShardError where a link leads from `name` out of the folder; stores have no links."""
        if self.is_local and (real := leads_out(self.path(name), self._within)):
            raise ShardError(
                f"{self.url}/{name}: found a link to {real}, out of the folder; accepted: a file "
                "in it; copy it there"
            )

    def write(self, name: str, data: bytes) -> None:
        """Write `name` whole or not at all; see the module for the cost."""
        self.refuse_outside(os.path.dirname(name))
        with told_as(ShardError, f"{self.url}/{name}: cannot write"):
            if self.is_local:
                _write_local(Path(self.path(name)), data)
            else:
                self.fs.pipe_file(self.path(name), data)

    def exists(self, name: str) -> bool:
        """Whether there is a file or folder `name`, or a link that leads nowhere."""
        with told_as(ShardError, f"{self.url}/{name}: cannot read"):
            self.fs.invalidate_cache(self.path(name))
            there = os.path.lexists if self.is_local else self.fs.exists
            return bool(there(self.path(name)))

    def remove(self, name: str) -> None:
        """Delete a file or a folder with all it holds; nothing happens when there is none."""
        self.refuse_outside(os.path.dirname(name))
        if self.fs.exists(self.path(name)):
            self.fs.rm(self.path(name), recursive=True)

    def names(self, below: str = "") -> list[str]:
        """Every file in this folder, or in its folder `below`, at any depth, relative to it; one
        listing.
        """
        return sorted(self.sizes(below))

    def sizes(self, below: str = "") -> dict[str, int]:
        """The files that `names` lists, each with its bytes."""
        root = self.root.rstrip("/") + "/"
        with told_as(ShardError, f"{self.url}: cannot list"):
            self.fs.invalidate_cache(root + below)  # another process may have written since
            found = self.fs.find(root + below, detail=True)
        return {str(path).split(root, 1)[1]: info["size"] for path, info in found.items()}

    def sha256(self, name: str) -> str:
        """SHA-256 of the bytes of `name`, read in blocks of 8 MiB."""
        with self.open(name) as stream:
            return sha256_of(stream)


class _Ranges(io.RawIOBase):
    """A file of an object store; a read is one request."""

    def __init__(self, folder: Folder, name: str, size: int) -> None:
        super().__init__()
        self._fs, self._path, self._size, self._at = folder.fs, folder.path(name), size, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere."""
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        stop = self._size if size < 0 else min(self._at + size, self._size)
        if stop <= self._at:
            return b""
        data = bytes(self._fs.cat_file(self._path, start=self._at, end=stop))
        if len(data) < stop - self._at:
            raise OSError(f"it ends after {self._at + len(data)} of {self._size} bytes")
        self._at = stop
        return data

    def readinto(self, buffer: Any) -> int:
        """The next bytes, into a buffer."""
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)


def sha256_of(stream: IO[bytes]) -> str:
    """SHA-256 of what is left of a stream."""
    digest = hashlib.sha256()
    while block := stream.read(1 << 23):
        digest.update(block)
    return digest.hexdigest()


def leads_out(path: str | Path, folder: str | Path) -> str | None:
    """Where a local `path` leads, by links, if that is not in `folder`; None where it is."""
    real, root = os.path.realpath(path), os.path.realpath(folder)
    return None if f"{real}/".startswith(f"{root.rstrip('/')}/") else real


def opened(path: str | Path) -> IO[bytes]:
    """Open a local file to read. OSError also for a pipe, a socket or a device: a reader could wait
    there without an end.
    """
    kind = os.stat(path).st_mode
    if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
        raise OSError(
            errno.EINVAL, "found a pipe, a socket or a device; accepted: a file", str(path)
        )
    return open(path, "rb")


def resolve(url: str) -> tuple[Any, str]:
    """The fsspec file system of `url` and the path on it; InputError for an unknown one."""
    plain = "://" not in url.removeprefix("file://")
    if plain and (re.match(r"file://|[^:]*/", url) or os.path.lexists(url)):
        local = LocalFileSystem()  # fsspec takes colons in a path for file systems
        return local, local._strip_protocol(url)
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        unknown = InputError(f"{url}: cannot open this kind of location: {error}")
        raise missing(error.__cause__) or unknown from None
    return fs, str(path)


def version_of(info: Mapping[str, Any]) -> str | None:
    """What a store says of a file that changes with it: its ETag, or its time of change."""
    keys = ("ETag", "mtime", "LastModified", "updated")
    return next((str(info[key]) for key in keys if info.get(key)), None)


def of_storage(error: Exception) -> bool:
    """Whether an error is the storage's own: the system's, or that of an object store's library."""
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in _STORAGE


@contextmanager
def told_as(kind: type[PrewriteError], what: str) -> Iterator[None]:
    """Turn an error of the storage, once its library gives up, into a `kind` with one sentence."""
    try:
        yield
    except Exception as error:
        if isinstance(error, PrewriteError) or not of_storage(error):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise kind(f"{what}: {reason or type(error).__name__}") from None


def _write_local(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    publish(target.with_name(f".{target.name}.tmp-{os.getpid()}-{get_ident()}"), target, data)


def publish(temporary: Path, target: Path, data: bytes) -> None:
    """Write `data` to `temporary`, then rename that to `target`; both are on disk afterwards."""
    try:
        with open(temporary, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    sync(target.parent)


def sync(path: Path) -> None:
    """Put a file, or a folder's own entries, on disk: a rename is durable only after that."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
