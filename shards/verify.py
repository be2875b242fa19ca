"""Verify a set: re-hash every file the manifest lists, and audit rows against documents."""

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from base.errors import ShardError
from base.fingerprint import fingerprint
from shards import commit_log
from shards.generation import is_ready
from shards.journal import skipped_lines
from shards.leftovers import strays
from shards.manifest import File, Manifest
from shards.names import LOG, SKIPPED
from shards.reader import ShardSet
from shards.schema import FORMAT_VERSION, JUDGEMENT_SCHEMA, STATUSES, USABLE, Row


def verify(url: str) -> dict[str, Any]:
    """Check everything; returns counts and `problems`, one sentence each (none: the set is good).

    Cost: reads every byte twice (hash, then decode).
    """
    shards = ShardSet(url)
    manifest = shards.manifest
    problems = [] if manifest.status == "complete" else [f"the set is {manifest.status}"]
    problems += check_passes(manifest)
    seen: Counter[str] = Counter()
    for part in manifest.parts:
        problems += check_file(shards, part, manifest.columns) or _audit(shards, part, seen)
    for verdicts in manifest.judgements:
        problems += check_file(shards, verdicts, JUDGEMENT_SCHEMA)
    if not problems:
        problems += _totals(shards, seen)
    problems += _check_log(shards)
    for name in strays(shards.folder, manifest) if manifest.status == "complete" else ():
        problems.append(
            f"{name}: not in the manifest: a run that had ended or lost its lock wrote it; the "
            "same command, or --repair, removes it"
        )
    return {
        "set": url,
        "status": manifest.status,
        "files": len(manifest.parts) + len(manifest.judgements),
        "rows": seen["rows"],
        "documents": seen["documents"],
        "problems": problems,
    }


def _check_log(shards: ShardSet) -> list[str]:
    """Why the commit log of a complete set is not of this set, or not there, and whether it has
    other skipped records than the file of them.
    """
    folder, manifest = shards.folder, shards.manifest
    old = manifest.format_version != FORMAT_VERSION
    if manifest.status != "complete" or old or is_ready(folder, manifest):
        return []
    try:
        log = commit_log.read(folder, manifest.passes[-1].fingerprint)
        if log is None:
            return [f"{LOG}: not there; without it the set cannot be repaired; restore it"]
        commit_log.refuse_other(folder, log, manifest)
    except ShardError as error:
        return [str(error)]
    lines = skipped_lines([skip for record in log for skip in record.skipped])
    if lines and folder.read(SKIPPED) != lines:
        return [f"{SKIPPED}: its lines are not the skipped records of {LOG}; --repair writes it"]
    return []


def check_passes(manifest: Manifest) -> list[str]:
    """Whether each pass's configuration is the one its fingerprint was taken of."""
    edited = [made.name for made in manifest.passes if fingerprint(made.config) != made.fingerprint]
    return [f"the configuration of pass '{name}' is not that of its fingerprint" for name in edited]


def check_file(shards: ShardSet, file: File, columns: Any) -> list[str]:
    """What is wrong with a listed file: not there, other bytes, rows or columns."""
    try:
        digest = shards.folder.sha256(file.name)
    except FileNotFoundError:
        return [f"{file.name}: listed, but not there"]
    if digest != file.sha256:
        return [f"{file.name}: SHA-256 {digest[:12]}…, the manifest says {file.sha256[:12]}…"]
    with shards.folder.open(file.name) as stream:
        try:
            parquet = pq.ParquetFile(stream)
        except pa.ArrowException as error:
            return [f"{file.name}: damaged: {str(error).splitlines()[0]}"]
        if parquet.metadata.num_rows != file.rows:
            return [f"{file.name}: {parquet.metadata.num_rows} rows, listed: {file.rows}"]
        if not parquet.schema_arrow.equals(columns):
            return [f"{file.name}: its columns are not those of the set"]
    return []


def _audit(shards: ShardSet, part: File, seen: Counter[str]) -> list[str]:
    problems: list[str] = []
    try:
        for rows in shards.documents(part):
            seen["documents"] += 1
            seen["rows"] += len(rows)
            if [row["chunk"] for row in rows] != list(range(rows[0]["chunks"])):
                problems.append(f"{part.name}: document {rows[0]['doc_id']} lacks chunks")
            for row in rows:
                seen[f"status:{row['rewrite_status']}"] += 1
                problems += _check_row(part, row)
    except ShardError as error:
        problems.append(str(error))
    return problems


def _check_row(part: File, row: Row) -> list[str]:
    status = row["rewrite_status"]
    where = f"{part.name}: row {row['id']}"
    if status not in STATUSES:
        return [f"{where}: status {status!r}; accepted: {', '.join(STATUSES)}"]
    if (row["rewrite"] is not None) != (status in USABLE):
        return [f"{where}: status '{status}' and rewrite do not fit"]
    if row.get("rewrite_reason") is not None and status in ("ok", "copied", "skipped"):
        return [f"{where}: status '{status}' and rewrite_reason do not fit"]
    scores = [v for k, v in row.items() if isinstance(v, float) and not k.endswith("_score")]
    if any(not 0 <= value <= 1 for value in scores):
        return [f"{where}: a score outside 0..1"]
    return []


def _totals(shards: ShardSet, seen: Counter[str]) -> list[str]:
    manifest = shards.manifest
    found = {k.removeprefix("status:"): n for k, n in seen.items() if k.startswith("status:")}
    pairs = [
        ("rows", seen["rows"], manifest.rows),
        ("documents", seen["documents"], manifest.documents),
        ("statuses", dict(sorted(found.items())), manifest.statuses),
    ]
    return [f"{name}: found {a}, the manifest says {b}" for name, a, b in pairs if a != b]
