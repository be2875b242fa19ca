"""Sets as version 0.1 of Prewrite wrote them: format 1, without reasons and their counts."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.fingerprint import fingerprint

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
_NEW = ("asked", "failed", "failures", "turn", "line", "after", "read")
_FILE = ("name", "rows", "bytes", "sha256")


def downgrade(folder: Path) -> None:
    """Make the set in `folder`, and the rewrites in it, what version 0.1 would have made of it."""
    manifest = json.loads((folder / "manifest.json").read_text()) | {"format_version": 1}
    made = manifest["passes"][-1]
    if (folder / "rewrites").exists():
        downgrade(folder / "rewrites")
        parts = json.loads((folder / "rewrites/manifest.json").read_text())["parts"]
        made["config"]["input"]["parts"] = fingerprint([part["sha256"] for part in parts])
        made["fingerprint"] = fingerprint(made["config"])
    known = {part["name"]: _downgrade_part(folder / part["name"]) for part in manifest["parts"]}
    manifest["parts"] = [_file(part, known) for part in manifest["parts"]]
    manifest["judgements"] = [_file(part, known) for part in manifest["judgements"]]
    manifest["passes"] = [_without_new(one) for one in manifest["passes"]]
    del manifest["owners"], manifest["digest"]
    for item in manifest["inputs"]:
        del item["version"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    lines = (folder / "commits.jsonl").read_text().splitlines()[:-1]
    records = [_without_new(json.loads(line)) for line in lines]
    for record in records:
        for key in ("part", "judgements"):
            record[key] = record[key] and _file(record[key], known)
    (folder / "commits.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))


def _file(entry: dict[str, Any], known: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """An entry of a file, with the size and digest that it has by now."""
    now = entry | known.get(entry["name"], {})
    return {key: now[key] for key in _FILE}


def _without_new(entry: dict[str, Any]) -> dict[str, Any]:
    assert set(_NEW[:3]) <= set(entry)
    return {key: value for key, value in entry.items() if key not in _NEW}


def _downgrade_part(path: Path) -> dict[str, Any]:
    """Write a part anew with the columns of format 1; its size and digest."""
    table = pq.read_table(path)
    scores = [name for name in table.column_names if table.schema.field(name).type == pa.float32()]
    fields = [*_COLUMNS, *((name, pa.float32()) for name in scores), ("meta", pa.string())]
    columns = pa.schema(fields).with_metadata(table.schema.metadata or {})
    table = table.select(columns.names).cast(columns)
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)
    data = path.read_bytes()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
