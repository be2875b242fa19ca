"""Verify a set: re-hash every file the manifest lists, and audit rows against documents."""

from collections import Counter
from collections.abc import Sequence
from os import PathLike, fspath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.shards import finished_log
from prewrite.shards.commit_log import CommitSummary, skipped_lines, summary_of
from prewrite.shards.generation import is_ready
from prewrite.shards.leftovers import strays
from prewrite.shards.manifest import File, Manifest
from prewrite.shards.names import LOG, MANIFEST, SKIPPED
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import (
    FORMAT_VERSION,
    JUDGEMENT_SCHEMA,
    STATUSES,
    USABLE,
    Row,
    best_of,
    status_counts,
)

OTHER_COLUMNS = "its columns are not those of the set"
"""What is wrong with a file that is the one that was committed: then the manifest is not."""


def verify(url: str | PathLike[str]) -> dict[str, Any]:
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
        "set": fspath(url),
        "status": manifest.status,
        "files": len(manifest.parts) + len(manifest.judgements),
        "rows": seen["rows"],
        "documents": seen["documents"],
        "problems": problems,
    }


def _check_log(shards: ShardSet) -> list[str]:
    """Why the commit log of a complete set is not of this set, or not there, and whether the
    manifest, or the file of skipped records, says something else.
    """
    folder, manifest = shards.folder, shards.manifest
    old = manifest.format_version != FORMAT_VERSION
    if manifest.status != "complete" or old or is_ready(folder, manifest):
        return []
    try:
        log = finished_log.read(folder, manifest.passes[-1].fingerprint)
        if log is None:
            return [f"{LOG}: not there; without it the set cannot be repaired; restore it"]
        finished_log.refuse_other(folder, log, manifest)
        summary = summary_of(log)
        refuse_unlike(manifest, folder, summary)
    except ShardError as error:
        return [str(error)]
    anew = manifest.model_copy(deep=True)
    summary.write_into(anew, "complete")
    if anew != manifest:
        return [f"{MANIFEST}: its counts are not those of {LOG}; --repair writes it anew"]
    lines = skipped_lines(summary.skipped)
    if lines and folder.read(SKIPPED) != lines:
        return [f"{SKIPPED}: its lines are not the skipped records of {LOG}; --repair writes it"]
    return []


def refuse_unlike(manifest: Manifest, folder: Folder, summary: CommitSummary) -> None:
    """ShardError where the log does not hold what the manifest says of the input. A later pass
    keeps the inputs of the first one, and does not read the records that gave no rows.
    """
    first = len(manifest.passes) == 1
    listed = sum(item.records or 0 for item in manifest.inputs) if first else 0
    if summary.unfinished or listed not in (0, sum(summary.records.values())):
        raise ShardError(
            f"{folder.url}/{LOG}: found {sum(summary.records.values())} input records, "
            f"{len(summary.unfinished)} splits without an end; accepted: {listed}, as the manifest "
            "says; nothing was changed"
        )


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
        except (pa.ArrowException, OSError) as error:
            return [f"{file.name}: damaged: {str(error).splitlines()[0]}"]
        if parquet.metadata.num_rows != file.rows:
            return [f"{file.name}: {parquet.metadata.num_rows} rows, listed: {file.rows}"]
        if not parquet.schema_arrow.equals(columns):
            return [f"{file.name}: {OTHER_COLUMNS}"]
    return []


def _audit(shards: ShardSet, part: File, seen: Counter[str]) -> list[str]:
    problems: list[str] = []
    try:
        for rows in shards.documents(part):
            seen["documents"] += 1
            seen["rows"] += len(rows)
            if [row["chunk"] for row in rows] != list(range(rows[0]["chunks"])):
                problems.append(f"{part.name}: document {rows[0]['doc_id']} lacks chunks")
            texts = shards.manifest.texts
            seen.update(status_counts(rows, texts))
            for row in rows:
                problems += _check_row(part, row, texts)
    except ShardError as error:
        problems.append(str(error))
    return problems


def _check_row(part: File, row: Row, texts: Sequence[str]) -> list[str]:
    where = f"{part.name}: row {row['id']}"
    for text in texts[1:]:
        status = row[f"{text}_status"]
        if status not in STATUSES:
            return [f"{where}: status {status!r}; accepted: {', '.join(STATUSES)}"]
        if (row[text] is not None) != (status in USABLE):
            return [f"{where}: status '{status}' and {text} do not fit"]
        if row.get(f"{text}_reason") is not None and status in ("ok", "copied", "skipped"):
            return [f"{where}: status '{status}' and {text}_reason do not fit"]
    if "best" in row and row["best"] != best_of(row, texts):
        return [f"{where}: best '{row['best']}' and the scores do not fit"]
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
