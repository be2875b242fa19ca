"""Reading a shard set by its manifest: batches, documents, rows."""

import io
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from os import PathLike, fspath
from threading import Lock
from typing import IO, Self, cast

import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.config import near
from prewrite.base.errors import ConfigError, ShardError
from prewrite.base.files import Folder
from prewrite.base.text import one_line
from prewrite.shards import footer, log
from prewrite.shards.manifest import Manifest
from prewrite.shards.names import MANIFEST
from prewrite.shards.parquet import PartBytes, batches
from prewrite.shards.parts import Part
from prewrite.shards.schema import Row, footer_digest

_NOT_THERE = "listed, but not there"
_TAIL = 1 << 16  # bytes of a file's end that hold most footers
_FOOTERS = 16  # files whose footers are kept: some 0.5 MB each where a file has 100 parts


class ShardSet:
    """A set at an fsspec URL. Only what the manifest lists exists.

    manifest: what is known of it without its rows. ShardError where there is no set.
    """

    def __init__(self, url: str | PathLike[str]) -> None:
        self.folder = Folder(fspath(url))
        self.manifest = Manifest.load(self.folder)
        self._footers = _Footers(self.folder)
        self._hashed: set[str] = set()

    @cached_property
    def parts(self) -> list[Part]:
        """The parts of the set, in order: a row group each."""
        flat = self.manifest.flat
        return flat.parts if flat else self._logged(log.parts)

    @cached_property
    def verdicts(self) -> list[Part]:
        """The parts with raw verdicts, in order, each called like the part that it speaks of."""
        flat = self.manifest.flat
        return flat.verdicts if flat else self._logged(log.verdicts)

    def _logged(self, read: Callable[[Folder, Manifest], list[Part]]) -> list[Part]:
        """What the log lists; ShardError, which says so, where another one has replaced it."""
        try:
            return read(self.folder, self.manifest)
        except ShardError:
            if (why := self._absence()) == _NOT_THERE:
                raise
            raise ShardError(f"{self.folder.url}: {why}") from None

    def finished(self) -> Self:
        """This set, or ShardError when the run that makes it has not finished."""
        if self.manifest.status != "complete":
            status = self.manifest.status
            raise ShardError(f"{self.folder.url}: this set is {status}; finish its run first")
        return self

    def bytes_of(self, part: Part) -> bytes:
        """The bytes that a part takes of its file, unchecked; ShardError where they are not there.
        One read.
        """
        where = f"{self.folder.url}/{part.file}"
        try:
            with self.folder.open_at_random(part.file, part.file_bytes) as stream:
                left = stream.seek(0, io.SEEK_END) - part.start  # what is listed may be anything
                stream.seek(part.start)
                return stream.read(max(0, min(part.bytes, left)))
        except FileNotFoundError:
            raise ShardError(f"{where}: {self._absence()}") from None
        except OSError as error:
            raise ShardError(f"{where}: damaged: {str(error).splitlines()[0]}") from None

    def batches(
        self,
        part: Part,
        columns: list[str] | None = None,
        size: int = 1024,
        held: bytes | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """Record batches of one part, in order. Page checksums are verified. ShardError for damage,
        at the latest after the last batch. held: its bytes, where they were read already.
        """
        with self.open(part, held) as file:
            where = f"{self.folder.url}/{part.file}"
            refuse_absent(where, columns or (), file.schema_arrow.names)
            groups = None if part.group is None else [part.group]
            yield from batches(file, size, columns, groups, threads=held is None)

    @contextmanager
    def open(self, part: Part, held: bytes | None = None) -> Iterator[pq.ParquetFile]:
        """The file of a part, with the footer of `footer`. Pages have checksums of their own."""
        with self.footer(part) as metadata, self._stream(part, held) as stream:
            yield pq.ParquetFile(
                stream, metadata=metadata, pre_buffer=held is None, page_checksum_verification=True
            )

    @contextmanager
    def footer(self, part: Part) -> Iterator[pq.FileMetaData]:
        """That of the file of a part, once it is known to be the one that is listed: by the digest
        of its footer, which is read once for all parts in it; by that of the whole file, once, for
        a set of format 1. ShardError where it is another, damaged or not there, or where what is
        done with it finds damage.
        """
        where = f"{self.folder.url}/{part.file}"
        try:
            self._refuse_other_bytes(part)
            metadata = self._footers.of(part)
            refuse_other_groups(where, part, metadata.num_row_groups)
            yield metadata
        except FileNotFoundError:
            raise ShardError(f"{where}: {self._absence()}") from None
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise ShardError(f"{where}: damaged: {one_line(str(error), 200)}") from None

    def _stream(self, part: Part, held: bytes | None) -> IO[bytes]:
        if held is not None:
            return cast(IO[bytes], PartBytes(held, part.start))
        return self.folder.open_at_random(part.file, part.file_bytes)

    def _absence(self) -> str:
        """Why a listed file may not be there."""
        now, mine = Manifest.find(self.folder), self.manifest.generation
        if now and now.generation > mine:
            return f"gone: the set has generation {now.generation} now, {mine} when it was opened"
        if now and self.manifest.flat and not now.flat:
            return "gone: the set was upgraded since it was opened"
        return _NOT_THERE

    def _refuse_other_bytes(self, part: Part) -> None:
        """ShardError for a file of format 1 that is not the one that is listed."""
        if part.footer or part.file in self._hashed:
            return
        if self.folder.sha256(part.file) != part.sha256:
            raise ShardError(
                f"{self.folder.url}/{part.file}: its SHA-256 is not the one that the manifest lists"
            )
        self._hashed.add(part.file)

    def rows(self, columns: list[str] | None = None) -> Iterator[Row]:
        """Every row of the set, in order. ConfigError for a column that it has not."""
        known = self.manifest.columns.names
        for name in columns or ():
            if name not in known:
                raise ConfigError(
                    f"{self.folder.url}: found no column '{name}';{near(name, known)} accepted: "
                    f"{', '.join(known)}"
                )
        for part in self.parts:
            for batch in self.batches(part, columns):
                yield from batch.to_pylist()

    def documents(self, part: Part, held: bytes | None = None) -> Iterator[list[Row]]:
        """The documents of one part: each the list of its rows. held: see `batches`."""
        rows: list[Row] = []
        for batch in self.batches(part, held=held):
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


def refuse_other_groups(where: str, part: Part, found: int) -> None:
    """ShardError where the file of a part does not have as many row groups as are listed."""
    if part.group is not None and found != part.groups:
        raise ShardError(f"{where}: found {found} row groups; accepted: {part.groups}, as listed")


def footer_of(folder: Folder, part: Part) -> bytes:
    """The footer of the file of a part, with the 8 bytes behind it; ShardError where it is not the
    one that is listed. Cost: one read of the file's end, two where the footer is large.
    """
    where = f"{folder.url}/{part.file}"
    with folder.open_at_random(part.file, part.file_bytes) as stream:
        size = stream.seek(0, io.SEEK_END)
        if size != part.file_bytes:
            raise ShardError(f"{where}: found {size} bytes; accepted: {part.file_bytes}, as listed")
        found = _tail(stream, part)
    if found is None or (part.footer and footer_digest(found) != part.footer):
        raise ShardError(
            f"{where}: its footer is not the one that is listed: it is damaged, or another file"
        )
    return found


def _tail(stream: IO[bytes], part: Part) -> bytes | None:
    """The end of a file, of the size that its footer says."""
    tail = _end_of(stream, min(part.file_bytes, _TAIL))
    size = int.from_bytes(tail[-8:-4], "little") + 8
    if len(tail) < size <= part.file_bytes:
        tail = _end_of(stream, size)
    return tail[-size:] if size <= len(tail) else None


def _end_of(stream: IO[bytes], size: int) -> bytes:
    stream.seek(-size, io.SEEK_END)
    return stream.read(size)


class _Footers:
    """The footers of the files that were read last, checked; many threads may ask."""

    def __init__(self, folder: Folder) -> None:
        self._folder, self._lock = folder, Lock()
        self._kept: OrderedDict[str, pq.FileMetaData] = OrderedDict()

    def of(self, part: Part) -> pq.FileMetaData:
        """That of the file of a part; OSError or ShardError where it cannot be used."""
        with self._lock:
            if (found := self._kept.get(part.file)) is not None:
                self._kept.move_to_end(part.file)
                return found
        found = pq.read_metadata(io.BytesIO(footer.MAGIC + footer_of(self._folder, part)))
        with self._lock:
            self._kept[part.file] = found
            if len(self._kept) > _FOOTERS:
                self._kept.popitem(last=False)
        return found
