"""Small commits, large files: the row groups of many files copied into one, byte for byte.

A task merges what it has committed: while it runs, each time that there is a file's worth, and at
its end all that is left, with what a repair has made again. A merge is published like a commit:
first the new files, then the record that says where the rows are now, then the old files go. A kill
in between leaves files that no record names, or the rows in two files of which one counts.

Cost: the bytes are read and written once more; 8 MiB of memory, and the footers of the sources.
"""

import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.owned import OwnedFolder
from prewrite.base.text import one_line
from prewrite.shards import footer, names
from prewrite.shards.commit_log import CommitLog
from prewrite.shards.manifest import Record
from prewrite.shards.parts import Part
from prewrite.shards.reader import footer_of, refuse_other_groups
from prewrite.shards.schema import ROW_GROUPS, footer_digest

FILE_BYTES = 256 << 20
"""Row groups are gathered until a file has so many bytes: of rows, or of raw verdicts."""

_BLOCK = 8 << 20


class Merging:
    """What one task merges. Pending are the commits of this process that lie in small files."""

    def __init__(self, commit_log: CommitLog, folder: OwnedFolder) -> None:
        self._commit_log, self._folder = commit_log, folder
        self._pending: list[Record] = []

    def add(self, record: Record) -> None:
        """A commit more; merges once there is enough."""
        self._pending.append(record)
        rows, verdicts = (_bytes(parts) for parts in _columns(self._pending))
        if max(rows, verdicts) >= FILE_BYTES:
            some, self._pending = self._pending, []
            for alike in apart(self._folder, some):
                merge(self._commit_log, self._folder, alike)


def merge_all(commit_log: CommitLog, folder: OwnedFolder, splits: Iterable[str]) -> None:
    """Merge whatever of these splits lies in small files, or beside row groups that no record names
    any more.
    """
    records = [record for split in splits for record in commit_log.records(split)]
    for some in to_merge(records):
        for alike in apart(folder, some):
            merge(commit_log, folder, alike)


def apart(folder: Folder, records: Sequence[Record]) -> list[list[Record]]:
    """Records in groups, in their order, so that a file and a `doc_id` go on naming one document:
    two corpus files may hold the same ids.
    """
    found, seen = list[list[Record]](), set[str]()
    for record in records:
        ids = _doc_ids(folder, record.part) if record.part else set()
        if not found or not seen.isdisjoint(ids):
            found.append([])
            seen = set()
        found[-1].append(record)
        seen |= ids
    return found


def _doc_ids(folder: Folder, part: Part) -> set[str]:
    try:
        with folder.open_at_random(part.file, part.file_bytes) as stream:
            file = pq.ParquetFile(stream, pre_buffer=True)
            ids = file.read_row_group(part.group or 0, ["doc_id"])["doc_id"]
            return set(map(str, ids.to_pylist()))
    except (pa.ArrowException, OSError, KeyError, IndexError, ValueError) as error:
        text = one_line(str(error), 200)
        raise ShardError(f"{folder.url}/{part.file}: cannot read: {text}") from None


def to_merge(records: Sequence[Record], least: int | None = None) -> list[list[Record]]:
    """Which records come into one file each, in their order. Files that are full of rows that
    count, and of `least` bytes (None: `FILE_BYTES`), stay; so does the last one, however small.
    """
    least = FILE_BYTES if least is None else least
    used = Counter(part.file for parts in _columns(records) for part in parts)

    def stays(record: Record) -> bool:
        parts = [part for part in (record.part, record.judgements) if part]
        full = all(used[part.file] == part.groups for part in parts)
        return full and any(part.file_bytes >= least for part in parts)

    gathered, current = list[list[Record]](), list[Record]()
    for record in (record for record in records if record.part and not stays(record)):
        current.append(record)
        if max(map(_bytes, _columns(current))) >= least:
            gathered.append(current)
            current = []
    gathered += [current] if current else []
    return [some for some in gathered if not _is_one(some, used)]


def merge(commit_log: CommitLog, folder: OwnedFolder, records: Sequence[Record]) -> list[Record]:
    """Bring the rows of `records` into one file, and their verdicts into another; the records as
    they are then.
    """
    if _is_one(records, Counter(part.file for parts in _columns(records) for part in parts)):
        return list(records)
    token = commit_log.token()
    rows, verdicts = _columns(records)
    name = rows[0].name
    placed = copied(folder, rows, names.rows_file(name, token, folder.url))
    judged = copied(folder, verdicts, names.verdicts_file(name, token)) if verdicts else {}
    moved = [moved_to(record, placed, judged) for record in records]
    commit_log.commit_merge(moved, token)
    folder.refuse_if_lost()
    for file in _emptied([*rows, *verdicts]):
        folder.remove(file)
    for record in records:
        commit_log.forget(record)
    return moved


def moved_to(record: Record, rows: dict[str, Part], verdicts: dict[str, Part]) -> Record:
    """A record with the places of its parts by their names, where they have new ones."""
    change = {}
    if record.part and record.part.name in rows:
        change["part"] = rows[record.part.name]
    if record.judgements and record.judgements.name in verdicts:
        change["judgements"] = verdicts[record.judgements.name]
    return record.model_copy(update=change)


def copied(folder: OwnedFolder, parts: Sequence[Part], name: str) -> dict[str, Part]:
    """Copy row groups into the new file `name`; where each part is then, by its name. ShardError
    where one is not what was committed, or the disk has no room.
    """
    refuse_full(folder, sum(part.bytes for part in parts))
    footers = {part.file: _footer(folder, part) for part in parts}
    groups, starts, at = list[footer.Group](), list[int](), len(footer.MAGIC)
    with folder.writing(name) as stream:
        stream.write(footer.MAGIC)
        for part in parts:
            _copy(folder, part, stream)
            group = footer.row_groups(footers[part.file])[part.group or 0]
            groups.append(footer.Group(group, at - part.start))
            starts.append(at)
            at += part.bytes
        digests = {ROW_GROUPS: " ".join(part.sha256 for part in parts)}
        end = footer.ended(footer.joined(footers[parts[0].file], groups, digests))
        stream.write(end)
    size, digest = at + len(end), footer_digest(end) or ""
    return {
        part.name: replace(
            part,
            file=name,
            file_bytes=size,
            footer=digest,
            groups=len(parts),
            group=number,
            start=start,
        )
        for number, (part, start) in enumerate(zip(parts, starts, strict=True))
    }


def _footer(folder: Folder, part: Part) -> footer.Struct:
    """That of the file of a part. ShardError where it is not there, or another one."""
    where = f"{folder.url}/{part.file}"
    try:
        found = footer.parsed(where, footer_of(folder, part)[:-8])
    except FileNotFoundError:
        raise ShardError(f"{where}: listed, but not there") from None
    refuse_other_groups(where, part, len(footer.row_groups(found)))
    return found


def refuse_full(folder: Folder, size: int) -> None:
    """ShardError where a local disk has no room for so many bytes."""
    if not folder.is_local:
        return
    free = shutil.disk_usage(folder.root).free
    if free < size:
        raise ShardError(
            f"{folder.url}: found {free >> 20} MiB of free disk; accepted: {(size >> 20) + 1} MiB, "
            "to merge small files into one; make room, and run the same command again"
        )


def _copy(folder: Folder, part: Part, stream: IO[bytes]) -> None:
    """Copy the bytes of a row group; ShardError where they are not those that were committed."""
    digest = hashlib.sha256()
    for block in blocks(folder, part):
        digest.update(block)
        stream.write(block)
    if digest.hexdigest() != part.sha256:
        raise ShardError(
            f"{folder.url}/{part.file}: row group {part.group} is not what was committed; run "
            f"prewrite shards verify --repair {folder.url}, then the command that made the set"
        )


def blocks(folder: Folder, part: Part) -> Iterator[bytes]:
    """The bytes of a part, some at a time. ShardError where its file is not there."""
    try:
        with folder.open_at_random(part.file, part.file_bytes) as source:
            source.seek(part.start)
            left = part.bytes
            while left and (block := source.read(min(left, _BLOCK))):
                left -= len(block)
                yield block
    except FileNotFoundError:
        raise ShardError(f"{folder.url}/{part.file}: listed, but not there") from None


def _columns(records: Iterable[Record]) -> tuple[list[Part], list[Part]]:
    """The parts with rows, and those with verdicts."""
    every = list(records)
    return [r.part for r in every if r.part], [r.judgements for r in every if r.judgements]


def _bytes(parts: Iterable[Part]) -> int:
    return sum(part.bytes for part in parts)


def _is_one(records: Sequence[Record], used: Counter[str]) -> bool:
    """Whether records lie in one file, alone."""
    return all(
        len({part.file for part in parts}) < 2 and all(used[p.file] == p.groups for p in parts)
        for parts in _columns(records)
    )


def _emptied(parts: Iterable[Part]) -> list[str]:
    """The files all of whose row groups are among `parts`."""
    every = list(parts)
    found = Counter(part.file for part in every)
    return [file for file, groups in {p.file: p.groups for p in every}.items()
            if found[file] == groups]  # fmt: skip
