"""Ask again for the rewrites that failed: those of a finished set with the status `failed`.

Each is asked for with a seed of its round, so that an engine which samples says something else; one
that is greedy says the same again. All other rows keep what they have, bit for bit.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import product
from typing import Any

from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint, mixed
from prewrite.engine.types import Engine
from prewrite.judge.passes import SetSource
from prewrite.pipeline.passes import Absent, Document, DocumentResult, Split, Work
from prewrite.pipeline.retry import OfJob, round_of
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.more import pairwise
from prewrite.rewrite.passes import RewritePass, rewriters
from prewrite.rewrite.rewriter import Rewriter
from prewrite.shards.failures import Failure
from prewrite.shards.manifest import Manifest, Record
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import USABLE, status_key


@dataclass(frozen=True)
class RewriteAgain(OfJob):
    """Asks again what failed in the set at `url`, which `job` has made."""

    job: RewritePass
    url: str
    name: str = "rewrite"
    remedy: str = "other rewrites need another output"

    def begin(self, splits: list[Split]) -> Manifest:
        """The manifest of the set."""
        return Manifest.load(Folder(self.url))

    def follows(self, manifest: Manifest) -> bool:
        """See `pipeline.retry.Again`; a corpus has no earlier state."""
        return manifest.passes[-1].fingerprint == fingerprint(self.identity())

    def failed(self, counts: Mapping[str, int]) -> int:
        """Rewrites."""
        keys = (f"status:{status_key(text, 'failed')}" for text in self._rewrites)
        return sum(counts.get(key, 0) for key in keys)

    def wanted(self, record: Record) -> Counter[str]:
        """The rows with a failed rewrite, without those of abandoned documents."""
        if not self.failed(record.counts) or record.part is None:
            return Counter()
        statuses = [f"{text}_status" for text in self._rewrites]
        batches = self._shards.batches(record.part, ["doc_id", *statuses])
        rows = (row for batch in batches for row in batch.to_pylist())
        failed = [row for row in rows if "failed" in (row[name] for name in statuses)]
        return +Counter({"failed row": sum(r["doc_id"] not in record.abandoned for r in failed)})

    @property
    def _rewrites(self) -> tuple[str, ...]:
        """The columns of the rewrites."""
        return self._shards.manifest.texts[1:]

    def read_of(self, record: Record) -> str:
        """The same input."""
        return record.read

    def documents(self, record: Record) -> Iterator[Document | Absent]:
        """Those of the part."""
        if record.part:
            for item in self._scored.read(Split(record.part.name, record.part.file, 0), 0):
                if isinstance(item, Document | Absent):
                    yield replace(item, offset=0, before="", after="")

    @cached_property
    def _scored(self) -> SetSource:
        return SetSource(self.url, frozenset(self._shards.manifest.criteria))

    @cached_property
    def _shards(self) -> ShardSet:
        return ShardSet(self.url)

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets: each opens the set itself."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        """Load the rewriter in this process."""
        recipe = self.job.recipe
        made, engines = Manifest.load(Folder(self.url)), rewriters(recipe, self._rewrites)
        yield FailedRows(engines, recipe, round_of(self.url), made)


class FailedRows(Rewriter):
    """Makes the rewrites of a document that failed. number: of the round; made: manifest of the
    set.
    """

    def __init__(
        self, engines: Mapping[str, Engine], recipe: RewriteRecipe, number: int, made: Manifest
    ) -> None:
        super().__init__(engines, recipe, (), made.criteria, pairwise(made))
        for rewriting in self.rewritings.values():
            rewriting.seed = mixed(rewriting.seed, number)

    async def __call__(self, document: Document) -> DocumentResult:
        """Fill these rewrites; what is counted is of all that were ever asked for."""
        kept = list[Failure]()
        for row, text in product(document.rows, self.rewritings):
            status, reason = row[f"{text}_status"], row.get(f"{text}_reason")
            if status == "failed":
                row[text] = row[f"{text}_status"] = row[f"{text}_reason"] = None
            elif status not in (*USABLE, "skipped"):
                kept.append(Failure(reason or status, row["id"]))
        outcome = await super().__call__(document)
        asked = [row for row in document.rows if self._was_asked(row)]
        outcome.asked = len(asked)
        outcome.failed = sum(not self._is_usable(row) for row in asked)
        outcome.failures += kept
        return outcome
