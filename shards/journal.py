"""Commit records of a running pass, and how they become the manifest of a finished one.

A split (an input file, or a part of an input set) is committed in blocks, in order; block k of
split s is recorded in `commits/s-k.json` after its Parquet files are whole. Record names are
predictable, so nothing is ever listed: reading `s-0`, `s-1`, … up to the first gap gives all of it.
A kill leaves at most files without a record; the resumed run writes the same names again.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
from pydantic import ValidationError

from base.errors import ShardError
from base.files import Folder
from shards.failures import Tally
from shards.manifest import File, Manifest, Opened, Record, Skip, Status, Usage, total
from shards.schema import JUDGEMENT_SCHEMA, Row, to_parquet

FOLDER = "commits"
_NAMED = 1000  # skipped records named in the manifest itself; skipped.jsonl names all


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
    counts: Counter[str] = field(default_factory=Counter)
    tally: Tally = field(default_factory=Tally)
    usage: Usage = field(default_factory=Usage)
    versions: dict[str, str] = field(default_factory=dict)
    last: bool = False
    sha256: str | None = None
    abandoned: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """`<split>-<block>`, the stem of every file of this part."""
        return f"{self.split}-{self.number:05d}"


class Journal:
    """The commits of one output folder; several workers may use it, each on its own splits."""

    def __init__(self, folder: Folder, columns: pa.Schema, fingerprint: str) -> None:
        self.folder, self.columns = folder, columns
        self.judged = "original_score" in columns.names
        self.metadata = {"prewrite.fingerprint": fingerprint}

    def commit(self, block: Block) -> Record:
        """Write the part and its judgements, then the record that makes them exist."""
        part = self._write(f"part-{block.name}.parquet", block.rows, self.columns)
        verdicts = None
        if self.judged:
            name = f"judgements/part-{block.name}.parquet"
            verdicts = self._write(name, block.judgements, JUDGEMENT_SCHEMA)
        record = Record(
            split=block.split,
            block=block.number,
            start=block.start,
            stop=block.stop,
            documents=block.documents,
            part=part,
            judgements=verdicts,
            counts=dict(block.counts),
            asked=block.tally.asked,
            failed=block.tally.failed,
            failures=block.tally.bounded(),
            skipped=block.skipped,
            left_out=dict(block.left_out),
            usage=block.usage,
            versions=block.versions,
            last=block.last,
            sha256=block.sha256,
            abandoned=block.abandoned,
        )
        self.write(record)
        return record

    def write(self, record: Record) -> None:
        """Record a commit; nothing looks at the files that it names."""
        self.folder.write(_name(record.split, record.block), record.model_dump_json().encode())

    def records(self, split: str) -> list[Record]:
        """Every committed block of `split`, in order."""
        found: list[Record] = []
        while (data := self.folder.read(_name(split, len(found)))) is not None:
            try:
                found.append(Record.model_validate_json(data))
            except ValidationError:
                name = _name(split, len(found))
                raise ShardError(f"{self.folder.url}/{name}: damaged commit record") from None
        return found

    def opened(self, split: str) -> Opened | None:
        """What the latest worker on `split` had open."""
        data = self.folder.read(f"{FOLDER}/{split}.open")
        try:
            return Opened.model_validate_json(data) if data is not None else None
        except ValidationError:
            return None  # it only says where to be careful

    def marked(self) -> set[str]:
        """The splits of which a worker has said what is open; one listing."""
        start, end = f"{FOLDER}/", ".open"
        names = (name for name in self.folder.names() if name.startswith(start))
        return {name[len(start) : -len(end)] for name in names if name.endswith(end)}

    def open(self, split: str, record: Opened) -> None:
        """Say what is open; see `shards.suspects`."""
        self.folder.write(f"{FOLDER}/{split}.open", record.model_dump_json().encode())

    def is_empty(self, splits: Iterable[str]) -> bool:
        """Whether nothing of `splits` is committed."""
        return all(self.folder.read(_name(split, 0)) is None for split in splits)

    def clear(self) -> None:
        """Remove the records; the manifest holds all they said."""
        self.folder.remove(FOLDER)

    def _write(self, name: str, rows: Sequence[Row], columns: pa.Schema) -> File | None:
        if not rows:
            return None
        data = to_parquet(rows, columns, self.metadata)
        self.folder.write(name, data)
        digest = hashlib.sha256(data).hexdigest()
        return File(name=name, rows=len(rows), bytes=len(data), sha256=digest)


def _name(split: str, block: int) -> str:
    return f"{FOLDER}/{split}-{block:05d}.json"


@dataclass
class Folded:
    """What all records of a pass say together."""

    parts: list[File]
    judgements: list[File]
    skipped: list[Skip]
    left_out: dict[str, int]
    counts: dict[str, int]
    tally: Tally
    usage: Usage
    versions: dict[str, str]
    abandoned: list[str]
    documents: int
    records: dict[str, int]
    sha256: dict[str, str]
    unfinished: list[str]

    @property
    def rows(self) -> int:
        """Rows over all parts."""
        return sum(part.rows for part in self.parts)

    def write_into(self, manifest: Manifest, status: Status) -> None:
        """Make a manifest say what the records say."""
        made = manifest.passes[-1]
        manifest.status = status
        manifest.rows, manifest.documents = self.rows, self.documents
        manifest.parts, manifest.judgements = self.parts, self.judgements
        made.usage, made.counts, made.versions = self.usage, self.counts, self.versions
        made.asked, made.failed = self.tally.asked, self.tally.failed
        made.failures, made.abandoned = self.tally.bounded(), self.abandoned
        manifest.statuses = {
            key.removeprefix("status:"): count
            for key, count in self.counts.items()
            if key.startswith("status:")
        } or manifest.statuses
        manifest.left_out = self.left_out
        if self.skipped:
            manifest.skipped = total([{skip.reason: 1} for skip in self.skipped])
            manifest.skipped_records = self.skipped[:_NAMED]


def fold(journal: Journal, splits: Iterable[str]) -> Folded:
    """Gather every record of `splits`; ShardError where a record contradicts its neighbours."""
    chains = {split: journal.records(split) for split in splits}
    for split, chain in chains.items():
        _audit(split, chain)
    every = [record for chain in chains.values() for record in chain]
    ended = {
        split: chain[-1]
        for split, chain in chains.items()
        if chain and chain[-1].last and not any(record.redo for record in chain)
    }
    return Folded(
        parts=[r.part for r in every if r.part],
        judgements=[r.judgements for r in every if r.judgements],
        skipped=[skip for r in every for skip in r.skipped],
        left_out=total([r.left_out for r in every]),
        counts=total([r.counts for r in every]),
        tally=tally_of(every),
        usage=sum((r.usage for r in every), Usage()),
        versions=_versions(every),
        abandoned=[name for r in every for name in r.abandoned],
        documents=sum(r.documents for r in every if not r.redo),
        records={split: chain[-1].stop for split, chain in chains.items() if chain},
        sha256={split: end.sha256 for split, end in ended.items() if end.sha256},
        unfinished=[split for split in chains if split not in ended],
    )


def tally_of(records: Iterable[Record]) -> Tally:
    """Rows that were asked about, and those of them that failed, over all `records`."""
    tally = Tally()
    for record in records:
        tally.add(Tally(record.asked, record.failed, record.failures))
    return tally


def _versions(records: list[Record]) -> dict[str, str]:
    """Each version once; a run resumed with another engine names both."""
    seen: dict[str, list[str]] = {}
    for record in records:
        for name, version in record.versions.items():
            if version not in seen.setdefault(name, []):
                seen[name].append(version)
    return {name: " | ".join(values) for name, values in sorted(seen.items())}


def _audit(split: str, chain: list[Record]) -> None:
    """Input against output: blocks touch, and each record became a document, a skip or is counted
    as left out.
    """
    position = 0
    for number, record in enumerate(chain):
        covered = record.stop - record.start
        left_out = sum(record.left_out.values())
        whole = record.documents + len(record.skipped) + left_out == covered
        if (
            record.start != position
            or not (whole or record.redo)
            or (record.last and number + 1 < len(chain))
        ):
            raise ShardError(
                f"split {split}, block {number}: records {record.start}..{record.stop} hold "
                f"{record.documents} documents, {len(record.skipped)} skips, {left_out} left out "
                f"after record {position}; the commits of this run do not fit together"
            )
        position = record.stop


def skipped_lines(skipped: Sequence[Skip]) -> bytes:
    """The skipped input records as JSON lines."""
    return "".join(json.dumps(s.model_dump(), ensure_ascii=False) + "\n" for s in skipped).encode()
