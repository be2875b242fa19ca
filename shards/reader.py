"""Reading a shard set by its manifest: batches, documents, rows."""

import io
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from typing import IO, Self

import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.config import near
from prewrite.base.errors import ConfigError, ShardError
from prewrite.base.files import Folder
from prewrite.shards.manifest import File, Manifest
from prewrite.shards.names import MANIFEST
from prewrite.shards.parquet import batches
from prewrite.shards.schema import Row, footer_digest

_TAIL = 1 << 16  # bytes of a file's end that hold most footers


class ShardSet:
    """A set at an fsspec URL. Only what the manifest lists exists.

    manifest: `manifest.json`; its `parts` are the files of rows, in order. ShardError where there
    is no set.
    """

    def __init__(self, url: str | PathLike[str]) -> None:
        self.folder = Folder(fspath(url))
        self.manifest = Manifest.load(self.folder)
        self._hashed: set[str] = set()

    def finished(self) -> Self:
        """This set, or ShardError when the run that makes it has not finished."""
        if self.manifest.status != "complete":
            status = self.manifest.status
            raise ShardError(f"{self.folder.url}: this set is {status}; finish its run first")
        return self

    def batches(
        self, part: File, columns: list[str] | None = None, size: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """Record batches of one part, in order. Page checksums are verified. ShardError for damage,
        at the latest after the last batch.
        """
        try:
            with self.open(part) as stream:
                file = pq.ParquetFile(stream, page_checksum_verification=True)
                refuse_absent(
                    f"{self.folder.url}/{part.name}", columns or (), file.schema_arrow.names
                )
                yield from batches(file, size, columns)
        except (pa.ArrowException, OSError) as error:
            text = str(error).splitlines()[0]
            raise ShardError(f"{self.folder.url}/{part.name}: damaged: {text}") from None

    @contextmanager
    def open(self, part: File) -> Iterator[IO[bytes]]:
        """A part for reading, once it is known to be the one that the manifest lists: by the digest
        of its footer, which costs one read of its end; by that of the whole file, once, for a set
        of 0.1. ShardError where it is another, or not there. Pages have checksums of their own.
        """
        where = f"{self.folder.url}/{part.name}"
        try:
            with self.folder.open(part.name) as stream:
                if fault := self._fault(part, stream):
                    raise ShardError(f"{where}: {fault}")
                stream.seek(0)
                yield stream
        except FileNotFoundError:
            raise ShardError(f"{where}: {self._absence()}") from None

    def _absence(self) -> str:
        """Why a listed file may not be there."""
        now, mine = Manifest.find(self.folder), self.manifest.generation
        if now and now.generation > mine:
            return f"gone: the set has generation {now.generation} now, {mine} when it was opened"
        return "listed, but not there"

    def _fault(self, part: File, stream: IO[bytes]) -> str | None:
        """Why a file is not the one that is listed."""
        if part.footer is not None:
            return footer_fault(part, stream)
        if part.name not in self._hashed and self.folder.sha256(part.name) != part.sha256:
            return "its SHA-256 is not the one that the manifest lists"
        self._hashed.add(part.name)
        return None

    def rows(self, columns: list[str] | None = None) -> Iterator[Row]:
        """Every row of the set, in order. ConfigError for a column that it has not."""
        known = self.manifest.columns.names
        for name in columns or ():
            if name not in known:
                raise ConfigError(
                    f"{self.folder.url}: found no column '{name}';{near(name, known)} accepted: "
                    f"{', '.join(known)}"
                )
        for part in self.manifest.parts:
            for batch in self.batches(part, columns):
                yield from batch.to_pylist()

    def documents(self, part: File) -> Iterator[list[Row]]:
        """The documents of one part: each the list of its rows."""
        rows: list[Row] = []
        for batch in self.batches(part):
            for row in batch.to_pylist():
                if rows and row["chunk"] == 0:
                    yield rows
                    rows = []
                rows.append(row)
        if rows:
            yield rows


def refuse_absent(where: str, columns: Iterable[str], found: Iterable[str]) -> None:
    """ShardError for a column that a part should have by its set's manifest, and has not."""
    for name in columns:
        if name not in found:
            raise ShardError(
                f"{where}: found no column '{name}', which the set has by its {MANIFEST}; "
                "accepted: a part that was written with it"
            )


def footer_fault(part: File, stream: IO[bytes]) -> str | None:
    """Why a file is not the one that is listed, by its size and the digest of its footer."""
    size = stream.seek(0, io.SEEK_END)
    if size != part.bytes:
        return f"found {size} bytes; accepted: {part.bytes}, as listed"
    tail = _end_of(stream, min(size, _TAIL))
    footer = int.from_bytes(tail[-8:-4], "little") + 8
    if len(tail) < footer <= size:
        tail = _end_of(stream, footer)
    if footer_digest(tail) != part.footer:
        return "its footer is not the one that is listed: it is damaged, or another file"
    return None


def _end_of(stream: IO[bytes], size: int) -> bytes:
    stream.seek(-size, io.SEEK_END)
    return stream.read(size)
