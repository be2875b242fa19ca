"""Repair a set: find the parts that are not what was committed, and have just these made again.

A complete set is repaired from its commit log alone (`shards.log`), whatever records lie beside it;
without a log that fits, nothing is changed. A part that does not fit its record gets a new one that
says so, all of them in one write of the log; the command that made the set then does the same
documents again, as the same block, and copies the other parts of the file unchanged. Where the
engine answers the same, the new part holds the same bytes. A manifest that contradicts the log, or
is not what was written, is written anew from it. What only the manifest knows (a pass's
configuration, the digests of its log) cannot be repaired.
"""

from collections.abc import Sequence
from contextlib import suppress

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.owned import OwnedFolder
from prewrite.shards import log
from prewrite.shards.commit_log import CommitLog, commit_log_of
from prewrite.shards.generation import settle
from prewrite.shards.leftovers import clean
from prewrite.shards.lock import OutputLock
from prewrite.shards.manifest import Manifest, PassFacts, Record, SetStatus
from prewrite.shards.names import LOG, MANIFEST, SKIPPED, block_name
from prewrite.shards.old import refuse_old
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import JUDGEMENT_SCHEMA
from prewrite.shards.summary import skipped_lines, summary_of
from prewrite.shards.verify import OTHER_COLUMNS, FileCheck, check_passes, refuse_unlike

_ANEW = "the manifest was written anew"
_ENDED: tuple[SetStatus, ...] = ("complete", "interrupted")


def repair(url: str) -> list[str]:
    """Repair the set at `url`; what was done, one sentence each (none: nothing to do).

    ShardError where another run is writing there, or the set cannot be repaired.
    """
    if Manifest.unchecked(Folder(url)) is None:
        Manifest.load(Folder(url))  # raises, before anything is written
    refuse_old(url, "--repair")
    with OutputLock(Folder(url)) as lock:
        done = _restore(lock.folder)
        unsettled = _settle(lock.folder, done)
        shards = ShardSet(url)
        if problems := check_passes(shards.manifest):
            raise ShardError(f"{url}: {problems[0]}; restore {url}/{MANIFEST} from a copy")
        records = _records(shards)
        damaged = _damaged(shards, records)
        if other := [p for found in damaged.values() for p in found if OTHER_COLUMNS in p]:
            raise ShardError(f"{url}: {other[0]}; restore {url}/{MANIFEST} from a copy")
        if damaged:
            return done + _redo(shards, lock.folder, records, damaged)
        if unsettled:
            raise unsettled
        return done + _refold(shards, lock.folder, records)


def _settle(folder: OwnedFolder, done: list[str]) -> ShardError | None:
    """Publish the next generation where it is ready; why it could not be, which damage of the set
    explains.
    """
    before = Manifest.load(folder).generation
    try:
        published = settle(folder).generation
    except ShardError as error:
        return error
    done += [f"generation {published} was published"] if published > before else []
    return None


def _restore(folder: Folder) -> list[str]:
    """Write a manifest anew that is not what was written, where the log holds all that was changed:
    with the log's values it has the digest that it was written with. ShardError for another.
    """
    found = Manifest.unchecked(folder)
    if found is None or found.is_whole:
        return []
    manifest, records = found.manifest, list[Record]()
    with suppress(ShardError):  # what names the log may be what was changed
        records = [*log.records(folder, manifest)]
    for status in _ENDED if records else ():
        summary_of(records).write_into(manifest, status)
        if manifest.digest == found.given:
            manifest.save(folder)
            return [_ANEW]
    raise ShardError(
        f"{found.fault(folder)}; {LOG} does not hold what was changed; nothing was changed now; "
        f"restore the file from a copy; if you edited it on purpose, write {found.content} there"
    )


def _records(shards: ShardSet) -> list[Record]:
    """Every record of a set: of the log of a complete one, else those that hold of a run."""
    if shards.manifest.status == "complete":
        faults = list[str]()
        records = [*log.checked(shards.folder, shards.manifest, faults)]
        if faults:
            raise ShardError(f"{shards.folder.url}/{faults[0]}")
        return records
    commit_log = commit_log_of(shards.manifest, shards.folder)
    return [record for split in sorted(commit_log.splits()) for record in commit_log.records(split)]


def _damaged(shards: ShardSet, records: Sequence[Record]) -> dict[tuple[str, int], list[str]]:
    """The commits whose parts are not what was committed, by split and block, and why."""
    files = FileCheck(shards)
    rows = files.all_faults([r.part for r in records if r.part], shards.manifest.columns)
    said = files.all_faults([r.judgements for r in records if r.judgements], JUDGEMENT_SCHEMA)
    found = {}
    for record in records:
        name = block_name(record.split, record.block)
        faults = [*rows.get(name, ()), *said.get(name, ())]
        if faults or record.redo:
            found[record.split, record.block] = faults or ["a part is to be made again"]
    return found


def _redo(
    shards: ShardSet,
    folder: OwnedFolder,
    records: list[Record],
    damaged: dict[tuple[str, int], list[str]],
) -> list[str]:
    """Mark the records of the damaged parts, and leave the set unfinished."""
    bad = [record for record in records if (record.split, record.block) in damaged]
    rows = sum(record.part.rows for record in bad if record.part)
    marked = [emptied(record) if record in bad else record for record in records]
    manifest = shards.manifest
    if manifest.known_as == manifest.rows_digest:
        manifest.known_as = ""  # what is made again may be other rows
    summary_of(marked).write_into(manifest, "interrupted")
    manifest.log = log.write(folder, marked, CommitLog(folder, manifest).token())
    manifest.save(folder)
    said = [problem for problems in damaged.values() for problem in problems]
    return [*said, f"run the command that made it to recompute {rows} rows of {len(damaged)} parts"]


def emptied(record: Record) -> Record:
    """The record of a part that is to be made again from the same documents."""
    part = record.part
    kept = part.known_as if part and part.known_as != part.sha256 else record.known_as
    return record.model_copy(
        update={
            "known_as": kept,
            "turn": record.turn + (not record.redo),
            "part": None,
            "judgements": None,
            "skipped": [],
            "left_out": {},
            "redo": True,
            **PassFacts(abandoned=record.abandoned).told(),
        }
    )


def _refold(shards: ShardSet, folder: Folder, records: list[Record]) -> list[str]:
    """Write the manifest and the skipped records of a complete set anew where they contradict the
    log.
    """
    manifest = shards.manifest
    if manifest.status != "complete":
        return []
    before = manifest.model_dump()
    summary = summary_of(records)
    refuse_unlike(manifest, folder, summary)
    summary.write_into(manifest, "complete")
    done = list[str]()
    if manifest.model_dump() != before:
        manifest.save(folder)
        done.append(_ANEW)
    lines = skipped_lines(summary.skipped)
    if lines and folder.read(SKIPPED) != lines:
        folder.write(SKIPPED, lines)
        done.append(f"{SKIPPED} was written anew")
    clean(folder, manifest)
    return done
