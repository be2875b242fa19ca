"""Sets as version 0.1 of Prewrite wrote them: format 1, without reasons and their counts."""

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.fingerprint import fingerprint
from prewrite.shards import flat, log, names
from prewrite.shards.parts import Part
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import JUDGEMENT_SCHEMA, footer_digest, written
from prewrite.shards.seal import sealed

_WORDS = pa.dictionary(pa.int32(), pa.string())
_COLUMNS: list[tuple[str, pa.DataType]] = [
    ("id", pa.string()),
    ("doc_id", pa.string()),
    ("source", _WORDS),
    ("chunk", pa.int32()),
    ("chunks", pa.int32()),
    ("original", pa.string()),
    ("original_tokens", pa.int32()),
    ("rewrite", pa.string()),
    ("rewrite_status", _WORDS),
]
_MANIFEST = (
    "status", "criteria", "measures", "passes", "inputs", "rows", "documents", "statuses",
    "left_out", "skipped", "skipped_records",
)  # fmt: skip
_PASS = ("name", "fingerprint", "config", "versions", "usage", "counts", "abandoned", "seconds")
_INPUT = ("path", "bytes", "sha256", "records")
_RECORD = (
    "split", "block", "start", "stop", "documents", "counts", "skipped", "left_out", "usage",
    "versions", "last", "sha256", "abandoned", "redo",
)  # fmt: skip


def downgrade(folder: Path) -> None:
    """Make the set in `folder`, and the rewrites in it, what version 0.1 would have made of it."""
    shards = ShardSet(folder)
    content = shards.manifest.model_dump(mode="json")
    manifest: dict[str, Any] = {"format_version": 1, **_kept(content, _MANIFEST)}
    manifest["passes"] = [_kept(made, _PASS) for made in manifest["passes"]]
    manifest["inputs"] = [_kept(item, _INPUT) for item in manifest["inputs"]]
    if (folder / names.REWRITES).exists():
        shutil.move(folder / names.REWRITES, folder / flat.REWRITES)
        downgrade(folder / flat.REWRITES)
        made, inner = manifest["passes"][-1], folder / flat.REWRITES / flat.MANIFEST
        digests = [part["sha256"] for part in json.loads(inner.read_text())["parts"]]
        made["config"]["input"]["parts"] = fingerprint(digests)
        made["fingerprint"] = fingerprint(made["config"])
    records = [*log.records(shards.folder, shards.manifest)]
    kinds: list[tuple[str, Sequence[Part]]] = [("", shards.parts), ("judgements/", shards.verdicts)]
    files = {(at, part.name): _written(folder, at, part) for at, some in kinds for part in some}
    manifest["parts"] = [files["", part.name] for part in shards.parts]
    manifest["judgements"] = [files["judgements/", part.name] for part in shards.verdicts]
    lines = [
        _kept(record.model_dump(mode="json"), _RECORD)
        | {"part": record.part and files["", record.part.name]}
        | {"judgements": record.judgements and files["judgements/", record.judgements.name]}
        for record in records
    ]
    for old, new in ((names.CARD, "README.md"), (names.SKIPPED, "skipped.jsonl")):
        if (folder / old).exists():
            shutil.move(folder / old, folder / new)
    for place in (names.DATA, names.JUDGEMENTS, "_prewrite"):
        shutil.rmtree(folder / place, ignore_errors=True)
    (folder / flat.MANIFEST).write_text(json.dumps(manifest))
    (folder / flat.LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))


def _kept(content: dict[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """What 0.1 knew of it."""
    return {key: content[key] for key in keys}


def _written(folder: Path, at: str, part: Part) -> dict[str, Any]:
    """Write a part as a file of its own, with the columns of format 1; how it is listed."""
    table = pq.ParquetFile(folder / part.file).read_row_group(part.group or 0)
    columns = JUDGEMENT_SCHEMA
    if not at:
        scores = [name for name in table.column_names if table.field(name).type == pa.float32()]
        fields = [*_COLUMNS, *((name, pa.float32()) for name in scores), ("meta", pa.string())]
        columns = pa.schema(fields)
    table = table.select(columns.names).cast(columns.with_metadata(table.schema.metadata or {}))
    path = folder / f"{at}part-{part.name}.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)
    data = path.read_bytes()
    listed = {"name": f"{at}{path.name}", "rows": part.rows, "bytes": len(data)}
    return listed | {"sha256": hashlib.sha256(data).hexdigest()}


def flatten(folder: Path, change: Callable[[pa.Table], pa.Table] = lambda table: table) -> None:
    """Make the set in `folder` one of format 2 as it was before its release: all files in one
    folder, with the columns of today. change: of the rows of each part.
    """
    shards = ShardSet(folder)
    left = ("log", "rows_digest", "verdicts_digest", "known_as", "removed")
    content = {k: v for k, v in shards.manifest.model_dump(mode="json").items() if k not in left}
    files = {part.name: _file(folder, part, change) for part in shards.parts}
    lines = [
        record.model_dump(mode="json") | {"part": record.part and files[record.part.name]}
        for record in log.records(shards.folder, shards.manifest)
    ]
    content |= {"parts": [*files.values()], "judgements": []}
    shutil.rmtree(folder / names.DATA)
    shutil.rmtree(folder / "_prewrite")
    (folder / flat.MANIFEST).write_bytes(sealed(content))
    (folder / flat.LOG).write_text("".join(json.dumps(line) + "\n" for line in lines))


def _file(folder: Path, part: Part, change: Callable[[pa.Table], pa.Table]) -> dict[str, Any]:
    table = change(pq.ParquetFile(folder / part.file).read_row_group(part.group or 0))
    path = folder / f"part-{part.name}-{'0' * 12}.parquet"
    path.write_bytes(written(table).data)
    data = path.read_bytes()
    known = {"name": path.name, "rows": part.rows, "bytes": len(data)}
    return known | {"sha256": hashlib.sha256(data).hexdigest(), "footer": footer_digest(data)}
