"""Rewrite the chunks of a document: prompt, generate, check."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence

from prewrite.engine.reasoning import spoken
from prewrite.engine.types import Completion, Engine, Prompt, Request, Sampling
from prewrite.judge.context import contexts, lead
from prewrite.judge.usage import usage_of
from prewrite.rewrite.checks import Checked, check
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.prompts import load_template
from prewrite.shards.failures import Failure, as_reason
from prewrite.shards.manifest import Usage
from prewrite.shards.passes import Document, DocumentResult
from prewrite.shards.schema import USABLE, Row


class Rewriter:
    """Work of the rewrite pass: rows of one document in, the same rows with rewrites out.

    All chunks of a document are asked for at once, in order, so that the engine's prefix cache
    serves the context that they share.
    """

    def __init__(self, engine: Engine, recipe: RewriteRecipe) -> None:
        self.engine, self.recipe = engine, recipe
        self.template = load_template(recipe.rewrite.template)
        self.window = 2 * engine.concurrency
        self.versions = engine.versions()

    async def __call__(self, document: Document) -> DocumentResult:
        """Fill `rewrite`, `rewrite_status` and `rewrite_reason` of every row."""
        rows = document.rows
        # Joined: two chunks may spell a tag between them.
        fence = self.template.fence(["".join(row["original"] for row in rows)])
        befores = contexts(rows, self.recipe.chunking.max_context_tokens)
        jobs = [
            self._rewrite(row, before, fence)
            for row, before in zip(rows, befores, strict=True)
            if row["rewrite_status"] is None
        ]
        parts = await asyncio.gather(*jobs)
        failures = [failure for _, failure in parts if failure]
        return DocumentResult(
            rows,
            usage=sum((usage for usage, _ in parts), Usage()),
            counts=Counter(f"status:{row['rewrite_status']}" for row in rows),
            asked=len(jobs),
            failed=len(failures),
            failures=failures,
        )

    async def _rewrite(
        self, row: Row, context: Sequence[str], fence: str
    ) -> tuple[Usage, Failure | None]:
        """Rewrite one row in place; returns what it cost, and why there is nothing to use."""
        begin = lead(context) if self.engine.primes else ""
        texts = {"context": context, "lead": begin, "text": row["original"]}
        prompt = Prompt(self.template.render(texts, fence), answer=begin.rstrip())
        completion = await self.engine.complete(Request(prompt, self._sampling(row, fence)))
        checked = self._check(row["original"], begin, completion, fence)
        reason = checked.reason and as_reason(checked.reason)
        row["rewrite"], row["rewrite_status"] = checked.text, checked.status
        row["rewrite_reason"] = reason
        usage = usage_of(completion)
        if checked.status in USABLE:
            return usage, None
        answer = completion.error or completion.samples[0].text
        return usage, Failure(reason or checked.status, row["id"], answer)

    def _check(self, original: str, begin: str, completion: Completion, fence: str) -> Checked:
        if completion.error is not None:
            return Checked("failed", reason=f"engine: {completion.error}")
        sample, finish = completion.samples[0], completion.samples[0].finish_reason
        said = spoken(sample.text, original)
        if said is None:
            return Checked("failed", reason="only_reasoning")
        # An endpoint that ignores the primed answer says its words again.
        whole = said.lstrip().removeprefix(begin.strip() or "\0")
        answer = self.template.before_tags(whole, fence)
        if finish == "length" and len(answer) < len(whole):  # it went on behind its end
            finish = "stop"
        if self.template.without_labels(original) == original:
            answer = self.template.without_labels(answer)
        if whole and not answer.strip():
            return Checked("failed", reason="leaked_tags")  # and nothing before them
        # An original may speak of prompts, and then so may its rewrite.
        repeats = self.template.repeated(answer) and not self.template.repeated(original)
        return check(original, answer, finish, repeats, self.recipe.rewrite.length)

    def _sampling(self, row: Row, fence: str) -> Sampling:
        config = self.recipe.rewrite.sampling
        seed = hashlib.sha256(f"{config.seed}\0{row['id']}".encode()).digest()
        return Sampling(
            max_tokens=config.max_tokens or self.recipe.chunking.tokens,
            temperature=config.temperature,
            top_p=config.top_p,
            seed=int.from_bytes(seed[:4], "big") >> 1,
            stop=self.template.ends(fence),
        )
