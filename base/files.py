"""Folders on any fsspec file system, with writes that are whole or not there.

Guarantee of `Folder.write`: a reader sees the old bytes or the new ones, never a part. On a local
disk that costs a temporary file, two fsyncs and a rename; on an object store it is one PUT.
"""

import hashlib
import os
from pathlib import Path
from threading import get_ident
from typing import IO, Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from base.errors import InputError, ShardError


class Folder:
    """A folder at an fsspec URL; names inside it are relative and use `/`."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.fs, self.root = resolve(self.url)
        self.is_local = isinstance(self.fs, LocalFileSystem)

    def path(self, name: str) -> str:
        """The path of `name` for this folder's file system."""
        return f"{self.root.rstrip('/')}/{name}"

    def read(self, name: str) -> bytes | None:
        """The bytes of `name`, or None when it does not exist."""
        try:
            return bytes(self.fs.cat_file(self.path(name)))
        except FileNotFoundError:
            return None

    def open(self, name: str) -> IO[bytes]:
        """Open `name` for random access reads."""
        stream: IO[bytes] = self.fs.open(self.path(name), "rb")
        return stream

    def write(self, name: str, data: bytes) -> None:
        """Write `name` whole or not at all; see the module for the cost."""
        try:
            if self.is_local:
                _write_local(Path(self.path(name)), data)
            else:
                self.fs.pipe_file(self.path(name), data)
        except OSError as error:  # an object store's has neither number nor words
            why = error.strerror or error
            raise ShardError(f"{self.url}/{name}: cannot write: {why}") from None

    def remove(self, name: str) -> None:
        """Delete a file or a folder with all it holds; nothing happens when there is none."""
        if self.fs.exists(self.path(name)):
            self.fs.rm(self.path(name), recursive=True)

    def names(self) -> list[str]:
        """Every file in this folder, at any depth, relative to it."""
        root = self.root.rstrip("/") + "/"
        return sorted(str(path).split(root, 1)[1] for path in self.fs.find(self.root))

    def sha256(self, name: str) -> str:
        """SHA-256 of the bytes of `name`, read in blocks of 8 MiB."""
        digest = hashlib.sha256()
        with self.open(name) as stream:
            while block := stream.read(1 << 23):
                digest.update(block)
        return digest.hexdigest()


def resolve(url: str) -> tuple[Any, str]:
    """The fsspec file system of `url` and the path on it; InputError for an unknown one."""
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except (ValueError, ImportError) as error:
        raise InputError(f"{url}: cannot open this kind of location: {error}") from None
    return fs, str(path)


def _write_local(target: Path, data: bytes) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}-{get_ident()}")
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
