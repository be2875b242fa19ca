"""Make a set of an older format one of today's, and the rewrites in it: the same rows, new files.

Each part is decoded and written as a commit, as a pass would, so that a kill costs the open part
and the same command continues. Until the new manifest is written the set is the old one, for all
readers that go by it; then the old files go. `_prewrite/upgrade.json` is the manifest until then.

Cost: the rows are read, written and merged once; free disk for one copy of them and a file more.
"""

import re
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import ValidationError

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.owned import OwnedFolder
from prewrite.base.text import one_line
from prewrite.shards import flat, log, names
from prewrite.shards.card import card
from prewrite.shards.commit_log import Block, CommitLog, Lineage, commit_log_of
from prewrite.shards.decoded import fault
from prewrite.shards.flat import FlatFiles
from prewrite.shards.leftovers import clean
from prewrite.shards.lock import OutputLock
from prewrite.shards.manifest import Manifest, PassFacts, Record, Unchecked
from prewrite.shards.merge import Merging, merge_all, refuse_full
from prewrite.shards.occupied import refuse_taken
from prewrite.shards.old import set_around
from prewrite.shards.parts import Part
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import FORMAT_VERSION, JUDGEMENT_SCHEMA, schema
from prewrite.shards.summary import CommitSummary, fold, skipped_lines

_REPORT = "report.html"
_REFERENCES = re.compile(rf"{flat.REFERENCES}/[0-9a-f]{{16}}/(?:manifest\.json|part-.+\.parquet)")


def upgrade(url: str) -> list[str]:
    """Upgrade the set at `url`, and the rewrites in it; of rewrites, the set that was made of them,
    too. What was done, one sentence each (none: nothing to do).

    ShardError where a set is not complete, its log is not there, files of others have the names of
    the new one's, or another run is writing there; before anything is written.
    """
    outer = set_around(url)
    url = (outer.url if outer else url).rstrip("/")
    Folder(url).refuse_outside(flat.REWRITES)
    inner = f"{url}/{flat.REWRITES}"
    has_inner = Folder(inner).exists(flat.MANIFEST)
    both = [*([(inner, f"{url}/{names.REWRITES}")] if has_inner else []), (url, url)]
    for old, new in both:
        _check(old, Folder(new))
    return [sentence for old, new in both for sentence in _upgrade(old, new)]


def _check(url: str, to: Folder) -> None:
    """ShardError where the set at `url` cannot be upgraded, or is not the one that is at `to`."""
    if to.exists(names.MANIFEST):
        _refuse_other(Manifest.unchecked_at(Folder(url), flat.MANIFEST), url, to)
        return
    old = _whole(url)
    _records(old)
    begun = _begun(to)
    if not (begun and begun.manifest.known_as == old.manifest.known_as):
        refuse_taken(to, besides=flat.FILES if to.url == url else ())


def _begun(folder: Folder) -> Unchecked | None:
    """The manifest of an upgrade that was killed; ShardError where it is not what was written."""
    found = Manifest.unchecked_at(folder, names.UPGRADE)
    if found and not found.is_whole:
        raise ShardError(f"{found.fault(folder, names.UPGRADE)}; restore the file from a copy")
    return found


def _refuse_other(old: Unchecked | None, url: str, to: Folder) -> None:
    """ShardError where the set at `to` was not made of the old one, which then stays."""
    new = Manifest.load(to)
    if old and old.manifest.known_as != new.known_as:
        raise ShardError(
            f"{url}/{flat.MANIFEST}: found another set than in {to.url}/{names.MANIFEST}; "
            "accepted: one set; move one of them elsewhere"
        )


def _upgrade(url: str, to: str) -> list[str]:
    """Upgrade one set. to: where it is then."""
    with OutputLock(Folder(to)) as lock:
        folder, before = lock.folder, Folder(url)
        done = list[str]()
        if not Folder(to).exists(names.MANIFEST):
            old = _whole(url)
            new = _Upgrade(old, folder).run()
            done = [f"{to}: format {FORMAT_VERSION}; {new.rows} rows in {new.parts} row groups"]
        folder.remove(names.UPGRADE)
        clean(folder, Manifest.load(folder))
        if before.exists(flat.MANIFEST):  # it goes last, so that whatever is left is seen
            folder.refuse_if_lost()
            _remove_old(before, folder)
            done = done or [f"{to}: what was left of the old format was removed"]
        return done


def _whole(url: str) -> ShardSet:
    shards = ShardSet(url)
    if (status := shards.manifest.status) != "complete":
        raise ShardError(
            f"{url}: found a set that is {status}; accepted: a complete one; finish it with the "
            "version of Prewrite that began it"
        )
    return shards


class _Upgrade:
    """The set `old`, written anew in `folder`."""

    def __init__(self, old: ShardSet, folder: OwnedFolder) -> None:
        self._old, self._folder = old, folder
        self._records = _records(old)
        self._flat = old.manifest.flat or FlatFiles([], [])

    def run(self) -> Manifest:
        """Write what is not written yet, and publish it."""
        manifest = self._begun()
        refuse_full(self._folder, sum(part.bytes for part in self._flat.parts))
        commit_log = CommitLog(self._folder, manifest)
        merging = Merging(commit_log, self._folder)
        for split, records in self._records.items():
            done = commit_log.records(split)
            place = commit_log.continued(done, split)
            for record in records[len(done) :]:
                merging.add(self._written(commit_log, record, _block(record, place)))
                place = replace(place, after=place.line)
        merge_all(commit_log_of(manifest, self._folder), self._folder, self._records)
        return self._published(manifest)

    def _begun(self) -> Manifest:
        """The manifest of the new set, saved under another name, with what is written of it."""
        manifest = _anew(self._old.manifest)
        found = _begun(self._folder)
        if found and found.manifest.known_as == manifest.known_as:
            manifest = found.manifest
            records = self._summary(manifest).every
            manifest.log = log.write(
                self._folder, records, CommitLog(self._folder, manifest).token()
            )
        manifest.owners = [*manifest.owners, self._folder.owner]
        manifest.save(self._folder, names.UPGRADE)
        return manifest

    def _summary(self, manifest: Manifest) -> CommitSummary:
        return fold(commit_log_of(manifest, self._folder), self._records)

    def _written(self, commit_log: CommitLog, record: Record, block: Block) -> Record:
        """One commit: the same rows, with all columns of today."""
        block.known_as = record.part.known_as if record.part else ""
        rows = self._table(record.part, self._columns)
        said = self._table(record.judgements, JUDGEMENT_SCHEMA)
        return commit_log.commit_tables(block, rows, said)

    @property
    def _columns(self) -> pa.Schema:
        manifest = self._old.manifest
        return schema(manifest.criteria, manifest.measures, rewrites=manifest.rewrites)

    def _table(self, part: Part | None, columns: pa.Schema) -> pa.Table | None:
        if part is None:
            return None
        batches = [*self._old.batches(part, size=1 << 16)]
        table: Any = pa.Table.from_batches(batches)
        if table.num_rows != part.rows:
            raise ShardError(
                f"{self._old.folder.url}/{part.file}: found {table.num_rows} rows; accepted: "
                f"{part.rows}, as listed"
            )
        if other := [name for name in table.column_names if name not in columns.names]:
            raise ShardError(
                f"{self._old.folder.url}/{part.file}: found the column '{one_line(other[0], 60)}'; "
                "accepted: those that the manifest names; nothing of it would be kept"
            )
        for name in columns.names:
            if name not in table.column_names:
                empty = pa.nulls(table.num_rows, pa.string())
                table = table.append_column(name, empty)
        found: pa.Table = table.select(columns.names).cast(columns)
        return found

    def _published(self, manifest: Manifest) -> Manifest:
        summary = self._summary(manifest)
        old = self._old.manifest
        if (summary.rows, summary.documents) != (old.rows, old.documents):
            raise ShardError(
                f"{self._old.folder.url}: its {flat.LOG} holds {summary.rows} rows of "
                f"{summary.documents} documents; accepted: {old.rows} of {old.documents}, as "
                f"{flat.MANIFEST} says"
            )
        token = CommitLog(self._folder, manifest).token()
        manifest.log = log.write(self._folder, summary.every, token)
        summary.write_into(manifest, "complete")
        if summary.skipped:
            self._folder.write(names.SKIPPED, skipped_lines(summary.skipped))
        self._folder.write(names.CARD, card(manifest).encode())
        manifest.save(self._folder)
        return manifest


def _anew(old: Manifest) -> Manifest:
    """The manifest of an old set, as one of today's of which nothing is written."""
    change = {"format_version": FORMAT_VERSION, "status": "running", "parts": 0, "rows_digest": ""}
    return Manifest.model_validate(old.model_dump() | change)


def _records(old: ShardSet) -> dict[str, list[Record]]:
    """The commits of an old set by split, in order; ShardError without a log that fits it."""
    where = f"{old.folder.url}/{flat.LOG}"
    raw = flat.records(old.folder)
    found = [_record(f"{where}: line {number}", one) for number, one in enumerate(raw or [], 1)]
    files = old.manifest.flat or FlatFiles([], [])
    listed = [one.part for one in found if one.part]
    said = [one.judgements for one in found if one.judgements]
    if raw is None or _same(listed) != _same(files.parts) or _same(said) != _same(files.verdicts):
        state = "no log" if raw is None else "files that are not those of the manifest"
        raise ShardError(
            f"{where}: found {state}; accepted: the log of this set; without it the set can be "
            "read, but not upgraded"
        )
    splits: dict[str, list[Record]] = {}
    for record in found:
        splits.setdefault(record.split, []).append(record)
    return splits


def _record(where: str, raw: dict[str, Any]) -> Record:
    try:
        return Record.model_validate(raw)
    except ValidationError as error:
        raise ShardError(f"{where}: damaged: {fault(error)}") from None


def _same(parts: Iterable[Part]) -> list[tuple[str, str]]:
    return [(part.file, part.sha256) for part in parts]


def _block(record: Record, place: Lineage) -> Block:
    """The commit of a record, without its rows."""
    return Block(
        split=record.split,
        number=record.block,
        start=record.start,
        stop=record.stop,
        documents=record.documents,
        skipped=record.skipped,
        left_out=Counter(record.left_out),
        facts=PassFacts(**{name: getattr(record, name) for name in PassFacts.model_fields}),
        last=record.last,
        sha256=record.sha256,
        read=record.read,
        place=place,
    )


def _remove_old(before: Folder, folder: OwnedFolder) -> None:
    """Remove the files of the old format, their manifest last; a report moves. What is not a set's
    stays.
    """
    found = Manifest.unchecked_at(before, flat.MANIFEST)
    files = found.manifest.flat if found else None
    listed = [part.file for part in (*files.parts, *files.verdicts)] if files else []
    report = before.read(_REPORT)
    if report is not None:
        folder.write(names.REPORT, report)
        listed.append(_REPORT)
    listed += [name for name in before.names(flat.REFERENCES) if _REFERENCES.fullmatch(name)]
    listed += [name for name in flat.FILES if name != flat.MANIFEST]
    for name in [*listed, flat.MANIFEST]:
        before.remove(name)
    _remove_empty(before, {str(Path(name).parent) for name in listed})


def _remove_empty(folder: Folder, inner: Iterable[str]) -> None:
    """Remove the folders of a local disk that hold nothing any more."""
    every = {str(above) for name in inner for above in (Path(name), *Path(name).parents)}
    for name in sorted(every, reverse=True) if folder.is_local else ():
        with suppress(OSError):
            Path(folder.path(name)).rmdir()
