"""What the commit records of a set say together, and whether they fit together.

Records are added up split by split, so that a log of any length is summed up in the memory of one
file of it.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from prewrite.base.errors import ShardError
from prewrite.base.fingerprint import fingerprint
from prewrite.base.together import together
from prewrite.shards.commit_log import CommitLog
from prewrite.shards.failures import FailureTally
from prewrite.shards.manifest import (
    NAMED,
    REMOVED,
    Manifest,
    PassFacts,
    Record,
    Removed,
    SetStatus,
    Skip,
    total,
)
from prewrite.shards.parts import Part


@dataclass
class CommitSummary:
    """What all records of a pass say together. every: the records themselves, of `fold`.
    records: input records of each split so far; sha256: of the input files that are read to their
    end; unfinished: splits that are not.
    """

    every: list[Record] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    judgements: list[Part] = field(default_factory=list)
    skipped: list[Skip] = field(default_factory=list)
    left_out: dict[str, int] = field(default_factory=dict)
    facts: PassFacts = field(default_factory=PassFacts)
    documents: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    records: dict[str, int] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)
    unfinished: list[str] = field(default_factory=list)

    def add(self, split: str, chain: Sequence[Record]) -> None:
        """Add what holds of a split, in order; ShardError where a record contradicts its
        neighbours. The records themselves are not kept.
        """
        _audit(split, chain)
        for record in chain:
            self.parts += [record.part] if record.part else []
            self.judgements += [record.judgements] if record.judgements else []
            self.skipped += record.skipped
            self.left_out = total([self.left_out, record.left_out])
            self.documents += 0 if record.redo else record.documents
            self.removed.update(one.doc_id for one in record.removed)
            self.facts.add(record)
        last = chain[-1] if chain else None
        if last:
            self.records[split] = last.stop
        if last is None or not last.last or any(record.redo for record in chain):
            self.unfinished.append(split)
        elif last.sha256:
            self.sha256[split] = last.sha256

    @property
    def rows(self) -> int:
        """Rows over all parts."""
        return sum(part.rows for part in self.parts)

    def write_into(self, manifest: Manifest, status: SetStatus) -> None:
        """Make a manifest say what the records say."""
        made = manifest.passes[-1]
        manifest.status = status
        manifest.rows, manifest.documents = self.rows, self.documents
        manifest.parts = len(self.parts)
        manifest.rows_digest = digest_of(self.parts)
        manifest.verdicts_digest = digest_of(self.judgements)
        if status == "complete":
            manifest.known_as = manifest.known_as or manifest.rows_digest
        for name, value in self.facts.told().items():
            setattr(made, name, value)
        statuses = {
            key.removeprefix("status:"): count
            for key, count in self.facts.counts.items()
            if key.startswith("status:")
        }
        if statuses or not self.rows:
            manifest.statuses = statuses
        self._tell_removed(manifest)
        manifest.left_out = self._left_out(manifest)
        if self.skipped or len(manifest.passes) == 1:  # a later pass keeps those of its input
            manifest.skipped = total([{skip.reason: 1} for skip in self.skipped])
            manifest.skipped_records = self.skipped[:NAMED]  # skipped.jsonl names all

    def _tell_removed(self, manifest: Manifest) -> None:
        """Add what the input had lost when a pass came to it; a takedown has told its own."""
        told = Counter({one.doc_id: 0 for one in manifest.removed})
        for one in manifest.removed:
            told[one.doc_id] += one.documents
        for doc_id, documents in (self.removed - told).items():
            manifest.removed.append(Removed(doc_id=doc_id, rows=0, documents=documents))

    def _left_out(self, manifest: Manifest) -> dict[str, int]:
        """What was left out. A later pass keeps what its input says, but for what was taken out
        since.
        """
        if len(manifest.passes) == 1:
            return self.left_out
        removed = sum(one.documents for one in manifest.removed)
        kept = {why: count for why, count in manifest.left_out.items() if why != REMOVED}
        return total([kept, {REMOVED: removed} if removed else {}])


def digest_of(parts: Sequence[Part]) -> str:
    """Digest of the digests of parts, in their order; empty where there are none."""
    return fingerprint([part.sha256 for part in parts]) if parts else ""


def fold(commit_log: CommitLog, splits: Iterable[str]) -> CommitSummary:
    """What holds of `splits`, together; ShardError where a record contradicts its neighbours.
    Splits are read at the same time.
    """
    every, summary = [*splits], CommitSummary()
    commit_log.read_ahead()
    for split, chain in zip(every, together(commit_log.records, every), strict=True):
        summary.add(split, chain)
        summary.every += chain
    return summary


def summary_of(records: Iterable[Record]) -> CommitSummary:
    """What the records of a commit log say together, in the order of the set; see `fold`. None of
    them is kept.
    """
    summary = CommitSummary()
    for split, chain in groupby(records, lambda record: record.split):
        summary.add(split, [*chain])
    return summary


def tally_of(records: Iterable[Record]) -> FailureTally:
    """Rows that were asked about, and those of them that failed, over all `records`."""
    tally = FailureTally()
    for record in records:
        tally.add(record.tally)
    return tally


def _audit(split: str, chain: Sequence[Record]) -> None:
    """Input against output: blocks touch, and each record became a document, a skip or is counted
    as left out.
    """
    position = 0
    for number, record in enumerate(chain):
        covered = record.stop - record.start
        left_out = sum(record.left_out.values())
        whole = record.documents + len(record.skipped) + left_out == covered
        whole = whole and record.left_out.get(REMOVED, 0) == len(record.removed)
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
