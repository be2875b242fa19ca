"""Repair a set: find the parts that are not what was committed, and have just these made again.

A complete set is repaired from its commit log alone (`shards.finished_log`), whatever records lie
beside it; without a log that fits, nothing is changed. A part that does not fit its record gets a
new one that says so, all of them in one write of the log; the command that made the set then does
the same documents again, as the same block. Where the engine answers the same, the new part holds
the same bytes. A manifest that contradicts the log, or is not what was written, is written anew
from it. What only the manifest knows (a pass's configuration) cannot be repaired.
"""

from collections.abc import Iterable
from contextlib import suppress

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.shards import finished_log
from prewrite.shards.commit_log import commit_log_of, skipped_lines, summary_of
from prewrite.shards.generation import settle
from prewrite.shards.leftovers import clean
from prewrite.shards.lock import OutputLock
from prewrite.shards.manifest import Manifest, PassFacts, Record, SetStatus
from prewrite.shards.names import LOG, SKIPPED, block_of
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import FORMAT_VERSION, JUDGEMENT_SCHEMA
from prewrite.shards.verify import OTHER_COLUMNS, check_file, check_passes, refuse_unlike

_ANEW = "the manifest was written anew"
_ENDED: tuple[SetStatus, ...] = ("complete", "interrupted")


def repair(url: str) -> list[str]:
    """Repair the set at `url`; what was done, one sentence each (none: nothing to do).

    ShardError where another run is writing there, or the set cannot be repaired.
    """
    if Manifest.unchecked(Folder(url)) is None:
        Manifest.load(Folder(url))  # raises, before anything is written
    with OutputLock(Folder(url)) as lock:
        done = _restore(lock.folder)
        before = ShardSet(url).manifest.generation
        published = settle(lock.folder).generation
        done += [f"generation {published} was published"] if published > before else []
        shards = ShardSet(url)
        if (found := shards.manifest.format_version) != FORMAT_VERSION:
            raise ShardError(
                f"{url}: found a set of format {found}; accepted by --repair: format "
                f"{FORMAT_VERSION}; it can be read, and repaired by the version that made it"
            )
        if problems := check_passes(shards.manifest):
            raise ShardError(f"{url}: {problems[0]}; restore {url}/manifest.json from a copy")
        records = _records(shards)
        damaged = {(r.split, r.block): p for r in records if (p := _problems(shards, r))}
        if other := [p for found in damaged.values() for p in found if OTHER_COLUMNS in p]:
            raise ShardError(f"{url}: {other[0]}; restore {url}/manifest.json from a copy")
        if damaged:
            _refuse_other_log(shards, (r for r in records if (r.split, r.block) in damaged))
            return done + _redo(shards, lock.folder, records, damaged)
        return done + _refold(shards, lock.folder, records)


def _restore(folder: Folder) -> list[str]:
    """Write a manifest anew that is not what was written, where the log holds all that was changed:
    with the log's values it has the digest that it was written with. ShardError for another.
    """
    found = Manifest.unchecked(folder)
    if found is None or found.is_whole:
        return []
    manifest, records = found.manifest, list[Record]()
    with suppress(ShardError):  # what names the log may be what was changed
        records = finished_log.read(folder, manifest.passes[-1].fingerprint) or []
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
    url, manifest = shards.folder.url, shards.manifest
    fingerprint = manifest.passes[-1].fingerprint
    if manifest.status == "complete":
        logged = finished_log.read(shards.folder, fingerprint)
        if logged is None:
            raise ShardError(
                f"{url}: no {LOG} to repair it by; nothing was changed; make the set again"
            )
        return logged
    commit_log = commit_log_of(manifest, shards.folder)
    return [record for split in sorted(commit_log.splits()) for record in commit_log.records(split)]


def _problems(shards: ShardSet, record: Record) -> list[str]:
    """What is wrong with the files of one commit."""
    found = check_file(shards, record.part, shards.manifest.columns) if record.part else []
    if record.judgements:
        found += check_file(shards, record.judgements, JUDGEMENT_SCHEMA)
    return found or (["a part is to be made again"] if record.redo else [])


def _refuse_other_log(shards: ShardSet, damaged: Iterable[Record]) -> None:
    """ShardError where the log misses a file of which the set has another one, whole: then the log
    is that of another generation, or of another set of the same recipe.
    """
    manifest = shards.manifest
    if manifest.status != "complete":
        return
    parts, verdicts = (
        {block_of(file.name): file for file in files}
        for files in (manifest.parts, manifest.judgements)
    )
    for record in (record for record in damaged if not record.redo):  # not by a killed repair
        block = f"{record.split}-{record.block:05d}"
        for logged, listed, columns in (
            (record.part, parts.get(block), manifest.columns),
            (record.judgements, verdicts.get(block), JUDGEMENT_SCHEMA),
        ):
            if listed and listed != logged and not check_file(shards, listed, columns):
                raise ShardError(
                    f"{shards.folder.url}/{LOG}: it does not list {listed.name} as it is, which is "
                    "whole and in the manifest; accepted: the log of this set; nothing was "
                    "changed; restore it"
                )


def _redo(
    shards: ShardSet,
    folder: Folder,
    records: list[Record],
    damaged: dict[tuple[str, int], list[str]],
) -> list[str]:
    """Mark the records of the damaged parts, and leave the set unfinished."""
    bad = [record for record in records if (record.split, record.block) in damaged]
    rows = sum(record.part.rows for record in bad if record.part)
    marked = [emptied(record) if record in bad else record for record in records]
    manifest = shards.manifest
    finished_log.write(folder, marked, manifest.passes[-1].fingerprint)
    summary_of(marked).write_into(manifest, "interrupted")
    manifest.save(folder)
    said = [problem for problems in damaged.values() for problem in problems]
    return [*said, f"run the command that made it to recompute {rows} rows of {len(damaged)} parts"]


def emptied(record: Record) -> Record:
    """The record of a part that is to be made again from the same documents."""
    return record.model_copy(
        update={
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
