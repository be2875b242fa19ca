"""The corrupt pass, `prewrite judge corrupt`: a shard set in, the same rows out, each original
beside a text that is worse in a known way.

`rewrite` is the corrupted text, and the scores are known by its making: 1 for the original, 0 for
the other, on the criterion that the recipe names. `corruption` in `meta` says what was done. So a
judge can be measured on the set (`measure.report.labels`) or trained on it, and whoever chooses
texts by score takes the original. Rewrites and scores of the input stay behind.

Which rows are drawn, and what is done to each, depends on the seed and the row's id alone. The kind
`model` asks an engine once a row; all others cost nothing. `measure.corrupt.rows` costs one read of
two columns in each worker.
"""

import asyncio
import hashlib
import heapq
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa

from prewrite.base.console import PlainConsole
from prewrite.base.errors import ConfigError, InputError
from prewrite.base.fingerprint import fingerprint
from prewrite.engine.config import EngineConfig
from prewrite.engine.digest import identity
from prewrite.engine.registry import get_engine, probe
from prewrite.engine.types import Completion, Engine
from prewrite.judge.criteria import load_criterion
from prewrite.judge.measure.config import CorruptConfig, CorruptRecipe
from prewrite.judge.measure.corruptions import (
    CORRUPTIONS,
    Chance,
    CorruptionKind,
    with_corruption,
)
from prewrite.judge.passes import SetSource
from prewrite.pipeline.passes import Document, DocumentResult, Item, Split, Work
from prewrite.pipeline.run import finished, run_pass
from prewrite.pipeline.spread import spread
from prewrite.pipeline.steps import PlannedPass
from prewrite.prompts.checks import Checked
from prewrite.prompts.config import RewriteConfig, RewriteSampling
from prewrite.prompts.context import contexts
from prewrite.prompts.load import load_template
from prewrite.prompts.rewriting import Rewriting
from prewrite.prompts.usage import usage_of
from prewrite.shards.failures import Failure, as_reason
from prewrite.shards.manifest import CORRUPT, CORRUPTION, Manifest, PassInfo
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import TEXTS, Row, refuse_hidden, schema, status_counts
from prewrite.shards.show import print_summary

TEMPLATE = "corrupt"
"""What the kind `model` asks for."""

DOES_NOT_APPLY = "does_not_apply"
"""Why a text was not corrupted that has nothing for its kind to work on."""

_DONORS, _DONATED = 64, 2000
"""Documents, the first of a set, whose words `inserted` takes, and characters of each."""

_OPEN_ROWS = 64  # where no engine has to be kept full


@dataclass(frozen=True)
class Originals:
    """The documents of a finished set with their originals alone: a row that is drawn has no status
    yet, every other is `skipped`.
    """

    set: SetSource
    criterion: str
    seed: int
    rows: int | None

    def splits(self) -> list[Split]:
        """One a part, named like it."""
        return self.set.splits()

    def read(self, split: Split, start: int) -> Iterator[Item]:
        """Documents of a part."""
        for item in self.set.read(split, start):
            if isinstance(item, Document):
                item = replace(item, rows=[self._bare(row) for row in item.rows])
            yield item

    def _bare(self, row: Row) -> Row:
        status = None if self._is_drawn(row) else "skipped"
        kept = {name: row[name] for name in schema(()).names if name in row}
        scores = {f"{text}_{name}": None for text in TEXTS for name in (self.criterion, "score")}
        return kept | scores | {"rewrite": None, "rewrite_status": status, "rewrite_reason": None}

    def _is_drawn(self, row: Row) -> bool:
        if row["rewrite_status"] == "skipped":
            return False
        return self._last is None or _number(self.seed, row, "row") <= self._last

    @cached_property
    def _last(self) -> int | None:
        """The number of the last row that is drawn; None where all are."""
        if self.rows is None:
            return None
        every = ShardSet(self.set.url).rows(["id", "rewrite_status"])
        there = (row for row in every if row["rewrite_status"] != "skipped")
        numbers = (_number(self.seed, row, "row") for row in there)
        return heapq.nsmallest(self.rows, numbers)[-1]


@dataclass(frozen=True)
class CorruptPass:
    """Corrupts the originals of the set at `url`; engine: of the kind `model`, if it is among those
    that are drawn.
    """

    url: str
    config: CorruptConfig
    engine: EngineConfig | None
    max_context_tokens: int
    name: str = CORRUPT
    max_bad_rows: float = 0.0

    @property
    def criterion(self) -> str:
        """The name of the criterion whose scores are known."""
        return load_criterion(self.config.criterion).name

    @property
    def columns(self) -> pa.Schema:
        """The columns of the set it makes."""
        return schema([self.criterion])

    @cached_property
    def source(self) -> Originals:
        """The set to corrupt."""
        config = self.config
        return Originals(SetSource(self.url), self.criterion, config.seed, config.rows)

    def identity(self) -> dict[str, Any]:
        """What the rows depend on; the input by what made it and by its bytes."""
        manifest = ShardSet(self.url).finished().manifest
        made = self.config.model_dump(mode="json", include={"kinds", "rows", "seed"})
        before = {"fingerprint": manifest.passes[-1].fingerprint, "parts": manifest.known_as}
        return {"corrupt": made | {"criterion": self.criterion}, "input": before, **self._model()}

    def _model(self) -> dict[str, Any]:
        """What the texts of the kind `model` depend on."""
        if self.engine is None:
            return {}
        return {
            "engine": identity(self.engine),
            "template": load_template(TEMPLATE).sha256,
            "max_context_tokens": self.max_context_tokens,
        }

    def begin(self, splits: list[Split]) -> Manifest:
        """The input's manifest with this pass in place of those that judged it."""
        before = ShardSet(self.url).manifest
        refuse_hidden("measure.corrupt.criterion", [self.criterion], [], ())
        config = self.identity()
        info = PassInfo(name=self.name, fingerprint=fingerprint(config), config=config)
        passes = [made for made in before.passes if made.name != "judge"]
        return before.begun_by(
            info, passes=[*passes, info], criteria=[self.criterion], measures=[], rewrites=[]
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        """Load the engine in this process, if there is something to ask it."""
        yield Corruptor(self, get_engine(self.engine) if self.engine else None)


class _Corrupted(NamedTuple):
    """What became of a row. completion: of the model, where it was asked."""

    row: Row
    kind: CorruptionKind
    checked: Checked
    completion: Completion | None = None

    @property
    def failure(self) -> Failure | None:
        """Why there is no corrupted text."""
        reason, answer = self.checked.reason, None
        if self.checked.text is not None or reason is None:
            return None
        if self.completion:
            answer = self.completion.error or self.completion.samples[0].text
        return Failure(as_reason(f"{self.kind}: {reason}"), self.row["id"], answer)


class Corruptor:
    """Work of the pass: rows of one document in, the same rows with corrupted texts out."""

    def __init__(self, job: CorruptPass, engine: Engine | None) -> None:
        self._config, self._criterion = job.config, job.criterion
        self._max_context, self._engine = job.max_context_tokens, engine
        shards = ShardSet(job.url)
        self._donors = donors(shards)
        self._rewriting = _rewriting(job.config, shards.manifest.chunk_tokens) if engine else None
        self.window = 2 * engine.concurrency if engine else _OPEN_ROWS
        self.versions = engine.versions() if engine else {}

    async def __call__(self, document: Document) -> DocumentResult:
        """Corrupt every row that was drawn; a row that cannot be says why."""
        rows = document.rows
        fence = self._rewriting.fence(rows) if self._rewriting else ""
        pairs = zip(rows, contexts(rows, self._max_context), strict=True)
        drawn = [pair for pair in pairs if pair[0]["rewrite_status"] is None]
        made = await asyncio.gather(*(self._corrupted(*pair, fence) for pair in drawn))
        for one in made:
            self._fill(one)
        counts = status_counts(rows, TEXTS)
        counts += Counter(f"{CORRUPTION}{one.kind}" for one in made if one.checked.text is not None)
        failures = [failure for one in made if (failure := one.failure)]
        return DocumentResult(
            rows,
            usage=usage_of(*(one.completion for one in made if one.completion)),
            counts=counts,
            asked=len(made),
            failed=len(failures),
            failures=failures,
        )

    async def _corrupted(self, row: Row, context: Sequence[str], fence: str) -> _Corrupted:
        kinds = self._config.kinds
        kind = kinds[_number(self._config.seed, row, "kind") % len(kinds)]
        if kind != "model":
            return _Corrupted(row, kind, self._by_function(row, kind))
        assert self._engine and self._rewriting
        request = self._rewriting.request(row, context, fence)
        completion = await self._engine.complete(request)
        checked = self._rewriting.checked(row["original"], request, completion, fence)
        if checked.status == "truncated":  # a text as long as the passage ends by itself
            checked = Checked("failed", reason=checked.reason)
        return _Corrupted(row, kind, checked, completion)

    def _by_function(self, row: Row, kind: CorruptionKind) -> Checked:
        draw, text = Chance(_number(self._config.seed, row, kind)), row["original"]
        others = [other for doc_id, other in self._donors if doc_id != row["doc_id"]]
        worse = CORRUPTIONS[kind](text, draw.choice(others or [""]), draw)
        if worse is None or worse.split() == text.split():
            return Checked("failed", reason=DOES_NOT_APPLY)
        return Checked("ok", worse)

    def _fill(self, made: _Corrupted) -> None:
        row, checked, failure = made.row, made.checked, made.failure
        row["rewrite"], row["rewrite_status"] = checked.text, checked.status
        row["rewrite_reason"] = failure.reason if failure else None
        if checked.text is not None:
            row["meta"] = with_corruption(row["meta"], made.kind)
            for name in (self._criterion, "score"):
                row[f"original_{name}"], row[f"rewrite_{name}"] = 1.0, 0.0


def _rewriting(config: CorruptConfig, tokens: int) -> Rewriting:
    """How the kind `model` is asked for, and checked: as a rewrite is."""
    sampling = RewriteSampling(seed=config.seed)
    asked = RewriteConfig(engine=str(config.engine), template=TEMPLATE, sampling=sampling)
    return Rewriting(asked, tokens, primes=False)


def donors(shards: ShardSet) -> list[tuple[str, str]]:
    """(document, how it begins) of the first documents of a set."""
    documents = (rows for part in shards.parts for rows in shards.documents(part))
    first = (rows[0] for rows in islice(documents, _DONORS))
    return [(row["doc_id"], row["original"][:_DONATED]) for row in first]


def _number(seed: int, row: Row, what: str) -> int:
    """Drawn evenly by seed and row, for each purpose another one."""
    told = f"prewrite.corrupt\0{seed}\0{what}\0{row['id']}"
    return int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "big")


def corrupt_pass(recipe: CorruptRecipe) -> CorruptPass:
    """The pass that a recipe describes; one sentence where its input has too few rows."""
    url, config = str(recipe.judge.input), recipe.measure.corrupt
    manifest = ShardSet(url).finished().manifest
    there = manifest.rows - manifest.statuses.get("skipped", 0)
    if manifest.corrupted:
        raise InputError(
            f"{url}: found a corrupted set, whose rows say what was done to them; accepted: the "
            "set that it was made of"
        )
    if not there:
        raise InputError(f"{url}: found no row to corrupt; accepted: rows that are not skipped")
    if config.rows and config.rows > there:
        raise ConfigError(
            f"measure.corrupt.rows: found {config.rows}; accepted with {url}: at most {there}, the "
            "rows that are not skipped"
        )
    engine = recipe.engines[config.engine] if config.engine and "model" in config.kinds else None
    return CorruptPass(url, config, engine, recipe.judge.max_context_tokens)


def run(recipe: CorruptRecipe) -> None:
    """Corrupt, or say that it is done."""
    job = corrupt_pass(recipe)
    if finished(job, recipe.output):
        run_pass(job, recipe.output, recipe.run)  # removes what a killed run has left
        print(f"{recipe.output}: the set is complete; nothing to do")
        return
    if spread("judge corrupt", recipe, [PlannedPass(job, recipe.output)], recipe.run):
        return
    if job.engine:
        probe(job.engine)
    run_pass(job, recipe.output, recipe.run)
    print_summary(ShardSet(recipe.output), PlainConsole())


def plan(recipe: CorruptRecipe) -> str:
    """What `run` would do."""
    job = corrupt_pass(recipe)
    rows = "all rows" if job.config.rows is None else f"{job.config.rows} rows"
    kinds = ", ".join(dict.fromkeys(job.config.kinds))
    return f"corrupt {rows} of {job.url} ({kinds}), known on {job.criterion} → {recipe.output}"
