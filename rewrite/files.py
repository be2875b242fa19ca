"""Corpus files as a stream of raw records: JSON lines (plain, gzip, zstd) and Parquet.

Guarantees: memory holds one record, whatever the size of the file or of its longest line; damage
(a truncated archive, an unreadable Parquet file, a line over the limit) is yielded as a Fault
where it stands and never raised; an I/O error of the storage is no damage and raises InputError.
"""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from base.errors import InputError
from base.files import resolve

LINE_SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
SUFFIXES = (*LINE_SUFFIXES, ".parquet")


@dataclass(frozen=True, slots=True)
class Raw:
    """A record as it stands: a JSON line (bytes) or a Parquet row (dict). `line` counts from 1;
    `offset`: bytes of the file read so far.
    """

    data: bytes | dict[str, Any]
    line: int
    offset: int


@dataclass(frozen=True, slots=True)
class Fault:
    """A place where no record can be read, and why."""

    reason: str
    line: int
    offset: int


class CorpusFile:
    """One file of a corpus. `sha256` is set once `records` has been read to its end."""

    def __init__(self, path: str, max_record_bytes: int) -> None:
        self.path, self.max_record_bytes = path, max_record_bytes
        self.sha256: str | None = None

    def records(self) -> Iterator[Raw | Fault]:
        """Every record in order."""
        fs, path = resolve(self.path)
        try:
            with fs.open(path, "rb") as stream:
                if self.path.endswith(".parquet"):
                    yield from self._parquet(stream)
                else:
                    yield from self._lines(stream)
        except (OSError, InputError) as error:
            raise InputError(f"{self.path}: cannot read: {_words(error)}") from None

    def _lines(self, stream: IO[bytes]) -> Iterator[Raw | Fault]:
        meter = _Meter(stream)
        lines = _Lines(_decompressed(meter, self.path), self.max_record_bytes)
        try:
            for number, line in enumerate(lines, start=1):
                if line is None:
                    yield Fault("too_large", number, meter.count)
                elif not line.isspace():
                    yield Raw(line, number, meter.count)
        except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError):
            yield Fault("truncated_or_damaged_archive", lines.count + 1, meter.count)
        meter.drain()
        self.sha256 = meter.sha256.hexdigest()

    def _parquet(self, stream: IO[bytes]) -> Iterator[Raw | Fault]:
        number, size = 0, stream.seek(0, io.SEEK_END)
        try:
            file = pq.ParquetFile(stream)
            total = max(file.metadata.num_rows, 1)
            for batch in file.iter_batches(256):
                for row in _rows(batch):
                    number += 1
                    offset = size * number // total
                    if row is None:
                        yield Fault("bad_value", number, offset)
                    else:
                        yield Raw(row, number, offset)
        except (pa.ArrowException, OSError) as error:
            if getattr(error, "errno", None):
                raise  # the storage's; Arrow's own OSError for damage has no number
            yield Fault("unreadable_parquet", number + 1, size)
        stream.seek(0)
        meter = _Meter(stream)
        meter.drain()
        self.sha256 = meter.sha256.hexdigest()


def _rows(batch: pa.RecordBatch) -> list[dict[str, Any] | None]:
    """The rows of a batch; None for one that holds a value Python cannot (a text that is not UTF-8,
    a date out of range).
    """
    try:
        return [*batch.to_pylist()]
    except (ValueError, OverflowError):
        if batch.num_rows == 1:
            return [None]
        return [row for i in range(batch.num_rows) for row in _rows(batch.slice(i, 1))]


class _Meter(io.RawIOBase):
    """Counts and hashes the bytes that are read through it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream, self.count, self.sha256 = stream, 0, hashlib.sha256()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.stream.read(len(buffer))
        buffer[: len(data)] = data
        self.count += len(data)
        self.sha256.update(data)
        return len(data)

    def drain(self) -> None:
        """Read what is left, for the digest."""
        while self.read(1 << 20):
            pass


def _decompressed(meter: _Meter, path: str) -> io.BufferedReader:
    raw: Any = meter
    if path.endswith(".gz"):
        raw = _Gzip(meter)
    elif path.endswith(".zst"):
        raw = _Zstd(meter)
    return io.BufferedReader(raw, 1 << 18)


class _Gzip(io.RawIOBase):
    """Members of gzip, a piece at a time: a full read would lose what stands before damage."""

    def __init__(self, meter: _Meter) -> None:
        self.file = gzip.GzipFile(fileobj=cast(IO[bytes], io.BufferedReader(meter, 1 << 18)))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.file.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Zstd(io.RawIOBase):
    """Frames of zstd, one after the other; EOFError when the last one is cut, which the
    library's own reader takes for the end.
    """

    def __init__(self, meter: _Meter) -> None:
        self.meter, self.frame, self.left, self.begun = meter, self._new(), memoryview(b""), False

    @staticmethod
    def _new() -> Any:
        return zstandard.ZstdDecompressor().decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.left:
            data = self.frame.unused_data if self.frame.eof else b""
            if self.frame.eof:
                self.frame, self.begun = self._new(), False
            # Little at a time: a few bytes of zstd may hold megabytes.
            data = data or self.meter.read(1 << 14)
            if not data:
                if self.begun:
                    raise EOFError("the last zstd frame is cut")
                return 0
            self.begun = True
            self.left = memoryview(self.frame.decompress(data))
        count = min(len(buffer), len(self.left))
        buffer[:count], self.left = self.left[:count], self.left[count:]
        return count


class _Lines:
    """Lines of a stream; None for one over `limit` bytes, which is passed over unread."""

    def __init__(self, stream: io.BufferedReader, limit: int) -> None:
        self.stream, self.limit, self.count = stream, limit, 0

    def __iter__(self) -> Iterator[bytes | None]:
        while line := self.stream.readline(self.limit + 1):
            if len(line) > self.limit and not line.endswith(b"\n"):
                self._pass_over()
                self.count += 1
                yield None
            else:
                self.count += 1
                yield line

    def _pass_over(self) -> None:
        while (rest := self.stream.readline(1 << 20)) and not rest.endswith(b"\n"):
            pass


def _words(error: Exception) -> str:
    return getattr(error, "strerror", None) or " ".join(str(error).split())
