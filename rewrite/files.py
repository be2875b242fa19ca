"""Corpus files as a stream of raw records: JSON lines (plain, gzip, zstd) and Parquet.

Guarantees: memory holds one record, whatever the size of the file or of its longest line; damage
(a truncated archive, an unreadable Parquet file, a record over the limit) is yielded as a Fault
where it stands and never raised; an I/O error of the storage is no damage and raises InputError.
"""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from prewrite.base.errors import InputError
from prewrite.base.files import resolve, told_as
from prewrite.pipeline.passes import Range
from prewrite.rewrite.streams import HashedStream, Lines, Whole, decompressed, is_record
from prewrite.shards.parquet import batches

LINE_SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
SUFFIXES = (*LINE_SUFFIXES, ".parquet")

_BATCH = 256  # rows of Parquet that are held at a time, at most


@dataclass(slots=True)  # frozen it takes twice as long to make, and one is made for each record
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
    """One file of a corpus, or a `range` of it. `sha256`, of the whole file, is set once `records`
    has been read to its end, by the last range. `block_bytes`: what an object store is asked for
    at a time (None: as its library likes).
    """

    def __init__(
        self,
        path: str,
        max_record_bytes: int,
        range: Range | None = None,
        block_bytes: int | None = None,
    ) -> None:
        self.path, self.max_record_bytes, self.range = path, max_record_bytes, range
        self.block_bytes = block_bytes
        self.sha256: str | None = None

    def records(self) -> Iterator[Raw | Fault]:
        """Every record in order. `offset` of a range counts from its start."""
        with told_as(InputError, f"{self.path}: cannot read"):
            fs, path = resolve(self.path)
            with fs.open(path, "rb", block_size=self.block_bytes) as stream:
                if self.path.endswith(".parquet"):
                    yield from self._parquet(stream)
                elif self.range:
                    yield from self._stretch(stream, self.range)
                else:
                    yield from self._lines(stream)

    def _lines(self, stream: IO[bytes]) -> Iterator[Raw | Fault]:
        meter = HashedStream(stream)
        lines = Lines(decompressed(meter, self.path), self.max_record_bytes)
        fault = None
        try:
            yield from _numbered(lines, meter, 0)
        except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError):
            fault = Fault("truncated_or_damaged_archive", lines.count + 1, meter.count)
        meter.drain()  # a storage that sends too little is found here, before it is called damage
        if fault:
            yield fault
        self.sha256 = meter.sha256.hexdigest()

    def _stretch(self, stream: IO[bytes], place: Range) -> Iterator[Raw | Fault]:
        meter, count = HashedStream(stream, place.start, place.stop), 0
        lines = Lines(decompressed(meter, self.path), self.max_record_bytes)
        for record in _numbered(lines, meter, place.lines):
            count += 1
            yield record
        if count != place.count:
            raise InputError(
                f"{self.path}: found {count} records in bytes {place.start} to {place.stop}, where "
                f"{place.count} were counted; the file was changed: restore it"
            )
        self.sha256 = place.sha256

    def _parquet(self, stream: IO[bytes]) -> Iterator[Raw | Fault]:
        whole = Whole(stream)
        number, offset, last = self.range.records if self.range else 0, 0, True
        fault = None
        try:
            file = whole.parquet()
            total = max(file.metadata.num_rows, 1)
            groups = range(file.num_row_groups)
            if self.range:
                groups = groups[self.range.start : self.range.stop]
                last = self.range.stop >= file.num_row_groups
            if len(set(file.schema_arrow.names)) < len(file.schema_arrow.names):
                fault, groups = Fault("two_columns_of_one_name", number + 1, offset), range(0)
            before = share(whole.size, number, total)
            size = _rows_at_a_time(file.metadata, groups, self.max_record_bytes)
            for batch in batches(file, size, groups=groups):
                for row in _rows(batch, self.max_record_bytes):
                    number += 1
                    offset = share(whole.size, number, total) - before
                    if isinstance(row, Fault):
                        yield replace(row, line=number, offset=offset)
                    else:
                        yield Raw(row, number, offset)
        except (pa.ArrowException, OSError):
            if whole.error:
                raise whole.error from None
            fault = Fault("unreadable_parquet", number + 1, offset)
        if fault:
            yield fault
        if last:
            meter = HashedStream(stream)
            meter.drain()
            self.sha256 = meter.sha256.hexdigest()


def share(size: int, number: int, total: int) -> int:
    """Bytes of a file of `total` rows that go with the first `number` of them."""
    return size * number // total


def _numbered(lines: Lines, meter: HashedStream, before: int) -> Iterator[Raw | Fault]:
    """Lines as records; the first one is line `before` + 1 of its file."""
    for number, line in enumerate(lines, start=before + 1):
        if line is None:
            yield Fault("too_large", number, meter.count)
        elif is_record(line):
            yield Raw(line, number, meter.count)


def _rows_at_a_time(metadata: pq.FileMetaData, groups: range, longest: int) -> int:
    """So many rows that all together they hold about as much as the longest record."""
    found = [metadata.row_group(group) for group in groups]
    mean = max((one.total_byte_size // max(one.num_rows, 1) for one in found), default=0)
    return max(1, min(_BATCH, longest // max(mean, 1)))


def _rows(batch: pa.RecordBatch, longest: int) -> list[dict[str, Any] | Fault]:
    """The rows of a batch; a Fault for one that is longer than `longest` bytes, or holds a value
    Python has none for (a text that is not UTF-8, a date out of range).
    """
    too_large = _size(batch) > longest
    if batch.num_rows > 1 and too_large:
        return _one_by_one(batch, longest)
    try:
        return [Fault("too_large", 0, 0)] if too_large else [*batch.to_pylist()]
    except KeyError:  # a time zone that is not known here
        again = _in_utc(batch)
        if again.schema == batch.schema:
            raise
        return _rows(again, longest)
    except (ValueError, OverflowError):
        if batch.num_rows > 1:
            return _one_by_one(batch, longest)
        return [Fault("bad_value", 0, 0)]


def _one_by_one(batch: pa.RecordBatch, longest: int) -> list[dict[str, Any] | Fault]:
    return [row for i in range(batch.num_rows) for row in _rows(batch.slice(i, 1), longest)]


def _size(batch: pa.RecordBatch) -> int:
    """Bytes of its values; a text that many rows share counts where it stands."""
    decoded = (
        column.dictionary_decode() if isinstance(column, pa.DictionaryArray) else column
        for column in batch.columns
    )
    return sum(column.nbytes for column in decoded)


def _in_utc(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The same moments, for time zones that this machine does not know."""
    fields = [field.with_type(_without_zone(field.type)) for field in batch.schema]
    return batch.cast(pa.schema(fields))


def _without_zone(kind: Any) -> Any:
    """A type with UTC for every time zone in it."""
    if pa.types.is_timestamp(kind) and kind.tz:
        return pa.timestamp(kind.unit, "UTC")
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_without_zone(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_without_zone(kind.key_type), _without_zone(kind.item_type))
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(_without_zone(kind.value_type), kind.list_size)
    if pa.types.is_large_list(kind) or pa.types.is_list(kind):
        make = pa.large_list if pa.types.is_large_list(kind) else pa.list_
        return make(_without_zone(kind.value_type))
    return kind
