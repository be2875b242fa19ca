"""The commit log of a set: every commit record, in the order of the set, in a few Parquet files.

The manifest lists the files with their digests, so that one that was cut, edited or exchanged is
refused, and it changes from one log to the next at one moment. A file has up to `RECORDS` records:
narrow columns that say where the parts lie, and each record as JSON. The narrow columns are enough
to read rows. A pass that continues, a repair and a check decode the JSON, too.
"""

import hashlib
import io
import itertools
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, fields
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.shards import names
from prewrite.shards.manifest import LogFile, Manifest, Record
from prewrite.shards.parts import Part, refuse_name

RECORDS = 8192

_THREADS = 16  # waiting for disks and networks
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
_TEXTS, _VERDICTS = "", "verdicts_"
_COLUMNS = pa.schema(
    [("split", _WORDS)]
    + [(f"{of}{name}", kind) for of in (_TEXTS, _VERDICTS) for name, kind in _KINDS.items()]
    + [("record", pa.string())]
)


def write(folder: Folder, records: Sequence[Record], token: str) -> list[LogFile]:
    """Write a log, under names that no other log has; what the manifest says of its files. token:
    that of this write.
    """
    some = [records[at : at + RECORDS] for at in range(0, len(records), RECORDS)]
    called = [names.log_file(number, token) for number in range(len(some))]
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(partial(_write, folder), called, some))


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
        for table in _tables(folder, manifest, columns)
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
    for table in _tables(folder, manifest, ["split", "record"]):
        pairs = zip(table["split"].to_pylist(), table["record"].to_pylist(), strict=True)
        texts = (str(text) for split, text in pairs if splits is None or split in splits)
        try:
            yield from map(Record.model_validate_json, texts)
        except ValidationError as error:
            raise ShardError(f"{folder.url}/{names.LOG}: damaged: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    one = error.errors()[0]
    return f"{'.'.join(map(str, one['loc']))}: {one['msg']}"


def _write(folder: Folder, name: str, some: Sequence[Record]) -> LogFile:
    table = pa.Table.from_pylist([_row(record) for record in some], _COLUMNS)
    stream = io.BytesIO()
    pq.write_table(table, stream, compression="zstd", write_page_checksum=True)
    data = stream.getvalue()
    folder.write(name, data)
    digest = hashlib.sha256(data).hexdigest()
    return LogFile(name=name, records=len(some), bytes=len(data), sha256=digest)


def _row(record: Record) -> dict[str, Any]:
    row: dict[str, Any] = {"split": record.split, "record": record.model_dump_json()}
    for of, part in ((_TEXTS, record.part), (_VERDICTS, record.judgements)):
        if part:
            row |= {of + name: value for name, value in zip(_FIELDS, astuple(part), strict=True)}
    return row


def _parts_of(folder: Folder, manifest: Manifest, of: str) -> list[Part]:
    found: list[Part] = []
    for table in _tables(folder, manifest, [f"{of}{name}" for name in _FIELDS]):
        found += _parts(f"{folder.url}/{names.LOG}", table, of)
    return found


def _parts(where: str, table: pa.Table, of: str) -> Iterator[Part]:
    """The parts in these columns; a commit without rows has none."""
    table = table.filter(pc.is_valid(table[f"{of}name"]))
    columns = [table[f"{of}{name}"].to_pylist() for name in _FIELDS]
    try:
        for name in set(columns[_FIELDS.index("file")]):
            refuse_name(str(name))
    except (TypeError, ValueError, AttributeError) as error:
        raise ShardError(f"{where}: damaged: {error}") from None
    return itertools.starmap(Part, zip(*columns, strict=True))


def _tables(folder: Folder, manifest: Manifest, columns: list[str]) -> Iterator[pa.Table]:
    """Some columns of each file of a log, read at the same time."""
    with ThreadPoolExecutor(_THREADS) as pool:
        yield from pool.map(lambda file: _table(folder, file, columns), manifest.log)


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
    return pq.read_table(io.BytesIO(data), columns=columns, use_threads=False)
