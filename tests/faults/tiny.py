"""A pass that costs nothing, over two files of three and of two records, for faults of the set.

Its answers differ from run to run, as those of an engine do; `said` is what they have in common.
"""

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from prewrite.base.fingerprint import fingerprint
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.executor import local
from prewrite.pipeline.passes import (
    Document,
    DocumentResult,
    End,
    Item,
    Skipped,
    Split,
    Work,
    inputs,
)
from prewrite.pipeline.run import run_pass
from prewrite.pipeline.worker_pool import WorkerTask
from prewrite.shards.manifest import Manifest, PassInfo, Skip, Usage
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import Row, schema

RECORDS, CHUNKS = (3, 2), 2  # records of each file, chunks of a document
_CHANCE = 16  # characters of a rewrite that are drawn
BAD = 1  # the record of each file that gives no rows
DOCUMENTS = sum(RECORDS) - len(RECORDS)
asked: list[str] = []
"""Documents that were worked on in this process; a pass that loads its engine first adds `""`."""
stops: list[int] = []
"""Signals that this process gets when its first document is done."""


class Records:
    """The documents."""

    def splits(self) -> list[Split]:
        return [Split(f"{number:05d}", f"file-{number}", 100) for number in range(len(RECORDS))]

    def read(self, split: Split, start: int) -> Iterator[Item]:
        for number in range(start, RECORDS[int(split.name)]):
            if number == BAD:
                yield Skipped(Skip(file=split.path, line=number + 1, reason="broken_json"), number)
            else:
                yield Document(_rows(f"{split.name}-{number}"), number)
        yield End(fingerprint(split.name))


def _rows(doc: str) -> list[Row]:
    return [
        {
            "id": f"{doc}-{chunk}",
            "doc_id": doc,
            "source": "tiny",
            "chunk": chunk,
            "chunks": CHUNKS,
            "original": f"{doc}: text {chunk}",
            "original_tokens": 3,
            "rewrite": None,
            "rewrite_status": None,
            "meta": "{}",
        }
        for chunk in range(CHUNKS)
    ]


@dataclass
class Answers:
    """Rewrites and judges."""

    window: int = 16
    versions: dict[str, str] = field(default_factory=lambda: {"tiny": "1"})

    async def __call__(self, document: Document) -> DocumentResult:
        asked.append(document.rows[0]["doc_id"])
        for row in document.rows:
            row["rewrite"] = f"{row['original']}, written as {os.urandom(_CHANCE // 2).hex()}"
            row["rewrite_status"] = "ok"
            row |= {"original_quality": 0.25, "rewrite_quality": 0.75}
            row |= {"original_score": 0.25, "rewrite_score": 0.75}
        counts = Counter({"status:ok": len(document.rows)})
        usage = Usage(requests=len(document.rows), prompt_tokens=7, output_tokens=5)
        verdicts = [_verdict(row["id"]) for row in document.rows]
        while len(asked) == 2 and stops:
            signal.raise_signal(stops.pop())
        return DocumentResult(document.rows, verdicts, usage=usage, counts=counts)


def _verdict(row: str) -> Row:
    names = {"judge": "tiny", "criterion": "quality", "candidate": "rewrite"}
    values = {"opponent": "original", "order": 0, "vote": 0, "value": 0.75, "mass": 1.0}
    return {"id": row, **names, **values, "answer": "A", "status": "ok"}


@dataclass(frozen=True)
class Tiny:
    """The pass; another `salt` is another configuration."""

    salt: str = ""
    name: str = "rewrite"
    max_bad_rows: float = 1.0

    @property
    def columns(self) -> pa.Schema:
        return schema(["quality"])

    @property
    def source(self) -> Records:
        return Records()

    def identity(self) -> dict[str, Any]:
        return {"engine": {"model": "tiny"}, "salt": self.salt}

    def begin(self, splits: list[Split]) -> Manifest:
        config = self.identity()
        made = PassInfo(name=self.name, fingerprint=fingerprint(config), config=config)
        return Manifest(passes=[made], inputs=inputs(splits), criteria=["quality"])

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        asked.append("")
        yield Answers()


class _Here:
    """Does the tasks of a crew in this process."""

    def __init__(self, task: WorkerTask, ranks: Sequence[int], workers: int) -> None:
        self._task, self._ranks = task, ranks

    def run(self) -> None:
        for rank in self._ranks:
            self._task(rank, lambda: None)


def without_worker_pools() -> None:
    """From now on no run of this process starts others: each costs a second, and steps in it are
    not seen. A run that suspects a document does so.
    """
    assert hasattr(local, "WorkerPool")
    setattr(local, "WorkerPool", _Here)  # noqa: B010


def go(output: str, salt: str = "") -> Manifest:
    """The command: make the set, or go on with it."""
    return run_pass(Tiny(salt), output, RunConfig(rows_per_part=CHUNKS))


def exactly(url: str) -> list[list[Row]]:
    """The rows and the verdicts of a finished set."""
    return _kept(ShardSet(url).finished())


def said(shards: ShardSet) -> list[list[Row]]:
    """What of them does not differ from run to run."""
    rows, verdicts = _kept(shards)
    return [[{**row, "rewrite": row["rewrite"][:-_CHANCE]} for row in rows], verdicts]


def _kept(shards: ShardSet) -> list[list[Row]]:
    batches = (batch for file in shards.verdicts for batch in shards.batches(file))
    return [list(shards.rows()), [row for batch in batches for row in batch.to_pylist()]]
