"""The columns of a scored shard set, and how rows become Parquet bytes.

One row is one chunk of a document. A document's rows stand in order in one file, and their
`original` joined give the document back byte for byte, so what stands before a row is its prefix.
Format 1 lacks the column `rewrite_reason`.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.shards.footer import MAGIC

FORMAT_VERSION = 2
"""The format that is written; `shards.flat` has what was before it."""

RewriteStatus = Literal["ok", "copied", "refused", "truncated", "empty", "failed", "skipped"]
STATUSES: tuple[str, ...] = get_args(RewriteStatus)
USABLE: tuple[str, ...] = ("ok", "copied", "truncated")
"""The statuses with a text in `rewrite`; all others have null there."""

TEXTS = ("original", "rewrite")
"""The texts that are scored; every criterion gives one column for each."""

MEASURES = {
    "consistency": "1: its verdicts in both orders agree on the better text, 0: they do not",
    "disagreement": "standard deviation between the judges of the panel, mean over the texts",
}
"""What a column `<criterion>_<measure>` says of the verdicts of a row; null: not known."""

Row = dict[str, Any]
Metadata = Mapping[str, str] | None

StoredValues = Mapping[str, Mapping[str, float | None]]
"""Criterion → text → its value 0..1."""

ROW_GROUPS = "prewrite.row_groups"
"""Key of a footer: the SHA-256 of the bytes of each row group, in their order."""

_CATEGORY = pa.dictionary(pa.int32(), pa.string())
_COLUMNS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("id", pa.string(), "stable hash of source path, record and chunk"),
    ("doc_id", pa.string(), "the document; unique within a file"),
    ("source", _CATEGORY, "the sub-corpus"),
    ("chunk", pa.int32(), "index of this chunk in its document, from 0"),
    ("chunks", pa.int32(), "number of chunks in the document"),
    ("original", pa.string(), "the chunk as it stands in the corpus"),
    ("original_tokens", pa.int32(), "its length under the configured tokenizer"),
    ("rewrite", pa.string(), "the rewritten chunk, null where there is no usable one"),
    ("rewrite_status", _CATEGORY, " | ".join(STATUSES)),
    ("rewrite_reason", _CATEGORY, "why, where the status is not ok, copied or skipped"),
)
_SINCE_2 = ("rewrite_reason",)

JUDGEMENT_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("judge", _CATEGORY),
        ("criterion", _CATEGORY),
        ("candidate", _CATEGORY),
        ("opponent", _CATEGORY),
        ("order", pa.int32()),
        ("vote", pa.int32()),
        ("answer", pa.string()),
        ("value", pa.float32()),
        ("mass", pa.float32()),
        ("status", _CATEGORY),
    ]
)
"""One raw verdict a row: which judge was asked about which text (and against which), in which order
(0: the candidate stood first), the answer, its value 0..1 for the candidate, the probability mass
on the verdicts, and whether it could be read: `ok`, `outside` (too little mass), `unparsable`,
`failed`."""


def schema(
    criteria: Sequence[str], measures: Sequence[str] = (), version: int = FORMAT_VERSION
) -> pa.Schema:
    """The schema of a set scored on `criteria`, none before judging; measures: see MEASURES;
    version: of the format.
    """
    scores = [(f"{text}_{name}", pa.float32()) for name in criteria for text in TEXTS]
    if criteria:
        scores += [(f"{text}_score", pa.float32()) for text in TEXTS]
    scores += [(name, pa.float32()) for name in measures]
    fields = [(name, kind) for name, kind, _ in _COLUMNS if version > 1 or name not in _SINCE_2]
    return pa.schema([*fields, *scores, ("meta", pa.string())])


def stored_values(row: Row, criteria: Iterable[str]) -> StoredValues:
    """The scores that a row of a set holds; None where it has none."""
    return {name: {text: row.get(f"{text}_{name}") for text in TEXTS} for name in criteria}


def describe(criteria: Sequence[str], measures: Sequence[str] = ()) -> list[tuple[str, str, str]]:
    """(column, type, meaning) of every column, for the data-set card."""
    rows = [(name, str(kind), meaning) for name, kind, meaning in _COLUMNS]
    for name in criteria:
        rows += [
            (f"{t}_{name}", "float", f"{name} of the {t}, 0..1, null: no verdict") for t in TEXTS
        ]
    if criteria:
        rows += [(f"{t}_score", "float", f"the criteria of the {t}, combined") for t in TEXTS]
    rows += [(name, "float", MEASURES[name.rpartition("_")[2]]) for name in measures]
    return [*rows, ("meta", "string", "the source record's other fields as JSON")]


class RowGroupFile(NamedTuple):
    """A Parquet file of one row group: all bytes, and those of the row group in it."""

    data: bytes
    start: int
    stop: int

    @property
    def sha256(self) -> str:
        """SHA-256 of the row group."""
        return hashlib.sha256(memoryview(self.data)[self.start : self.stop]).hexdigest()


def to_parquet(rows: Sequence[Row], columns: pa.Schema, metadata: Metadata = None) -> bytes:
    """The bytes of `row_group`."""
    return row_group(rows, columns, metadata).data


def row_group(rows: Sequence[Row], columns: pa.Schema, metadata: Metadata = None) -> RowGroupFile:
    """Rows as a Parquet file of one row group: zstd 3, checksums of pages, dictionaries for
    categories.

    The settings were measured: zstd 3 halves snappy, level 9 buys nothing more. The footer holds
    the digest of the row group, so two files with one footer hold the same rows.
    """
    columns = columns.with_metadata(dict(metadata)) if metadata else columns
    return written(pa.Table.from_pylist(list(rows), schema=columns))


def written(table: pa.Table) -> RowGroupFile:
    """A table as a file; see `row_group`."""
    buffer = io.BytesIO()
    categories = [f.name for f in table.schema if pa.types.is_dictionary(f.type)]
    with pq.ParquetWriter(
        buffer,
        table.schema,
        compression="zstd",
        compression_level=3,
        use_dictionary=categories,  # type: ignore[arg-type]  # stubs: bool
        write_page_checksum=True,
    ) as writer:
        writer.write_table(table, row_group_size=max(1, table.num_rows))
        stop = len(buffer.getbuffer())
        digest = hashlib.sha256(buffer.getbuffer()[len(MAGIC) :]).hexdigest()
        writer.add_key_value_metadata({ROW_GROUPS: digest})
    return RowGroupFile(buffer.getvalue(), len(MAGIC), stop)


def footer_digest(tail: bytes) -> str | None:
    """SHA-256 of a Parquet footer, given the end of a file; None where `tail` does not hold one."""
    if len(tail) < 8 or tail[-4:] != b"PAR1":
        return None
    size = int.from_bytes(tail[-8:-4], "little") + 8
    return hashlib.sha256(tail[-size:]).hexdigest() if size <= len(tail) else None
