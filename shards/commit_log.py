"""Commit records of a running pass, and how they become the manifest of a finished one.

A split (an input file, or a part of an input set) is committed in blocks, in order; a record in
`commits/` says that a block is whole, after its Parquet files are. Every write has a name of its
own, so nothing that is there is ever written over, and what is there is listed, never guessed.

A run that takes over writes all that holds into the commit log; from then on only that and its own
records count, so a record that an earlier run writes later is passed over. Of one run, too, a
worker that was taken for dead may write later than its successor. Each record names the line of
work that it continues (`after`); what holds is the record of the latest `turn`, and all that it
continues. A kill leaves at most files without a record.
"""

import secrets
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.shards import log, names
from prewrite.shards.manifest import (
    Manifest,
    Opened,
    PassFacts,
    Record,
    Skip,
)
from prewrite.shards.names import RecordName
from prewrite.shards.parts import Part
from prewrite.shards.schema import JUDGEMENT_SCHEMA, Row, RowGroupFile, footer_digest, written

Key = tuple[str, int, int]
"""Split, block and turn of a record: no two records share them."""

_THREADS = 32  # waiting for disks and networks


class Merge(BaseModel):
    """What one merge has put into one file."""

    model_config = ConfigDict(extra="forbid")

    records: list[Record]


@dataclass(frozen=True)
class Lineage:
    """Where a worker's records belong: see `Record`. token: in the names of what it writes."""

    turn: int = 1
    line: str = ""
    after: str = ""
    token: str = ""


@dataclass
class Block:
    """The finished content of one part, ready to be written."""

    split: str
    number: int
    start: int
    stop: int
    documents: int = 0
    rows: list[Row] = field(default_factory=list)
    judgements: list[Row] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    facts: PassFacts = field(default_factory=PassFacts)
    last: bool = False
    sha256: str | None = None
    place: Lineage = field(default_factory=Lineage)
    read: str = ""
    removed: list[str] = field(default_factory=list)
    known_as: str = ""


class CommitLog:
    """What is committed of the set that `manifest` describes; several workers may use it, each on
    its own splits. What is there is listed once, at the first use.

    Two kinds of records hold: those in the manifest's log, and those of its latest owner. A merge
    moves rows and changes none. So where a file of the log is gone, the record of a merge says
    where its rows are, even if an earlier owner wrote it.

    splits: those that are asked about, where others need not be read.
    """

    def __init__(
        self, folder: Folder, manifest: Manifest, splits: Collection[str] | None = None
    ) -> None:
        self._splits = splits
        self.folder, self.manifest = folder, manifest
        self.columns, self.owner = manifest.columns, manifest.owner
        self.judged = "original_score" in self.columns.names
        self.metadata = {"prewrite.fingerprint": manifest.passes[-1].fingerprint}
        self._written: dict[Key, RecordName] = {}

    def commit(self, block: Block) -> Record:
        """Write the part and its judgements, then the record that makes them exist."""
        verdicts = _table(block.judgements, JUDGEMENT_SCHEMA) if self.judged else None
        return self.commit_tables(block, _table(block.rows, self.columns), verdicts)

    def commit_tables(self, block: Block, rows: pa.Table | None, said: pa.Table | None) -> Record:
        """Commit a block whose rows and verdicts are tables already; None where there are none."""
        place, name = block.place, names.block_name(block.split, block.number)
        part, verdicts = self.write(name, place.token, rows, said, block.known_as)
        record = Record(
            split=block.split,
            block=block.number,
            start=block.start,
            stop=block.stop,
            turn=place.turn,
            line=place.line,
            after=place.after,
            read=block.read,
            documents=block.documents,
            part=part,
            judgements=verdicts,
            skipped=block.skipped,
            left_out=dict(block.left_out),
            last=block.last,
            sha256=block.sha256,
            removed=block.removed,
            **block.facts.told(),
        )
        where = RecordName(block.split, block.number, place.turn, place.token)
        self.folder.write(str(where), record.model_dump_json().encode())
        self._written[_key(record)] = where
        return record

    def write(
        self,
        name: str,
        token: str,
        rows: pa.Table | None,
        said: pa.Table | None,
        known_as: str = "",
    ) -> tuple[Part | None, Part | None]:
        """Write the rows of a block and the verdicts on them into files of their own. known_as:
        what passes know the rows as, where that is not their digest.
        """
        part = self._write(name, names.rows_file(name, token, self.folder.url), rows, known_as)
        return part, self._write(name, names.verdicts_file(name, token), said)

    def commit_merge(self, records: Sequence[Record], token: str) -> None:
        """Write the record that makes the places exist where `records` have their rows by now, the
        same rows as before.
        """
        data = Merge(records=list(records)).model_dump_json().encode()
        self.folder.write(names.merge(token), data)

    def forget(self, record: Record) -> None:
        """Remove the file of a record which a later merge holds."""
        mine = self._written.pop(_key(record), None)
        for name in self._found.get(record.split, []) if mine is None else [mine]:
            if (name.block, name.turn) == (record.block, record.turn):
                self.folder.remove(str(name))

    def continued(self, done: Sequence[Record], split: str) -> Lineage:
        """The place of records that go on after `done`, all that holds of a split."""
        token = self.token()
        after = done[-1].line if done else ""
        return Lineage(turn=self._next_turn(split), line=token, after=after, token=token)

    def again(self, record: Record) -> Lineage:
        """The place of a record that replaces `record`, with the ones after it left as they are."""
        token = self.token()
        return Lineage(self._next_turn(record.split), record.line, record.after, token)

    def records(self, split: str) -> list[Record]:
        """Every committed block of `split` that holds, in order. One unreadable last record counts
        as absent; ShardError for one before others.
        """
        blocks = self._blocks(split)
        every = [record for found in blocks.values() for record in found]
        latest = sorted(every, key=lambda record: (record.turn, record.block), reverse=True)
        whole = (_back_from(tip, blocks) for tip in latest)
        chain = next((found for found in whole if found), list[Record]())
        while chain and (following := _latest(blocks[len(chain)], after=chain[-1].line)):
            chain.append(following)
        return chain

    def splits(self) -> set[str]:
        """The splits of which something is committed."""
        return self._logged.keys() | self._merged.keys() | self._found.keys()

    def opened(self, split: str) -> Opened | None:
        """What the latest worker on `split` had open."""
        data = self.folder.read(names.mark(split))
        try:
            return Opened.model_validate_json(data) if data is not None else None
        except ValidationError:
            return None  # it only says where to be careful

    def marked(self) -> set[str]:
        """The splits of which a worker has said what is open."""
        return {split for name in self._listed if (split := names.marked(name))}

    def open(self, split: str, record: Opened) -> None:
        """Say what is open; see `pipeline.quarantine`."""
        self.folder.write(names.mark(split), record.model_dump_json().encode())

    def is_empty(self) -> bool:
        """Whether nothing is committed."""
        return not self.splits()

    def tokens(self) -> Iterator[tuple[str, str]]:
        """The token of each record, and of each file of a log, that is there, of whatever run, and
        where it was found.
        """
        for name in self._listed:
            record, merge = RecordName.parse(name), names.merged(name)
            if token := record.token if record else merge:
                yield name, token
        for name in self.folder.names(names.LOG):
            if owner := names.owner_of(name):
                yield name, owner
        for records in self._logged.values():
            yield from ((names.LOG, record.line) for record in records if record.line)

    def clear(self) -> None:
        """Remove the records; the log holds all they said. Other files stay."""
        ours = [name for name in self._listed if names.is_passing(name)]
        for name in [names.RECORDS] if len(ours) == len(self._listed) else ours:
            self.folder.remove(name)

    def token(self) -> str:
        """A new one of this run, for the names of what it writes."""
        return self.owner + secrets.token_hex(2)

    def read_ahead(self) -> None:
        """Look up what all splits share, so that threads find it."""
        self._logged, self._merged, self._found  # noqa: B018

    @cached_property
    def _listed(self) -> list[str]:
        return self.folder.names(names.RECORDS)

    @cached_property
    def _found(self) -> dict[str, list[RecordName]]:
        """The names of the records of each split."""
        found = defaultdict[str, list[RecordName]](list)
        for name in map(RecordName.parse, self._listed):
            if name and name.token[: names.OWNER] == self.owner:
                found[name.split].append(name)
        return dict(found)

    @cached_property
    def _logged(self) -> dict[str, list[Record]]:
        """The records of each split that earlier runs have made."""
        found = _by_split(log.records(self.folder, self.manifest, self._splits))
        if self._moved and any(map(self._is_gone, _parts_of(found))):
            return {split: [*map(self._found_again, some)] for split, some in found.items()}
        return found

    @cached_property
    def _merged(self) -> dict[str, list[Record]]:
        """The records that this run has merged, as they are after the latest merge of each."""
        return _by_split(self._merges(lambda owner: owner == self.owner).values())

    @cached_property
    def _moved(self) -> dict[Key, Record]:
        """The records of merges by earlier runs."""
        return self._merges(lambda owner: owner != self.owner)

    @cached_property
    def _present(self) -> set[str]:
        return {*self.folder.names(names.DATA), *self.folder.names(names.JUDGEMENTS)}

    def _is_gone(self, part: Part) -> bool:
        return part.file not in self._present

    def _found_again(self, record: Record) -> Record:
        """A logged record, where a late merge of an earlier run has put its rows."""
        other = self._moved.get(_key(record))
        parts = [part for part in (record.part, record.judgements) if part]
        return other if other and any(map(self._is_gone, parts)) else record

    def _merges(self, wanted: Callable[[str], bool]) -> dict[Key, Record]:
        """The records in the merges of some owners. Of two merges that hold one, the one whose file
        is there; both were whole when they were written.
        """
        chosen = [n for n in self._listed if (t := names.merged(n)) and wanted(t[: names.OWNER])]
        with ThreadPoolExecutor(_THREADS) as pool:
            found = [merge for merge in pool.map(self._read_merge, chosen) if merge]
        every = [record for merge in found for record in merge.records]
        twice = len({_key(record) for record in every}) < len(every)
        if twice:
            every = [r for r in every if not any(map(self._is_gone, _parts_of({"": [r]})))]
        return {_key(record): record for record in every}

    def _read_merge(self, name: str) -> Merge | None:
        data = self.folder.read(name)
        try:
            return Merge.model_validate_json(data) if data is not None else None
        except ValidationError:
            raise ShardError(f"{self.folder.url}/{name}: damaged record of a merge") from None

    def _next_turn(self, split: str) -> int:
        """Greater than all so far on a split, a worker's that has written nothing yet included."""
        held = [*self._logged.get(split, []), *self._merged.get(split, [])]
        turns = [record.turn for record in held]
        turns += [name.turn for name in self._found.get(split, [])]
        latest = self.opened(split)
        return max(0, *turns, latest.turn if latest else 0) + 1

    def _blocks(self, split: str) -> defaultdict[int, list[Record]]:
        """The readable records of a split, by block."""
        held = {_key(record): record for record in self._logged.get(split, [])}
        held |= {_key(record): record for record in self._merged.get(split, [])}
        merged = {_key(record) for record in self._merged.get(split, [])}
        for name in self._found.get(split, []):
            key = name.split, name.block, name.turn
            if key not in merged and (found := self._read(name)):
                held[key] = found
        blocks = defaultdict[int, list[Record]](list)
        for record in held.values():
            blocks[record.block].append(record)
        return blocks

    def _read(self, name: RecordName) -> Record | None:
        """One record; None where it is gone or the last of its worker and unreadable."""
        data = self.folder.read(str(name))
        if data is None:
            return None
        try:
            record = Record.model_validate_json(data)
            if (record.split, record.block, record.turn) == name[:3]:
                return record
        except ValidationError:
            pass
        later = (n for n in self._found[name.split] if n.block > name.block)
        if any(n.token == name.token for n in later):
            raise ShardError(f"{self.folder.url}/{name}: damaged commit record")
        return None

    def _write(
        self, name: str, file: str, table: pa.Table | None, known_as: str = ""
    ) -> Part | None:
        if table is None or not table.num_rows:
            return None
        made = written(table.replace_schema_metadata(self.metadata))
        self.folder.write(file, made.data)
        return part_of(name, file, made, table.num_rows, known_as)


def _table(rows: Sequence[Row], columns: pa.Schema) -> pa.Table | None:
    return pa.Table.from_pylist(list(rows), schema=columns) if rows else None


def part_of(name: str, file: str, made: RowGroupFile, rows: int, known_as: str = "") -> Part:
    """The part that is all of a file of one row group."""
    return Part(
        name=name,
        file=file,
        file_bytes=len(made.data),
        footer=footer_digest(made.data) or "",
        groups=1,
        group=0,
        start=made.start,
        bytes=made.stop - made.start,
        rows=rows,
        sha256=made.sha256,
        known_as=known_as or made.sha256,
    )


def commit_log_of(manifest: Manifest, folder: Folder) -> CommitLog:
    """What is committed of a set, as it is now. ShardError where a run has committed that the
    manifest does not name: then it is the manifest of another run.
    """
    commit_log = CommitLog(folder, manifest)
    for place, token in commit_log.tokens():
        if token[: names.OWNER] not in manifest.owners:
            raise ShardError(
                f"{folder.url}/{place}: found a commit of the run {token[: names.OWNER]}, which "
                f"{names.MANIFEST} does not name; accepted: those of its owners; restore the "
                f"{names.MANIFEST} of that run, or choose another output"
            )
    return commit_log


def _by_split(records: Iterable[Record]) -> dict[str, list[Record]]:
    found = defaultdict[str, list[Record]](list)
    for record in records:
        found[record.split].append(record)
    return dict(found)


def _key(record: Record) -> Key:
    return record.split, record.block, record.turn


def _parts_of(found: Mapping[str, Sequence[Record]]) -> Iterator[Part]:
    """All parts of these records."""
    for record in (record for records in found.values() for record in records):
        yield from (part for part in (record.part, record.judgements) if part)


def _latest(records: Iterable[Record], **wanted: str) -> Record | None:
    """Of the records with the wanted `line` or `after` that of the latest turn."""
    fitting = (r for r in records if all(getattr(r, k) == v for k, v in wanted.items()))
    return max(fitting, key=lambda record: record.turn, default=None)


def _back_from(tip: Record, blocks: dict[int, list[Record]]) -> list[Record]:
    """The records from the first block to `tip`, each continued by the next; none where one of
    them is missing.
    """
    chain = [tip]
    while chain[-1].block:
        before = _latest(blocks.get(chain[-1].block - 1, ()), line=chain[-1].after)
        if before is None:
            return []
        chain.append(before)
    return chain[::-1] if not chain[-1].after else []
