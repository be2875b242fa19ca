"""Rewrite the chunks of a document: prompt, generate, check."""

import asyncio
from collections import Counter
from collections.abc import Sequence

from prewrite.engine.types import Completion, Engine
from prewrite.pipeline.passes import Document, DocumentResult
from prewrite.prompts.context import contexts
from prewrite.prompts.rewriting import Rewriting
from prewrite.prompts.usage import usage_of
from prewrite.rewrite.config import RewriteRecipe
from prewrite.shards.failures import Failure, as_reason
from prewrite.shards.schema import USABLE, Row


class Rewriter:
    """Work of the rewrite pass: rows of one document in, the same rows with rewrites out.

    All chunks of a document are asked for at once, in order, so that the engine's prefix cache
    serves the context that they share.
    """

    def __init__(self, engine: Engine, recipe: RewriteRecipe) -> None:
        self.engine, self.chunking = engine, recipe.chunking
        self.rewriting = Rewriting(recipe.rewrite, recipe.chunking.tokens, engine.primes)
        self.window = 2 * engine.concurrency
        self.versions = engine.versions()

    async def __call__(self, document: Document) -> DocumentResult:
        """Fill `rewrite`, `rewrite_status` and `rewrite_reason` of every row."""
        rows = document.rows
        fence = self.rewriting.fence(rows)
        befores = contexts(rows, self.chunking.max_context_tokens)
        jobs = [
            self._rewrite(row, before, fence)
            for row, before in zip(rows, befores, strict=True)
            if row["rewrite_status"] is None
        ]
        parts = await asyncio.gather(*jobs)
        failures = [failure for _, failure in parts if failure]
        return DocumentResult(
            rows,
            usage=usage_of(*(completion for completion, _ in parts)),
            counts=Counter(f"status:{row['rewrite_status']}" for row in rows),
            asked=len(jobs),
            failed=len(failures),
            failures=failures,
        )

    async def _rewrite(
        self, row: Row, context: Sequence[str], fence: str
    ) -> tuple[Completion, Failure | None]:
        """Rewrite one row in place; returns the answer, and why there is nothing to use."""
        request = self.rewriting.request(row, context, fence)
        completion = await self.engine.complete(request)
        checked = self.rewriting.checked(row["original"], request, completion, fence)
        reason = checked.reason and as_reason(checked.reason)
        row["rewrite"], row["rewrite_status"] = checked.text, checked.status
        row["rewrite_reason"] = reason
        if checked.status in USABLE:
            return completion, None
        answer = completion.error or completion.samples[0].text
        return completion, Failure(reason or checked.status, row["id"], answer)
