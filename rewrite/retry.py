"""Ask again for the rewrites that failed: the rows of a finished set with the status `failed`.

Each is asked for with a seed of its round, so that an engine which samples says something else; one
that is greedy says the same again. All other rows keep what they have, bit for bit.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint, mixed
from prewrite.engine.registry import get_engine
from prewrite.pipeline.passes import Document, DocumentResult, Split, Work
from prewrite.pipeline.retry import OfJob, round_of
from prewrite.rewrite.passes import RewritePass
from prewrite.rewrite.rewriter import Rewriter
from prewrite.shards.failures import Failure
from prewrite.shards.manifest import Manifest, Record
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import USABLE

_FAILED = "status:failed"


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
        """Rows."""
        return counts.get(_FAILED, 0)

    def wanted(self, record: Record) -> Counter[str]:
        """The failed rows, without those of abandoned documents."""
        if not self.failed(record.counts) or record.part is None:
            return Counter()
        columns = ["doc_id", "rewrite_status"]
        batches = self._shards.batches(record.part, columns)
        rows = (row for batch in batches for row in batch.to_pylist())
        failed = [row for row in rows if row["rewrite_status"] == "failed"]
        return +Counter({"failed row": sum(r["doc_id"] not in record.abandoned for r in failed)})

    def read_of(self, record: Record) -> str:
        """The same input."""
        return record.read

    def documents(self, record: Record) -> Iterator[Document]:
        """Those of the part."""
        if record.part:
            for rows in self._shards.documents(record.part):
                yield Document(rows, 0)

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
        sampling = recipe.rewrite.sampling
        seed = mixed(sampling.seed, round_of(self.url))
        rewrite = recipe.rewrite.model_copy(
            update={"sampling": sampling.model_copy(update={"seed": seed})}
        )
        engine = get_engine(recipe.engines[recipe.rewrite.engine])
        yield FailedRows(engine, recipe.model_copy(update={"rewrite": rewrite}))


class FailedRows(Rewriter):
    """Rewrites the rows of a document that failed."""

    async def __call__(self, document: Document) -> DocumentResult:
        """Fill `rewrite`, `rewrite_status` and `rewrite_reason` of these rows; what is counted is
        of all rows that were ever asked about.
        """
        kept = [row for row in document.rows if row["rewrite_status"] not in ("failed", "skipped")]
        for row in document.rows:
            if row["rewrite_status"] == "failed":
                row["rewrite"] = row["rewrite_status"] = row["rewrite_reason"] = None
        outcome = await super().__call__(document)
        unusable = [row for row in kept if row["rewrite_status"] not in USABLE]
        outcome.asked, outcome.failed = (
            (outcome.asked or 0) + len(kept),
            outcome.failed + len(unusable),
        )
        outcome.failures += [
            Failure(row.get("rewrite_reason") or row["rewrite_status"], row["id"])
            for row in unusable
        ]
        return outcome
