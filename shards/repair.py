"""Repair a set: find the parts that are not what was committed, and have just these made again.

A complete set keeps its commit records in `commits.jsonl`: which input records each part covers,
and the digests of its files. A part that does not fit its record is removed and its record marked;
the command that made the set then does the same documents again, as the same part. Where the engine
answers the same, that part is the same byte by byte. A manifest that contradicts the records is
written anew from them. What only the manifest knows (a pass's configuration) cannot be repaired.
"""

from collections.abc import Iterable
from itertools import chain

from pydantic import ValidationError

from base.errors import ShardError
from base.files import Folder
from shards.journal import FOLDER, Journal, fold
from shards.lease import Lease
from shards.manifest import Record, Status, Usage
from shards.reader import ShardSet
from shards.schema import FORMAT_VERSION, JUDGEMENT_SCHEMA
from shards.verify import check_file, check_passes

RECORDS = "commits.jsonl"


def keep(folder: Folder, journal: Journal, splits: Iterable[str]) -> None:
    """Write the records of a complete set where they stay."""
    records = chain.from_iterable(journal.records(split) for split in splits)
    lines = "".join(record.model_dump_json() + "\n" for record in records)
    folder.write(RECORDS, lines.encode())


def repair(url: str) -> list[str]:
    """Repair the set at `url`; what was done, one sentence each (none: nothing to do).

    ShardError where another run is writing there, or the set cannot be repaired.
    """
    folder = Folder(url)
    ShardSet(url)  # before anything is written: there must be a set
    with Lease(folder):
        shards = ShardSet(url)
        if (found := shards.manifest.format_version) != FORMAT_VERSION:
            raise ShardError(
                f"{url}: found a set of format {found}; accepted by --repair: format "
                f"{FORMAT_VERSION}; it can be read, and repaired by the version that made it"
            )
        if problems := check_passes(shards.manifest):
            raise ShardError(f"{url}: {problems[0]}; restore {url}/manifest.json from a copy")
        records = _records(folder)
        damaged = {(r.split, r.block): p for r in records if (p := _problems(shards, r))}
        return _redo(shards, records, damaged) if damaged else _refold(shards, records)


def _records(folder: Folder) -> list[Record]:
    """Every record of a set: those of an unfinished run, or those that a complete set keeps."""
    names = [name for name in folder.names() if name.startswith(f"{FOLDER}/")]
    found = [folder.read(name) or b"" for name in names if name.endswith(".json")]
    kept = folder.read(RECORDS)
    if not found and kept is None:
        raise ShardError(f"{folder.url}: no {RECORDS} to repair it by; make the set again")
    try:
        return [Record.model_validate_json(line) for line in found or (kept or b"").splitlines()]
    except ValidationError:
        raise ShardError(f"{folder.url}/{RECORDS}: damaged; make the set again") from None


def _problems(shards: ShardSet, record: Record) -> list[str]:
    """What is wrong with the files of one commit."""
    found = check_file(shards, record.part, shards.manifest.columns) if record.part else []
    if record.judgements:
        found += check_file(shards, record.judgements, JUDGEMENT_SCHEMA)
    return found


def _redo(
    shards: ShardSet, records: list[Record], damaged: dict[tuple[str, int], list[str]]
) -> list[str]:
    """Drop the damaged parts, and leave the set unfinished."""
    journal, rows = _journal(shards), 0
    for record in records:
        if (record.split, record.block) not in damaged:
            journal.write(record)
            continue
        rows += record.part.rows if record.part else 0
        for file in (record.part, record.judgements):
            if file:
                shards.folder.remove(file.name)
        journal.write(emptied(record))
    _save(shards, journal, records, "interrupted")
    said = [problem for problems in damaged.values() for problem in problems]
    return [*said, f"run the command that made it to recompute {rows} rows of {len(damaged)} parts"]


def emptied(record: Record) -> Record:
    """The record of a part that is to be made again from the same documents."""
    return record.model_copy(
        update={
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


def _refold(shards: ShardSet, records: list[Record]) -> list[str]:
    """Write the manifest anew where it contradicts the records."""
    if shards.manifest.status != "complete":
        return []
    journal = _journal(shards)
    before = shards.manifest.model_dump()
    for record in records:
        journal.write(record)
    _save(shards, journal, records, "complete")
    journal.clear()
    return ["the manifest was written anew"] if shards.manifest.model_dump() != before else []


def _journal(shards: ShardSet) -> Journal:
    return Journal(shards.folder, shards.manifest.columns, shards.manifest.passes[-1].fingerprint)


def _save(shards: ShardSet, journal: Journal, records: list[Record], status: Status) -> None:
    manifest = shards.manifest
    splits = sorted({record.split for record in records})
    fold(journal, splits).write_into(manifest, status)
    manifest.save(shards.folder)
