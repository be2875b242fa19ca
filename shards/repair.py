"""Repair a set: find the parts that are not what was committed, and have just these made again.

A complete set is repaired from its commit log alone (`shards.commit_log`), whatever records lie
beside it; without a log that fits, nothing is changed. A part that does not fit its record gets a
new one that says so, all of them in one write of the log; the command that made the set then does
the same documents again, as the same block. Where the engine answers the same, the new part holds
the same bytes. A manifest that contradicts the log, or is not what was written, is written anew
from it. What only the manifest knows (a pass's configuration) cannot be repaired.
"""

from collections.abc import Iterable
from contextlib import suppress

from base.errors import ShardError
from base.files import Folder
from shards import commit_log
from shards.generation import settle
from shards.journal import Folded, journal_of, skipped_lines, together
from shards.lease import Lease
from shards.leftovers import clean
from shards.manifest import Manifest, Record, Status, Usage
from shards.names import LOG, SKIPPED, block_of
from shards.reader import ShardSet
from shards.schema import FORMAT_VERSION, JUDGEMENT_SCHEMA
from shards.verify import check_file, check_passes

_ANEW = "the manifest was written anew"
_ENDED: tuple[Status, ...] = ("complete", "interrupted")


def repair(url: str) -> list[str]:
    """Repair the set at `url`; what was done, one sentence each (none: nothing to do).

    ShardError where another run is writing there, or the set cannot be repaired.
    """
    if Manifest.unchecked(Folder(url)) is None:
        Manifest.load(Folder(url))  # raises, before anything is written
    with Lease(Folder(url)) as lease:
        done = _restore(lease.folder)
        before = ShardSet(url).manifest.generation
        published = settle(lease.folder).generation
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
        if damaged:
            _refuse_other_log(shards, damaged)
            return done + _redo(shards, lease.folder, records, damaged)
        return done + _refold(shards, lease.folder, records)


def _restore(folder: Folder) -> list[str]:
    """Write a manifest anew that is not what was written, where the log holds all that was changed:
    with the log's values it has the digest that it was written with. ShardError for another.
    """
    found = Manifest.unchecked(folder)
    if found is None or found.is_whole:
        return []
    manifest, records = found.manifest, list[Record]()
    with suppress(ShardError):  # what names the log may be what was changed
        records = commit_log.read(folder, manifest.passes[-1].fingerprint) or []
    for status in _ENDED if records else ():
        _folded(records).write_into(manifest, status)
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
        logged = commit_log.read(shards.folder, fingerprint)
        if logged is None:
            raise ShardError(
                f"{url}: no {LOG} to repair it by; nothing was changed; make the set again"
            )
        return logged
    journal = journal_of(manifest, shards.folder)
    return [record for split in sorted(journal.splits()) for record in journal.records(split)]


def _problems(shards: ShardSet, record: Record) -> list[str]:
    """What is wrong with the files of one commit."""
    found = check_file(shards, record.part, shards.manifest.columns) if record.part else []
    if record.judgements:
        found += check_file(shards, record.judgements, JUDGEMENT_SCHEMA)
    return found or (["a part is to be made again"] if record.redo else [])


def _refuse_other_log(shards: ShardSet, damaged: Iterable[tuple[str, int]]) -> None:
    """ShardError where the log misses a part of which the set has another one, whole: then the log
    is that of another generation, or of another set of the same recipe.
    """
    if shards.manifest.status != "complete":
        return
    listed = {block_of(part.name): part for part in shards.manifest.parts}
    for split, block in damaged:
        part = listed.get(f"{split}-{block:05d}")
        if part and not check_file(shards, part, shards.manifest.columns):
            raise ShardError(
                f"{shards.folder.url}/{LOG}: it does not name {part.name}, which is whole and in "
                "the manifest; accepted: the log of this set; nothing was changed; restore it"
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
    commit_log.write(folder, marked, manifest.passes[-1].fingerprint)
    _folded(marked).write_into(manifest, "interrupted")
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
            "counts": {},
            "asked": 0,
            "failed": 0,
            "failures": {},
            "skipped": [],
            "left_out": {},
            "usage": Usage(),
            "versions": {},
            "redo": True,
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
    folded = _folded(records)
    _refuse_unlike(manifest, folder, folded)
    folded.write_into(manifest, "complete")
    done = list[str]()
    if manifest.model_dump() != before:
        manifest.save(folder)
        done.append(_ANEW)
    lines = skipped_lines(folded.skipped)
    if lines and folder.read(SKIPPED) != lines:
        folder.write(SKIPPED, lines)
        done.append(f"{SKIPPED} was written anew")
    clean(folder, manifest)
    return done


def _refuse_unlike(manifest: Manifest, folder: Folder, folded: Folded) -> None:
    """ShardError where the log does not hold what the manifest says of the input."""
    listed = sum(item.records or 0 for item in manifest.inputs)
    if folded.unfinished or listed not in (0, sum(folded.records.values())):
        raise ShardError(
            f"{folder.url}/{LOG}: found {sum(folded.records.values())} input records, "
            f"{len(folded.unfinished)} splits without an end; accepted: {listed}, as the manifest "
            "says; nothing was changed"
        )


def _folded(records: list[Record]) -> Folded:
    """What records say together."""
    chains: dict[str, list[Record]] = {}
    for record in records:
        chains.setdefault(record.split, []).append(record)
    return together(chains)
