"""The commit log of a set: every commit record, in the order of the set, in a few Parquet files.

The manifest lists the files with their digests, so that one that was cut, edited or exchanged is
refused, and it changes from one log to the next at one moment. A file has up to `RECORDS` records:
narrow columns that say where the parts lie, and each record as JSON. The narrow columns are enough
to read rows. A pass that continues, a repair and a check decode the JSON, too.

A digest says that a file is the one of the manifest, not that a sound program wrote both. So what
the columns hold is checked, too, by columns and not by rows: that costs a tenth of reading them.
"""

import hashlib
import io
import itertools
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.text import one_line
from prewrite.base.together import together
from prewrite.shards import names
from prewrite.shards.decoded import decoded
from prewrite.shards.manifest import LogFile, Manifest, Record
from prewrite.shards.parts import SHA256, Part, limits, no_digest, outside, refuse_name

RECORDS = 8192

_AHEAD = 4  # files that are read at a time: one is some 10 MB in memory

_RESTORE = "restore the file from a copy"
_WORDS = pa.dictionary(pa.int32(), pa.string())
_KINDS: dict[str, pa.DataType] = {
    "name": pa.string(),
    "file": _WORDS,
    "file_bytes": pa.int64(),
    "footer": _WORDS,
    "groups": pa.int32(),
    "group": pa.int32(),
    "start": pa.int64(),
    "bytes": pa.int64(),
    "rows": pa.int64(),
    "sha256": pa.string(),
    "known_as": pa.string(),
}
_FIELDS = [field.name for field in fields(Part)]
_VALUES = attrgetter(*_FIELDS)
_TEXTS, _VERDICTS = "", "verdicts_"
_COLUMNS = pa.schema(
    [("split", _WORDS)]
    + [(f"{of}{name}", kind) for of in (_TEXTS, _VERDICTS) for name, kind in _KINDS.items()]
    + [("record", pa.string())]
)
_OF_RECORDS = ["split", "record"]
_NUMBERS = [name for name in _FIELDS if pa.types.is_integer(_KINDS[name])]
_PLACES = ["name", "group", "file", "file_bytes", "footer", "groups"]


def write(folder: Folder, records: Sequence[Record], token: str) -> list[LogFile]:
    """Write a log, under names that no other log has; what the manifest says of its files. token:
    that of this write.
    """
    some = [records[at : at + RECORDS] for at in range(0, len(records), RECORDS)]
    called = [names.log_file(number, token) for number in range(len(some))]
    return [*together(lambda one: _write(folder, *one), [*zip(called, some, strict=True)])]


def parts(folder: Folder, manifest: Manifest) -> list[Part]:
    """The parts with rows, as the manifest's log lists them. ShardError for a log that is not the
    one of the manifest.
    """
    return _parts_of(folder, manifest, _TEXTS)


def verdicts(folder: Folder, manifest: Manifest) -> list[Part]:
    """The parts with verdicts; see `parts`."""
    return _parts_of(folder, manifest, _VERDICTS)


def files(folder: Folder, manifest: Manifest) -> set[str]:
    """The names of all files with rows or verdicts; see `parts`."""
    columns = [f"{of}file" for of in (_TEXTS, _VERDICTS)]
    return {
        name
        for _, table in _tables(folder, manifest, columns)
        for column in columns
        for name in table[column].unique().to_pylist()
        if name is not None
    }


def records(
    folder: Folder, manifest: Manifest, splits: Collection[str] | None = None
) -> Iterator[Record]:
    """The records of the log, all or those of some splits, one after the other. ShardError as with
    `parts`.
    """
    for file, table in _tables(folder, manifest, _OF_RECORDS):
        yield from _records(f"{folder.url}/{file.name}", table, splits)


def _records(where: str, table: pa.Table, splits: Collection[str] | None) -> Iterator[Record]:
    pairs = zip(table["split"].to_pylist(), table["record"].to_pylist(), strict=True)
    for number, (split, text) in enumerate(pairs, 1):
        if splits is None or split in splits:
            yield decoded(Record, f"{where}: row {number}", str(text))


def checked(folder: Folder, manifest: Manifest, faults: list[str]) -> Iterator[Record]:
    """All records, as `records` gives them. faults: takes a sentence for each row whose columns say
    something else than its record.
    """
    for file, table in _tables(folder, manifest, _COLUMNS.names):
        rows = table.drop_columns(["record"]).to_pylist()
        found = zip(rows, _records(f"{folder.url}/{file.name}", table, None), strict=True)
        for number, (row, record) in enumerate(found, 1):
            where = f"{file.name}: row {number}"
            faults += [f"{where}, {said}" for said in _contradictions(row, record)]
            yield record


def _contradictions(row: dict[str, Any], record: Record) -> Iterator[str]:
    """The first column that is not what the record says, and a part with the name of another."""
    expected = dict.fromkeys(row) | _narrow(record)
    for name in [name for name in row if row[name] != expected[name]][:1]:
        found, accepted = (one_line(str(said[name]), 80) for said in (row, expected))
        yield f"{name}: found {found}; accepted: {accepted}, as its record says; {_RESTORE}"
    block = names.block_name(record.split, record.block)
    for part in (record.part, record.judgements):
        if part and part.name != block:
            found = one_line(part.name, 80)
            yield f"name: found '{found}'; accepted: '{block}', as its record says; {_RESTORE}"


def _write(folder: Folder, name: str, some: Sequence[Record]) -> LogFile:
    table = pa.Table.from_pylist([_row(record) for record in some], _COLUMNS)
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd", write_page_checksum=True)
    data = stream.getvalue()
    folder.write(name, data)
    digest = hashlib.sha256(data).hexdigest()
    return LogFile(name=name, records=len(some), bytes=len(data), sha256=digest)


def _row(record: Record) -> dict[str, Any]:
    return _narrow(record) | {"record": record.model_dump_json()}


def _narrow(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {"split": record.split}
    for of, part in ((_TEXTS, record.part), (_VERDICTS, record.judgements)):
        if part:
            row |= {of + name: value for name, value in zip(_FIELDS, _VALUES(part), strict=True)}
    return row


def _parts_of(folder: Folder, manifest: Manifest, of: str) -> list[Part]:
    found: list[Part] = []
    places = list[pa.Table]()
    for file, table in _tables(folder, manifest, [f"{of}{name}" for name in _FIELDS]):
        table = table.rename_columns(_FIELDS)
        _refuse_wrong(f"{folder.url}/{file.name}", table, of)
        table = table.filter(pc.is_valid(table["name"]))
        places.append(table.select(_PLACES))
        found += _parts(table)
    if places:
        _refuse_doubled(f"{folder.url}/{names.LOG}", places)
    return found


def _parts(table: pa.Table) -> Iterator[Part]:
    columns = {name: _values(table[name]) for name in _FIELDS}
    pairs = zip(columns["sha256"], columns["known_as"], strict=True)
    columns["known_as"] = [digest if digest == known else known for digest, known in pairs]
    return itertools.starmap(Part, zip(*columns.values(), strict=True))


def _values(column: Any) -> list[Any]:
    """The values of a column; equal texts of a dictionary as one object."""
    if column.type != _WORDS:
        return list(column.to_pylist())
    found = column.combine_chunks()
    words = found.dictionary.to_pylist()
    return [words[index] for index in found.indices.to_pylist()]


def _refuse_wrong(where: str, table: pa.Table, of: str) -> None:
    """ShardError for the first value that no part can have; a commit without rows has no values."""
    there = pc.is_valid(table["name"])
    for name in _FIELDS:
        if (row := _first(pc.xor(pc.is_valid(table[name]), there))) is not None:
            missing = name if there[row].as_py() else "name"
            said = "found null; accepted: a value, or a row without a part"
            raise ShardError(f"{where}: row {row + 1}, {of}{missing}: {said}; {_RESTORE}")
    for name, row, said in (*_wrong_numbers(table), *_wrong_texts(table)):
        raise ShardError(f"{where}: row {row + 1}, {of}{name}: {said}; {_RESTORE}")


def _wrong_numbers(table: pa.Table) -> Iterator[tuple[str, int, str]]:
    """A column, a row of it and what is wrong there; each number is below `limits` of those before
    it, so nothing overflows.
    """
    rows = pc.indices_nonzero(pc.is_valid(table["name"]))
    columns = {name: _numbers(table[name]) for name in _NUMBERS}
    for name, least, most in limits(SimpleNamespace(**columns)):
        wrong = np.flatnonzero((columns[name] < least) | (columns[name] > most))
        if len(wrong):
            first = int(wrong[0])
            largest = np.broadcast_to(most, len(rows))[first]
            yield name, rows[first].as_py(), outside(columns[name][first], least, largest)
            return


def _wrong_texts(table: pa.Table) -> Iterator[tuple[str, int, str]]:
    for name in ("footer", "sha256", "known_as"):
        texts = table[name].cast(pa.string())
        row = _first(pc.invert(pc.match_substring_regex(texts, SHA256)))
        if row is not None:
            yield name, row, no_digest(texts[row].as_py())
    files = table["file"].cast(pa.string())
    for file in map(str, files.unique().drop_null().to_pylist()):
        try:
            refuse_name(file)
        except ValueError as error:
            row = files.to_pylist().index(file)
            yield "file", row, str(error)


def _first(mask: Any) -> int | None:
    """The place of the first true value."""
    places = pc.indices_nonzero(mask)
    return int(places[0].as_py()) if len(places) else None


def _refuse_doubled(where: str, places: Sequence[pa.Table]) -> None:
    """ShardError for two parts of one name or at one place, and for a file that is said to be two
    different ones. With numpy, for what Arrow groups with imports pandas: a second and 100 MiB.
    """
    every = pa.concat_tables(places)
    files = _codes(every["file"])
    at = files.astype(np.int64) << 32 | _numbers(every["group"])
    for codes in (_codes(every["name"]), at):
        found, first = np.unique(codes, return_index=True)
        if len(found) < len(codes):
            row = every.slice(int(np.setdiff1d(np.arange(len(codes)), first)[0]), 1).to_pylist()[0]
            told = f"part '{one_line(row['name'], 80)}', row group {row['group']} of {row['file']}"
            raise ShardError(f"{where}: found {told}, a second time; accepted: once; {_RESTORE}")
    _, first, which = np.unique(files, return_index=True, return_inverse=True)
    for name, values in (
        ("file_bytes", _numbers(every["file_bytes"])),
        ("groups", _numbers(every["groups"])),
        ("footer", _codes(every["footer"])),
    ):
        if len(other := np.flatnonzero(values != values[first][which])):
            row = every.slice(int(other[0]), 1).to_pylist()[0]
            raise ShardError(
                f"{where}: part '{one_line(row['name'], 80)}', {name}: found another one than "
                f"with an earlier part of {row['file']}; accepted: the same; {_RESTORE}"
            )


def _numbers(column: Any) -> Any:
    return np.from_dlpack(column.drop_null().combine_chunks())


def _codes(column: Any) -> Any:
    """A number for each different text."""
    return np.from_dlpack(column.cast(pa.string()).combine_chunks().dictionary_encode().indices)


def _tables(
    folder: Folder, manifest: Manifest, columns: list[str]
) -> Iterator[tuple[LogFile, pa.Table]]:
    """Some columns of each file of a log, read at the same time."""
    tables = together(lambda file: _table(folder, file, columns), manifest.log, _AHEAD)
    yield from zip(manifest.log, tables, strict=True)


def _table(folder: Folder, file: LogFile, columns: list[str]) -> pa.Table:
    where, data = f"{folder.url}/{file.name}", folder.read(file.name)
    if data is None:
        raise ShardError(f"{where}: the commit log of the set, but not there; restore it")
    found = hashlib.sha256(data).hexdigest()
    if found != file.sha256:
        raise ShardError(
            f"{where}: found the SHA-256 {found[:12]}…; accepted: {file.sha256[:12]}…, as the "
            f"{names.MANIFEST} says: it is damaged, or the log of another set; restore it"
        )
    try:
        table, why = _columns_of(data, columns), ""
    except (pa.ArrowException, OSError, ValueError) as error:
        table, why = None, f"damaged: {one_line(str(error), 200)}"
    if table is not None:
        why = _fault(file, len(data), table)
    if table is None or why:
        raise ShardError(f"{where}: {why}; {_RESTORE}")
    return table


def _columns_of(data: bytes, columns: list[str]) -> pa.Table:
    """Some columns of a file; ValueError where one of a log is not there, or another one."""
    with pq.ParquetFile(io.BytesIO(data)) as file:
        if other := _other_columns(file.schema_arrow):
            raise ValueError(other)
        table = file.read(columns=columns, use_threads=False)
    table.validate(full=True)  # texts and indices, which Arrow takes as they are
    return table


def _other_columns(found: pa.Schema) -> str:
    """The first column that is not as in every log; empty: all are."""
    counts = Counter(found.names)
    for field in _COLUMNS:
        if counts[field.name] != 1:
            return f"found {counts[field.name]} columns '{field.name}'; accepted: one"
        if (kind := found.field(field.name).type) != field.type:
            shown = one_line(str(kind), 60)
            return f"found the column '{field.name}' as {shown}; accepted: {field.type}"
    for name in counts.keys() - set(_COLUMNS.names):
        return f"found the column '{one_line(name, 60)}'; accepted: those of a log"
    return ""


def _fault(file: LogFile, size: int, table: pa.Table) -> str:
    """What of a file is not as the manifest says, or not there; empty: nothing."""
    if (size, table.num_rows) != (file.bytes, file.records):
        return (
            f"found {table.num_rows} records in {size} bytes; accepted: {file.records} in "
            f"{file.bytes}, as the {names.MANIFEST} says"
        )
    for name in _OF_RECORDS:
        if name in table.column_names and table[name].null_count:
            row = _first(pc.is_null(table[name])) or 0
            return f"row {row + 1}, {name}: found null; accepted: a value"
    return ""
