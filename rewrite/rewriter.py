"""Rewrite the chunks of a document by each template: prompt, generate, check."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from prewrite.engine.types import Completion, Engine
from prewrite.pipeline.passes import Document, DocumentResult
from prewrite.prompts.annotating import rewriting_of
from prewrite.prompts.checks import Checked
from prewrite.prompts.context import contexts
from prewrite.prompts.rewriting import Rewriting
from prewrite.prompts.thoughts import OPEN
from prewrite.prompts.usage import usage_of
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.stale import forget, is_true
from prewrite.shards.failures import Failure, as_reason
from prewrite.shards.manifest import DROPPED, THOUGHTS
from prewrite.shards.schema import NOT_ASKED, USABLE, Row, status_counts


class _Asked(NamedTuple):
    """A rewrite that was to be made: the answer, None where nobody was asked, why it is of no use,
    and why thoughts were left out of it.
    """

    row: str
    text: str
    answer: Completion | None
    failure: Failure | None
    dropped: Sequence[str] = ()


class Rewriter:
    """Work of the rewrite pass: rows of one document in, the same rows with rewrites out.

    All rewrites of a document are asked for at once: chunk by chunk, the templates of a chunk next
    to each other. So the engine's prefix cache serves the context that chunks share, and for
    templates that begin alike all that is before their instructions.

    engines: those of the recipe, by name. texts: the rewrites to make, by their columns; none: all.
    criteria, pairwise: on which rows are scored already, and which of them compare texts. A row
    with a new text loses what that makes stale.
    """

    def __init__(
        self,
        engines: Mapping[str, Engine],
        recipe: RewriteRecipe,
        texts: Collection[str] = (),
        criteria: Sequence[str] = (),
        pairwise: Sequence[str] = (),
    ) -> None:
        self.chunking, self._engines = recipe.chunking, dict[str, Engine]()
        self.rewritings, self._all = dict[str, Rewriting](), recipe.by_text()
        self._criteria, self._pairwise = criteria, pairwise
        for text in texts or self._all:
            config = self._all[text]
            engine = self._engines[text] = engines[config.engine]
            self.rewritings[text] = rewriting_of(config, recipe.chunking.tokens, engine.primes)
        self.window = max(map(self._rows_open, self._engines.values()))
        self.versions = {k: v for e in self._engines.values() for k, v in e.versions().items()}

    def _rows_open(self, engine: Engine) -> int:
        """Rows that keep an engine full: for each it has a request for each of its templates."""
        templates = sum(other is engine for other in self._engines.values())
        return -(-2 * engine.concurrency // templates)

    async def __call__(self, document: Document) -> DocumentResult:
        """Fill each rewrite of every row, with its status and reason."""
        rows = document.rows
        fences = {text: rewriting.fence(rows) for text, rewriting in self.rewritings.items()}
        befores = contexts(rows, self.chunking.max_context_tokens)
        jobs = [
            self._rewrite(text, row, before, fences[text])
            for row, before in zip(rows, befores, strict=True)
            for text in self.rewritings
            if row[f"{text}_status"] is None
        ]
        asked = await asyncio.gather(*jobs)
        outcome = self._outcome(rows, asked)
        new = {(one.row, one.text) for one in asked if one.failure is None}
        outcome.judgements = self._still_true(document, new)
        return outcome

    def _still_true(self, document: Document, new: Collection[tuple[str, str]]) -> list[Row]:
        """The verdicts that `new` (row id, text) leaves true; rows lose their stale scores."""
        changed: dict[str, list[str]] = {}
        for name, text in new:
            changed.setdefault(name, []).append(text)
        if not self._criteria:
            return document.judgements
        for row in document.rows:
            forget(row, changed.get(row["id"], ()), self._all, self._criteria, self._pairwise)
        return [one for one in document.judgements if is_true(one, changed.get(one["id"], ()))]

    def _outcome(self, rows: list[Row], asked: Sequence[_Asked]) -> DocumentResult:
        """The rewritten rows and their counts. A row counts as failed if none of its rewrites is
        usable.
        """
        names = {one.row for one in asked if one.answer}
        return DocumentResult(
            rows,
            usage=usage_of(*(one.answer for one in asked if one.answer)),
            counts=status_counts(rows, ("original", *self._all)) + self._thoughts(rows, asked),
            asked=len(names),
            failed=sum(row["id"] in names and not self._is_usable(row) for row in rows),
            failures=[one.failure for one in asked if one.failure],
        )

    def _thoughts(self, rows: list[Row], asked: Sequence[_Asked]) -> Counter[str]:
        """The thoughts in all rewrites, and those that were left out of new ones."""
        made = [text for text, config in self._all.items() if config.form == "thoughts"]
        kept = sum((row[text] or "").count(OPEN) for row in rows for text in made)
        dropped = Counter(f"{DROPPED}{reason}" for one in asked for reason in one.dropped)
        return dropped + Counter({f"{THOUGHTS}kept": kept})

    def _is_usable(self, row: Row) -> bool:
        """Whether any of its rewrites is."""
        return any(row[f"{text}_status"] in USABLE for text in self._all)

    def _was_asked(self, row: Row) -> bool:
        """Whether anybody was asked for any of its rewrites."""
        return any(row[f"{text}_status"] not in NOT_ASKED for text in self._all)

    async def _rewrite(self, text: str, row: Row, context: Sequence[str], fence: str) -> _Asked:
        """Fill one rewrite of a row in place."""
        rewriting = self.rewritings[text]
        completion: Completion | None = None
        if left_alone := rewriting.unasked(row["original"]):
            checked = Checked("unasked", reason=left_alone)
        else:
            request = rewriting.request(row, context, fence)
            completion = await self._engines[text].complete(request)
            checked = rewriting.checked(row["original"], request, completion, fence)
        reason = checked.reason and as_reason(checked.reason)
        row[text], row[f"{text}_status"], row[f"{text}_reason"] = (
            checked.text,
            checked.status,
            reason,
        )
        if checked.status in USABLE:
            return _Asked(row["id"], text, completion, None, checked.dropped)
        answer = (completion.error or completion.samples[0].text) if completion else None
        failure = Failure(reason or checked.status, row["id"], answer)
        return _Asked(row["id"], text, completion, failure)
