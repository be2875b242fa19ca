"""The columns of a scored shard set, and how rows become Parquet bytes.

One row is one chunk of a document. A document's rows stand in order in one file, and their
`original` joined give the document back byte for byte, so what stands before a row is its prefix.
Format 2 has one column more than format 1, `rewrite_reason`.
"""

import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

FORMAT_VERSION = 2
FORMATS = (1, 2)
"""The format that is written, and those that are read."""

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

StoredValues = Mapping[str, Mapping[str, float | None]]
"""Criterion → text → its value 0..1."""

DATA_DIGEST = "prewrite.data"
"""Key of a footer: SHA-256 of what was written before the footer."""

_CATEGORY = pa.dictionary(pa.int32(), pa.string())
_COLUMNS: tuple[tuple[str, pa.DataType, str], ...] = (
    ("id", pa.string(), "stable hash of source path, record and chunk"),
    ("doc_id", pa.string(), "the document; unique within a part"),
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


def to_parquet(
    rows: Sequence[Row], columns: pa.Schema, metadata: Mapping[str, str] | None = None
) -> bytes:
    """Rows as one Parquet file: zstd 3, page index and checksums, dictionaries for categories.

    The settings were measured: zstd 3 halves snappy, level 9 buys nothing more. The footer holds a
    digest of all that was written before it, so two files with one footer hold the same rows.
    """
    if metadata:
        columns = columns.with_metadata(dict(metadata))
    table = pa.Table.from_pylist(list(rows), schema=columns)
    buffer = io.BytesIO()
    categories = [f.name for f in columns if pa.types.is_dictionary(f.type)]
    with pq.ParquetWriter(
        buffer,
        columns,
        compression="zstd",
        compression_level=3,
        use_dictionary=categories,  # type: ignore[arg-type]  # stubs: bool
        write_page_index=True,
        write_page_checksum=True,
    ) as writer:
        writer.write_table(table, row_group_size=8192)
        written = hashlib.sha256(buffer.getbuffer()).hexdigest()
        writer.add_key_value_metadata({DATA_DIGEST: written})
    return buffer.getvalue()


def footer_digest(tail: bytes) -> str | None:
    """SHA-256 of a Parquet footer, given the end of a file; None where `tail` does not hold one."""
    if len(tail) < 8 or tail[-4:] != b"PAR1":
        return None
    size = int.from_bytes(tail[-8:-4], "little") + 8
    return hashlib.sha256(tail[-size:]).hexdigest() if size <= len(tail) else None
