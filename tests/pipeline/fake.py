"""A pass over a JSONL corpus with an instant engine: for the mechanism and its faults only."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from prewrite.base.fingerprint import fingerprint
from prewrite.base.owned import OwnedFolder
from prewrite.pipeline.passes import Document, DocumentResult, Split, inputs
from prewrite.rewrite.config import ChunkingConfig, InputConfig
from prewrite.rewrite.corpus import Corpus
from prewrite.shards.manifest import Manifest, PassInfo, Usage
from prewrite.shards.schema import schema


def owned(url: object) -> OwnedFolder:
    """A folder as the one run that writes there has it."""
    folder = OwnedFolder(str(url), ".run-test", "0" * 8)
    Path(folder.path(folder.scratch)).mkdir(parents=True, exist_ok=True)
    return folder


Before = Callable[[Document], Awaitable[None]]
TOKENIZER = "models/smollm2-135m-instruct"


@dataclass
class InstantWork:
    """Rewrites a chunk as its upper case; `before` runs ahead of every document."""

    window: int = 64
    versions: dict[str, str] = field(default_factory=lambda: {"instant": "1"})
    before: Before | None = None

    async def __call__(self, document: Document) -> DocumentResult:
        if self.before:
            await self.before(document)
        for row in document.rows:
            if row["rewrite_status"] is None:
                row["rewrite"], row["rewrite_status"] = row["original"].upper(), "ok"
        counts = {f"status:{row['rewrite_status']}": 0 for row in document.rows}
        for row in document.rows:
            counts[f"status:{row['rewrite_status']}"] += 1
        outcome = DocumentResult(document.rows, usage=Usage(requests=len(document.rows)))
        outcome.counts.update(counts)
        return outcome


@dataclass
class InstantPass:
    """A rewrite pass whose engine costs nothing; `before` runs ahead of every document."""

    paths: tuple[str, ...]
    seed: int = 0
    before: Before | None = None
    window: int = 64
    max_bad_rows: float = 0.5
    tokens: int = 16
    name: str = "rewrite"
    columns: pa.Schema = field(default_factory=lambda: schema(()))

    @property
    def source(self) -> Corpus:
        return Corpus(
            InputConfig(paths=list(self.paths)),
            ChunkingConfig(tokenizer=TOKENIZER, tokens=self.tokens, seed=self.seed),
        )

    def identity(self) -> dict[str, Any]:
        return {"seed": self.seed, "paths": list(self.paths), "tokens": self.tokens}

    def begin(self, splits: list[Split]) -> Manifest:
        config = self.identity()
        info = PassInfo(name=self.name, fingerprint=fingerprint(config), config=config)
        return Manifest(passes=[info], inputs=inputs(splits))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[InstantWork]:
        yield InstantWork(window=self.window, before=self.before)


async def uneven(document: Document) -> None:
    """Wait up to 100 ms: documents finish out of order, the same way in every run."""
    digest = hashlib.sha256(document.rows[0]["id"].encode()).digest()
    await asyncio.sleep(0.1 * digest[0] / 255)
