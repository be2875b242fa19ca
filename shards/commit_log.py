"""Commit records of a running pass, and how they become the manifest of a finished one.

A split (an input file, or a part of an input set) is committed in blocks, in order; a record in
`commits/` says that a block is whole, after its Parquet files are. Every write has a name of its
own, so nothing that is there is ever written over, and what is there is listed, never guessed.

A kill leaves at most files without a record. Which records hold is what `shards.committed` says.
"""

import secrets
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.shards import names
from prewrite.shards.committed import Committed, Key, Merge, key_of
from prewrite.shards.manifest import (
    Manifest,
    Opened,
    PassFacts,
    Record,
    Skip,
    TakenOut,
)
from prewrite.shards.names import RecordName
from prewrite.shards.parts import Part
from prewrite.shards.schema import JUDGEMENT_SCHEMA, Row, RowGroupFile, footer_digest, written


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
    removed: list[TakenOut] = field(default_factory=list)
    known_as: str = ""


class CommitLog(Committed):
    """What is committed of a set, and what a run commits to it; several workers may use it, each on
    its own splits.
    """

    def __init__(
        self, folder: Folder, manifest: Manifest, splits: Collection[str] | None = None
    ) -> None:
        super().__init__(folder, manifest, splits)
        self.columns = manifest.columns
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
        self._written[key_of(record)] = where
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
        mine = self._written.pop(key_of(record), None)
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

    def open(self, split: str, record: Opened) -> None:
        """Say what is open; see `pipeline.quarantine`."""
        self.folder.write(names.mark(split), record.model_dump_json().encode())

    def clear(self) -> None:
        """Remove the records; the log holds all they said. Other files stay."""
        ours = [name for name in self._listed if names.is_passing(name)]
        for name in [names.RECORDS] if len(ours) == len(self._listed) else ours:
            self.folder.remove(name)

    def token(self) -> str:
        """A new one of this run, for the names of what it writes."""
        return self.owner + secrets.token_hex(2)

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
