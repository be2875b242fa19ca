"""A small judged set, and forged files in it: the digests of the manifest are made to agree."""

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.shards import names
from prewrite.shards.reader import ShardSet
from tests.shards.edits import edited
from tests.shards.making import merge_set, write_set

Change = Callable[[Any], Any]


def judged_set(folder: Path) -> Path:
    """Three commits of two documents each, whose row groups lie in one file."""
    rows = [[_row(2 * part + n // 2, n % 2) for n in range(4)] for part in range(3)]
    said = [[_verdict(row) for row in some] for some in rows]
    write_set(str(folder), rows, said, criteria=["quality"], measures=["quality_consistency"])
    merge_set(str(folder))
    return folder


def _row(document: int, chunk: int) -> dict[str, Any]:
    scores = {f"{text}_{name}": 0.5 for text in ("original", "rewrite") for name in _SCORES}
    return {
        "id": f"{document}-{chunk}",
        "doc_id": str(document),
        "source": "web",
        "chunk": chunk,
        "chunks": 2,
        "original": f"text {document}",
        "original_tokens": 3,
        "rewrite": "another",
        "rewrite_status": "ok",
        "quality_consistency": 1.0,
        "meta": "{}",
        **scores,
    }


_SCORES = ("quality", "score")


def _verdict(row: dict[str, Any]) -> dict[str, Any]:
    asked = {"judge": "small", "criterion": "quality", "candidate": "rewrite", "order": 0}
    said = {"opponent": "original", "vote": 0, "answer": "A", "value": 1.0, "mass": 1.0}
    return {"id": row["id"], "status": "ok", **asked, **said}


def log_of(folder: Path) -> Path:
    """The only file of the log."""
    (file,) = (folder / names.LOG).iterdir()
    return file


def forged(folder: Path, data: bytes | Change) -> None:
    """Other bytes of the log, or another table in it, which the manifest then lists."""
    file = log_of(folder)
    if not isinstance(data, bytes):
        stream = io.BytesIO()
        pq.write_table(data(pq.read_table(file)), stream)
        data = stream.getvalue()
    file.write_bytes(data)
    with edited(folder) as manifest:
        listed = manifest["log"][0]
        listed.update(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def value(column: str, other: Any, row: int = 1) -> Change:
    """Another value in one row of a column, counted from 0."""

    def change(table: Any) -> Any:
        values = table[column].to_pylist()
        values[row] = other(values[row]) if callable(other) else other
        return with_column(table, column, pa.array(values, table.schema.field(column).type))

    return change


def with_column(table: Any, column: str, values: Any) -> Any:
    """A table with another column at the same place, of any type."""
    place = table.column_names.index(column)
    return table.set_column(place, pa.field(column, values.type), values)


def used(folder: Path) -> None:
    """Whatever reads the parts of a set."""
    shards = ShardSet(str(folder)).finished()
    assert shards.parts and shards.verdicts
