"""Verify a set: re-hash every file the manifest lists, and audit rows against documents."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from typing import Any

import pyarrow as pa

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder, told_as
from prewrite.base.fingerprint import fingerprint
from prewrite.base.together import together
from prewrite.shards import log
from prewrite.shards.footer import MAGIC
from prewrite.shards.generation import is_ready
from prewrite.shards.leftovers import strays
from prewrite.shards.manifest import Manifest
from prewrite.shards.names import LOG, MANIFEST, SKIPPED, owner_of
from prewrite.shards.old import is_half_upgraded
from prewrite.shards.parts import Part
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import (
    JUDGEMENT_SCHEMA,
    NONE,
    STATUSES,
    USABLE,
    Row,
    best_of,
    status_counts,
)
from prewrite.shards.summary import CommitSummary, skipped_lines, summary_of

_READ = ".parquet"  # what a reader of the whole folder takes for rows
_AHEAD = 8  # parts that are read at a time, for disks and networks

OTHER_COLUMNS = "its columns are not those of the set"
"""What is wrong with a file that is the one that was committed: then the manifest is not."""


def verify(url: str | PathLike[str]) -> dict[str, Any]:
    """Check everything; returns counts and `problems`, one sentence each (none: the set is good).

    Cost: reads every byte once, with as many reads as there are parts; memory for eight of them.
    """
    shards = ShardSet(url)
    manifest = shards.manifest
    problems = [] if manifest.status == "complete" else [f"the set is {manifest.status}"]
    problems += check_passes(manifest) + _half_upgraded(shards)
    of_log = _check_log(shards)  # before the parts are read: each of the two takes memory for all
    seen: Counter[str] = Counter()
    files, columns = FileCheck(shards), manifest.columns
    for part, held in files.read(shards.parts):
        problems += files.faults(part, held, columns) or _audit(shards, part, held, seen)
    for verdicts, held in files.read(shards.verdicts):
        problems += files.faults(verdicts, held, JUDGEMENT_SCHEMA)
    problems += files.unlisted()
    if not problems:
        problems += _totals(shards, seen)
    problems += of_log
    problems += _unlisted_files(shards) if manifest.status == "complete" else []
    return {
        "set": fspath(url),
        "status": manifest.status,
        "files": len({part.file for part in (*shards.parts, *shards.verdicts)}),
        "rows": seen["rows"],
        "documents": seen["documents"],
        "problems": problems,
    }


def _unlisted_files(shards: ShardSet) -> list[str]:
    """Files that runs of the set have left, and others that a reader of the folder takes for rows
    of the set.
    """
    if shards.manifest.flat or is_half_upgraded(shards.folder):
        return []
    left = strays(shards.folder, shards.manifest)
    known = {*left, *(part.file for part in shards.parts)}
    other = [name for name in shards.folder.names() if _is_read(name) and name not in known]
    return [
        f"{name}: not in the manifest: a run that had ended or lost its lock wrote it; the "
        "same command, or --repair, removes it"
        for name in left
    ] + [
        f"{name}: not in the manifest, but tools that read the whole folder take it for rows; "
        f"accepted: no other file that ends in {_READ}; move it elsewhere"
        for name in other
    ]


def _is_read(name: str) -> bool:
    """Whether a reader of the whole folder takes a file for rows."""
    return name.endswith(_READ) and not any(part[0] in "_." for part in name.split("/"))


def _half_upgraded(shards: ShardSet) -> list[str]:
    """Whether an upgrade was killed before its end."""
    if is_half_upgraded(shards.folder):
        return [f"an upgrade was not finished; run prewrite shards upgrade {shards.folder.url}"]
    return []


def _check_log(shards: ShardSet) -> list[str]:
    """Whether the manifest of a complete set, or the file of skipped records, says something else
    than the commit log.
    """
    folder, manifest = shards.folder, shards.manifest
    if manifest.status != "complete" or manifest.flat or is_ready(folder, manifest):
        return []
    faults = [
        f"{file.name}: found the log of a run that {MANIFEST} does not name; accepted: of one of "
        "its owners; restore the file from a copy"
        for file in manifest.log
        if owner_of(file.name) not in manifest.owners
    ]
    try:
        summary = summary_of(log.checked(folder, manifest, faults))
        refuse_unlike(manifest, folder, summary)
    except ShardError as error:
        return [*faults, str(error)]
    return faults or _other_than(summary, folder, manifest)


def _other_than(summary: CommitSummary, folder: Folder, manifest: Manifest) -> list[str]:
    """What the manifest, or the file of skipped records, says otherwise than the log."""
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


class FileCheck:
    """Looks at the parts of a set. Cost: one read of each file's end, and of each part's bytes,
    some of them ahead.
    """

    def __init__(self, shards: ShardSet) -> None:
        self._shards = shards
        self._groups: dict[str, int] = {}
        self._unread: dict[str, str] = {}
        self._seen = Counter[str]()
        self._begins: dict[str, bool] = {}
        self._same_columns: dict[str, bool] = {}

    def read(self, parts: Sequence[Part]) -> Iterator[tuple[Part, bytes]]:
        """Each part with its bytes, in order; without those that cannot be read."""
        yield from zip(parts, together(self._bytes, parts, _AHEAD), strict=True)

    def _bytes(self, part: Part) -> bytes:
        try:
            return self._shards.bytes_of(part)
        except ShardError as error:
            self._unread[part.file] = str(error).removeprefix(f"{self._shards.folder.url}/")
            return b""

    def faults(self, part: Part, held: bytes, columns: pa.Schema) -> list[str]:
        """What is wrong with a part of these bytes: its file not there or another one, other bytes,
        rows or columns.
        """
        self._seen[part.file] += 1
        if not held and part.file in self._unread:
            return [self._unread[part.file]]
        if (digest := hashlib.sha256(held).hexdigest()) != part.sha256:
            return [
                f"{part.file}{_group(part)}: SHA-256 {digest[:12]}…, the manifest says "
                f"{part.sha256[:12]}…"
            ]
        return self._footer_faults(part, held, columns)

    def _footer_faults(self, part: Part, held: bytes, columns: pa.Schema) -> list[str]:
        try:
            with self._shards.footer(part) as footer:
                groups = footer.num_row_groups
                chosen = range(groups) if part.group is None else [part.group]
                rows = sum(footer.row_group(group).num_rows for group in chosen)
                if rows != part.rows:
                    return [f"{part.file}{_group(part)}: {rows} rows, listed: {part.rows}"]
                if not self._is_of(part, held, columns):
                    return [f"{part.file}: {OTHER_COLUMNS}"]
                if not self._is_begun(part):
                    return [f"{part.file}: it does not begin as a Parquet file does"]
                self._groups[part.file] = part.groups
        except ShardError as error:
            return [str(error).removeprefix(f"{self._shards.folder.url}/")]
        return []

    def all_faults(self, parts: Sequence[Part], columns: pa.Schema) -> dict[str, list[str]]:
        """The faults of each part that has some, by its name."""
        every = ((part.name, self.faults(part, held, columns)) for part, held in self.read(parts))
        return {name: found for name, found in every if found}

    def _is_of(self, part: Part, held: bytes, columns: pa.Schema) -> bool:
        """Whether its file has these columns."""
        if part.file not in self._same_columns:
            with self._shards.open(part, held) as file:
                self._same_columns[part.file] = file.schema_arrow.equals(columns)
        return self._same_columns[part.file]

    def _is_begun(self, part: Part) -> bool:
        """Whether its file has the first bytes that it should have, which no digest covers."""
        if part.group is not None and part.file not in self._begins:
            folder = self._shards.folder
            with (
                told_as(ShardError, f"{folder.url}/{part.file}: cannot read"),
                folder.open_at_random(part.file, part.file_bytes) as stream,
            ):
                self._begins[part.file] = stream.read(len(MAGIC)) == MAGIC
        return self._begins.get(part.file, True)

    def unlisted(self) -> list[str]:
        """The files, once all parts were looked at, with row groups that belong to no commit."""
        return [
            f"{file}: found {groups} row groups, of which {self._seen[file]} belong to a commit of "
            f"the set; accepted: all of them; --repair, and the command that made the set, mend it"
            for file, groups in self._groups.items()
            if groups != self._seen[file]
        ]


def _group(part: Part) -> str:
    return "" if part.groups == 1 else f", row group {part.group}"


def _audit(shards: ShardSet, part: Part, held: bytes, seen: Counter[str]) -> list[str]:
    problems, texts = list[str](), shards.manifest.texts
    criteria = (*shards.manifest.criteria, "score")
    scores = {text: [f"{text}_{name}" for name in criteria] for text in texts}
    ids = set[str]()
    try:
        for rows in shards.documents(part, held):
            seen["documents"] += 1
            seen["rows"] += len(rows)
            places = [(row["chunk"], row["chunks"]) for row in rows]
            if places != [(chunk, len(rows)) for chunk in range(len(rows))]:
                problems.append(f"{part.file}: document {rows[0]['doc_id']} lacks chunks")
            if len({row["doc_id"] for row in rows}) > 1:
                problems.append(f"{part.file}: document {rows[0]['doc_id']} has rows of another")
            seen.update(status_counts(rows, texts))
            for row in rows:
                problems += _check_row(part, row, texts, scores)
                if row["id"] in ids:
                    problems.append(f"{part.file}: row {row['id']} stands there twice")
                ids.add(row["id"])
    except ShardError as error:
        problems.append(str(error))
    return problems


def _check_row(
    part: Part, row: Row, texts: Sequence[str], scores: Mapping[str, Sequence[str]]
) -> list[str]:
    """scores: the columns of the scores of each text."""
    where = f"{part.file}: row {row['id']}"
    if len(texts) == 1 and row["rewrite_status"] not in (NONE, "skipped"):
        return [f"{where}: status {row['rewrite_status']!r}; accepted: {NONE}, skipped"]
    for text in texts[1:]:
        status = row[f"{text}_status"]
        if status not in STATUSES:
            return [f"{where}: status {status!r}; accepted: {', '.join(STATUSES)}"]
        if (row[text] is not None) != (status in USABLE):
            return [f"{where}: status '{status}' and {text} do not fit"]
        if row.get(f"{text}_reason") is not None and status in ("ok", "copied", "skipped"):
            return [f"{where}: status '{status}' and {text}_reason do not fit"]
    for text in texts:
        if row[text] is None and any(row.get(name) is not None for name in scores[text]):
            return [f"{where}: a score of {text}, which is null"]
    if "best" in row and row["best"] != best_of(row, texts):
        return [f"{where}: best '{row['best']}' and the scores do not fit"]
    shares = [v for k, v in row.items() if isinstance(v, float) and not k.endswith("_score")]
    if any(not 0 <= value <= 1 for value in shares):
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
