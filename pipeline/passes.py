"""What a pass is: documents in, documents with more columns out.

A pass maps a corpus or a shard set to a shard set and is the only way data moves. It gives a
`Source` (documents in order, resumable at any record) and `Work` (one document in, its finished
rows out); everything else is done once, for all passes: blocks and commits (`shards.commit_log`),
the loop that keeps the engine full (`pipeline.loop`), processes (`pipeline.tasks`), resume,
refusal and audit (`pipeline.run`).
"""

from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from prewrite.shards.failures import Failure, FailureTally, by_reason
from prewrite.shards.manifest import Input, Manifest, PassFacts, Skip, Usage
from prewrite.shards.schema import TEXTS, Row, status_counts


@dataclass(frozen=True)
class Range:
    """A stretch of a file: from `start` to `stop`, in bytes of a text, in row groups of Parquet.
    `lines`, `records`: how many stand before it; `count`: records in it; `sha256`: digest of the
    whole file, where the last range of it knows.
    """

    start: int
    stop: int
    lines: int
    records: int
    count: int
    sha256: str | None = None


@dataclass(frozen=True)
class Split:
    """The unit one worker reads: `name` is part of file names, `path` where its file is, `bytes`
    measures progress;
    `records`: read no more than that many; `range`: only this stretch of the file; `version`: of
    the file, see `shards.manifest.Input`.
    """

    name: str
    path: str
    bytes: int
    records: int | None = None
    range: Range | None = None
    version: str | None = None


def inputs(splits: list[Split]) -> list[Input]:
    """The files that `splits` are read from, each once."""
    files: dict[str, Input] = {}
    for split in splits:
        file = files.setdefault(split.path, Input(path=split.path, bytes=0, version=split.version))
        file.bytes += split.bytes
    return [*files.values()]


@dataclass(kw_only=True)
class _Read:
    """before, after: digest of the split's records before this one, and with it; empty where the
    source has none. A resumed run compares it with what the committed rows were made of.
    """

    before: str = ""
    after: str = ""


@dataclass
class Document(_Read):
    """One input record as rows still to be worked on; `offset`: bytes of the split read so far;
    `judgements`: raw verdicts that it brings along, in the order of the rows; `counts`: what was
    odd about the record, in the words of `shards.manifest.ODD`.
    """

    rows: list[Row]
    offset: int
    judgements: list[Row] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


@dataclass
class Skipped(_Read):
    """One input record that gives no rows."""

    skip: Skip
    offset: int


@dataclass
class LeftOut(_Read):
    """One good input record that the configuration does not want; counted under `reason`."""

    reason: str
    offset: int


@dataclass
class Absent(_Read):
    """A document that was taken out of a set; it keeps its place among the records of its split."""

    doc_id: str
    offset: int


@dataclass
class End(_Read):
    """The split is read to its end; `sha256` is the digest of its file, which one split tells."""

    sha256: str | None


Item = Document | Skipped | LeftOut | Absent | End


@dataclass
class DocumentResult:
    """A finished document: its rows, the raw verdicts, what the engine used, things counted.

    asked: rows that were asked about, None: all; failed: those of them of which nothing can be
    used; failures: why, one by one (a judge's verdicts may fail without their row). See
    `run.max_failed`.
    """

    rows: list[Row]
    judgements: list[Row] = field(default_factory=list)
    usage: Usage = field(default_factory=Usage)
    counts: Counter[str] = field(default_factory=Counter)
    asked: int | None = None
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)

    @property
    def facts(self) -> PassFacts:
        """What the pass tells of its rows."""
        tally = self.tally
        return PassFacts(
            usage=self.usage,
            counts=self.counts,
            asked=tally.asked,
            failed=tally.failed,
            failures=tally.reasons,
        )

    @property
    def tally(self) -> FailureTally:
        """What was asked about and failed."""
        asked = len(self.rows) if self.asked is None else self.asked
        return FailureTally(asked, self.failed, by_reason(self.failures))


class Work(Protocol):
    """Finishes documents. `window`: open rows that keep the engine full."""

    window: int
    versions: dict[str, str]

    def __call__(self, document: Document) -> Awaitable[DocumentResult]:
        """Finish one document; EngineError stops the run."""
        ...


class AsRead:
    """Work of a pass that asks nobody: the rows as its source gives them."""

    def __init__(self) -> None:
        self.window, self.versions = 64, dict[str, str]()

    async def __call__(self, document: Document) -> DocumentResult:
        """The same rows."""
        counts = status_counts(document.rows, TEXTS[:1])
        return DocumentResult(document.rows, counts=counts, asked=0)


class Source(Protocol):
    """Documents of a pass in a fixed order."""

    def splits(self) -> list[Split]:
        """The same list, in the same order, whenever the input is the same."""
        ...

    def read(self, split: Split, start: int) -> Iterator[Item]:
        """Items of `split` after the first `start` records, closed by an End."""
        ...


class Pass(Protocol):
    """A pass, small and picklable: workers are processes. `config` is all its rows depend on."""

    @property
    def name(self) -> str:
        """What people and manifests call it."""
        ...

    @property
    def columns(self) -> pa.Schema:
        """The columns of the set it makes."""
        ...

    @property
    def max_bad_rows(self) -> float:
        """Share of bad input records that stops it."""
        ...

    @property
    def source(self) -> Source:
        """Where its documents come from."""
        ...

    def identity(self) -> dict[str, Any]:
        """Everything the rows depend on, fingerprinted; a resume under another is refused."""
        ...

    def begin(self, splits: list[Split]) -> Manifest:
        """The manifest of the set this pass starts to make."""
        ...

    def open(self) -> AbstractAsyncContextManager[Work]:
        """Load the engines in this process; one EngineError sentence when that fails."""
        ...
