"""The columns of a scored shard set, and how rows become Parquet bytes.

One row is one chunk of a document. A document's rows stand in order in one file, and their
`original` joined give the document back byte for byte, so what stands before a row is its prefix.
Format 1 lacks the column `rewrite_reason`.
"""

import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.errors import ConfigError
from prewrite.base.text import one_line
from prewrite.shards.footer import MAGIC

FORMAT_VERSION = 2
"""The format that is written; `shards.flat` has what was before it."""

RewriteStatus = Literal[
    "ok", "copied", "refused", "truncated", "empty", "failed", "unasked", "skipped"
]
STATUSES: tuple[str, ...] = get_args(RewriteStatus)
USABLE: tuple[str, ...] = ("ok", "copied", "truncated")
"""The statuses with a text in `rewrite`; all others have null there."""

NOT_ASKED: tuple[str, ...] = ("unasked", "skipped")
"""The statuses about which nobody was asked: nothing could be put into the chunk, or it is context.
"""

NONE = "none"
"""The status of a chunk to continue in a set without rewrites, where all others are `skipped`."""

TEXTS = ("original", "rewrite")
"""The texts of most sets; one of several templates has more, one without rewrites the first."""

TEMPLATE_NAME = r"^[a-z][a-z0-9_]{0,39}$"
"""How the name of a template looks, so that it is part of a column's name in any tool."""

CRITERION_NAME = r"^[a-z][a-z0-9_]*$"
"""How the name of a criterion looks, for the same reason."""

RESERVED = ("best", "original", "reason", "rewrite", "rollout", "score", "status", "tokens")
"""Names that no template may have in a recipe."""

MEASURES = {
    "consistency": "1: its verdicts in both orders agree on the better text, 0: they do not",
    "disagreement": "standard deviation between the judges of the panel, mean over the texts",
}
"""What a column `<criterion>_<measure>` says of the verdicts of a row; null: not known."""

Row = dict[str, Any]
Metadata = Mapping[str, str] | None

Described = tuple[str, pa.DataType, str]
"""A column, its type and its meaning."""

Rewrites = Sequence[str] | None
"""What rewrites a set has, see `texts_of`."""

StoredValues = Mapping[str, Mapping[str, float | None]]
"""Criterion → text → its value 0..1."""

ROW_GROUPS = "prewrite.row_groups"
"""Key of a footer: the SHA-256 of the bytes of each row group, in their order."""

_CATEGORY = pa.dictionary(pa.int32(), pa.string())
_BEFORE: tuple[Described, ...] = (
    ("id", pa.string(), "stable hash of source path, record and chunk"),
    ("doc_id", pa.string(), "the document; unique within a file"),
    ("source", _CATEGORY, "the sub-corpus"),
    ("chunk", pa.int32(), "index of this chunk in its document, from 0"),
    ("chunks", pa.int32(), "number of chunks in the document"),
    ("original", pa.string(), "the chunk as it stands in the corpus"),
    ("original_tokens", pa.int32(), "its length under the configured tokenizer"),
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
`too_few` (it could, but too few of its question), `failed`."""


def texts_of(rewrites: Rewrites) -> tuple[str, ...]:
    """The texts of a set by their columns. rewrites: the names of its templates; the first one's
    text is `rewrite`, that of each other `rewrite_<name>`. Empty: one template without a name;
    None: no rewrites.
    """
    if rewrites is None:
        return TEXTS[:1]
    return (*TEXTS, *(f"rewrite_{name}" for name in rewrites[1:]))


def columns_of(
    criteria: Sequence[str], measures: Sequence[str] = (), rewrites: Rewrites = ()
) -> list[Described]:
    """The columns of a set scored on `criteria`, none before judging; measures: see MEASURES;
    rewrites: see `texts_of`.
    """
    texts, number = texts_of(rewrites), pa.float32()
    found = [*_BEFORE]
    if rewrites is None:
        found.append(("rewrite_status", _CATEGORY, f"{NONE}: a chunk to continue | skipped"))
    for text, name in zip(texts[1:], rewrites or ("",), strict=False):
        by = f" by the template {name}" if name else ""
        found += [
            (text, pa.string(), f"the rewritten chunk{by}, null where there is no usable one"),
            (f"{text}_status", _CATEGORY, " | ".join(STATUSES)),
            (f"{text}_reason", _CATEGORY, "why, where the status is not ok, copied or skipped"),
        ]
    for name in criteria:
        found += [
            (f"{t}_{name}", number, f"{name} of the {t}, 0..1, null: no verdict") for t in texts
        ]
    if criteria:
        found += [(f"{t}_score", number, f"the criteria of the {t}, combined") for t in texts]
    if criteria and rewrites:
        meaning = "the text with the highest score, see `best_of`; null: fewer than two have one"
        found.append(("best", _CATEGORY, meaning))
    found += [(name, number, MEASURES[name.rpartition("_")[2]]) for name in measures]
    return [*found, ("meta", pa.string(), "the source record's other fields as JSON")]


def schema(
    criteria: Sequence[str],
    measures: Sequence[str] = (),
    version: int = FORMAT_VERSION,
    rewrites: Rewrites = (),
) -> pa.Schema:
    """The schema of a set with `columns_of`; version: of the format."""
    found = columns_of(criteria, measures, rewrites)
    return pa.schema([(n, kind) for n, kind, _ in found if version > 1 or n not in _SINCE_2])


def refuse_hidden(
    key: str, criteria: Sequence[str], measures: Sequence[str], rewrites: Rewrites
) -> None:
    """ConfigError where two columns of a set would have one name. key: what names the templates,
    or the criteria.
    """
    meanings: dict[str, str] = {}
    for name, _, meaning in columns_of(criteria, measures, rewrites):
        if name in meanings:
            raise ConfigError(
                f"{key}: found two columns '{name}' ({meanings[name]}; {meaning}); accepted: "
                "names of templates and criteria that give each column once"
            )
        meanings[name] = meaning


def refuse_other_columns(
    criteria: Sequence[str], measures: Sequence[str], rewrites: Rewrites
) -> None:
    """ValueError where a set cannot have columns of these names."""
    for key, found in (
        ("criteria", criteria),
        ("measures", measures),
        ("rewrites", rewrites or ()),
    ):
        if twice := [name for name in found if found.count(name) > 1]:
            raise ValueError(f"{key}: found '{twice[0]}' twice; accepted: each once")
    accepted = [f"{name}_{measure}" for name in criteria for measure in MEASURES]
    for name in measures:
        if name not in accepted:
            shown = ", ".join(accepted) or "none, for there are no criteria"
            raise ValueError(f"measures: found '{one_line(name, 60)}'; accepted: {shown}")
    try:
        refuse_hidden("columns", criteria, measures, rewrites)
    except ConfigError as error:
        raise ValueError(str(error)) from None


def best_of(row: Row, texts: Sequence[str]) -> str | None:
    """Which text of a row has the highest score: of equal ones the original, then the first in the
    order of `texts`. None where fewer than two have one, for then nothing was compared.
    """
    found = _scored(row, texts)
    return max(found, key=lambda text: found[text]) if len(found) > 1 else None


def worst_of(row: Row, texts: Sequence[str]) -> str | None:
    """Which text has the lowest score, as `best_of`."""
    found = _scored(row, texts)
    return min(found, key=lambda text: found[text]) if len(found) > 1 else None


def _scored(row: Row, texts: Sequence[str]) -> dict[str, float]:
    scores = {text: row[f"{text}_score"] for text in texts if row[text] is not None}
    return {text: as_stored(score) for text, score in scores.items() if score is not None}


def as_stored(score: float) -> float:
    """A score at the precision of a set, float32."""
    return float(np.float32(score))


def status_key(text: str, status: str) -> str:
    """What `statuses` calls a status: that of `rewrite` as it is, others behind their text."""
    return status if text == "rewrite" else f"{text}: {status}"


def status_counts(rows: Iterable[Row], texts: Sequence[str]) -> Counter[str]:
    """Rows by the status of each rewrite, as `counts` of a pass have them."""
    kept = with_status(texts)
    return Counter(f"status:{status_key(t, row[f'{t}_status'])}" for row in rows for t in kept)


def with_status(texts: Sequence[str]) -> tuple[str, ...]:
    """What has a column `…_status`: each rewrite, and in a set without them `rewrite` all the same,
    which says there what is to be continued.
    """
    return (*texts[1:],) or TEXTS[1:]


def stored_values(row: Row, criteria: Iterable[str], texts: Sequence[str] = TEXTS) -> StoredValues:
    """The scores that a row of a set holds; None where it has none."""
    return {name: {text: row.get(f"{text}_{name}") for text in texts} for name in criteria}


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
