"""`prewrite plan --config FILE`: what a run will cost, before it is paid for.

A sample of the corpus is read, then some of its documents are rewritten, and those judged, for half
a minute each, by the engines of the recipe. What they took is scaled to the whole corpus. Nothing
is written, and what has been made at `output` before is not looked at. Documents begun are finished
and engines loaded besides, so it takes a minute and what these take.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
from rich import box
from rich.table import Table

from prewrite.base.cli import console
from prewrite.base.console import PlainConsole
from prewrite.engine.config import EngineConfig, VllmConfig
from prewrite.judge.criteria import load_criterion
from prewrite.judge.judge import load_judges
from prewrite.judge.passes import judged_columns
from prewrite.judge.scorer import RowScorer
from prewrite.pipeline.limit import check_failed
from prewrite.pipeline.passes import Document, DocumentResult, Work
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.corpus import Corpus
from prewrite.rewrite.forecast import Forecast, MeasuredPass, Server, StartUp, forecast
from prewrite.rewrite.meter import Meter
from prewrite.rewrite.more import rewrite_pass
from prewrite.rewrite.passes import rewriters, work_of
from prewrite.rewrite.sample import CorpusSample, read
from prewrite.shards.failures import FailureTally
from prewrite.shards.manifest import odd
from prewrite.shards.schema import JUDGEMENT_SCHEMA, Row, schema, texts_of, to_parquet

SECONDS = 30.0
"""How long documents are put to the engines, by stage."""

LEAST = 4
"""Documents that a stage finishes in any case: of fewer no range can be told."""


@dataclass
class Plan:
    """A forecast, and what it rests on: the sample, and of it the documents put to the engines,
    the requests that these took, and how many of them failed.
    """

    sample: CorpusSample
    forecast: Forecast
    documents: int
    requests: int
    failed: int


def make_plan(recipe: RewriteRecipe, seconds: float = SECONDS) -> Plan:
    """Measure and forecast. InputError for a corpus, EngineError for an engine without use."""
    texts = texts_of(recipe.rewrites)
    sample = read(Corpus(recipe.input, recipe.chunking, texts))
    return asyncio.run(_measure(recipe, sample, seconds))


async def _measure(recipe: RewriteRecipe, sample: CorpusSample, seconds: float) -> Plan:
    begun, fresh = time.monotonic(), rewrite_pass(recipe).fresh
    rewriter = {name: Meter(engine) for name, engine in rewriters(recipe, fresh).items()}
    scorer, judges = _scorer(recipe)
    loading = time.monotonic() - begun
    names = recipe.rewrites
    trials = [_Trial("rewrite", rewriter, schema((), rewrites=names))]
    await trials[0].run(work_of(recipe, rewriter, fresh), sample.documents, seconds)
    trials[0].check(recipe.run.max_failed)
    if recipe.judge and scorer:
        columns = judged_columns(recipe.judge, names)
        trials.append(_Trial("judge", judges, columns))
        await trials[1].run(scorer, [outcome.rows for outcome in trials[0].outcomes], seconds)
        trials[1].check(recipe.run.max_failed)
    gpus = (_gpus(recipe.engines[name]) for name in {**rewriter, **judges})
    start = StartUp(loading, max(gpus, default=0))
    stages = [trial.stage(recipe, sample.files) for trial in trials]
    meters = [*rewriter.values(), *judges.values()]
    return Plan(
        sample,
        forecast(sample, stages, start, recipe.run.rows_per_part),
        documents=len(trials[0].outcomes),
        requests=sum(len(meter.ended) for meter in meters),
        failed=sum(meter.failed for meter in meters),
    )


def _scorer(recipe: RewriteRecipe) -> tuple[RowScorer | None, dict[str, Meter]]:
    """The judge of a recipe, and the meters of its engines by name."""
    if not recipe.judge:
        return None, {}
    criteria = [load_criterion(name) for name in recipe.judge.criteria]
    judges = load_judges(recipe.judge, recipe.engines, criteria)
    meters = {}
    for judge in judges:
        if judge.name and judge.engine:
            judge.engine = meters[judge.name] = Meter(judge.engine)
    return RowScorer(judges, recipe.judge, texts_of(recipe.rewrites)), meters


class _Trial:
    """A stage put to the test."""

    def __init__(self, name: str, meters: dict[str, Meter], columns: pa.Schema) -> None:
        self.name, self.meters, self.columns = name, meters, columns
        self.seconds = 0.0
        self.outcomes: list[DocumentResult] = []

    async def run(self, work: Work, documents: Sequence[list[Row]], limit: float) -> None:
        """Keep the engines full for `limit` seconds or till the last document; finish what began.

        Of many documents LEAST at least are finished, however long that takes.
        """
        console.print(f"plan: {self.name}, for {limit:.0f} s and what is open then")
        begun, waiting = time.monotonic(), list(documents[::-1])
        tasks: set[asyncio.Task[DocumentResult]] = set()
        while waiting or tasks:
            while waiting and (not tasks or self._hungry()):
                tasks.add(asyncio.ensure_future(work(Document(waiting.pop(), 0))))
                for _ in range(10):
                    await asyncio.sleep(0)  # until its requests are open
            done, tasks = await asyncio.wait(tasks, timeout=0.02, return_when=_FIRST)
            self.outcomes += [task.result() for task in done]
            if len(self.outcomes) >= LEAST and time.monotonic() - begun > limit:
                waiting = []
        self.seconds = time.monotonic() - begun

    def check(self, limit: float) -> None:
        """EngineError where a run would end for what failed: see `run.max_failed`."""
        tally = FailureTally()
        for outcome in self.outcomes:
            tally.add(outcome.tally)
        check_failed(self.name, tally, limit)

    def _hungry(self) -> bool:
        return any(meter.open < meter.concurrency for meter in self.meters.values())

    def stage(self, recipe: RewriteRecipe, files: int) -> MeasuredPass:
        """What the trial found."""
        per_token, per_part = self._sizes()
        return MeasuredPass(
            name=self.name,
            rows=[_asked(outcome.rows) for outcome in self.outcomes],
            usage=[outcome.usage for outcome in self.outcomes],
            servers=[
                _server(recipe, name, meter, files)
                for name, meter in self.meters.items()
                if meter.ended
            ],
            seconds=self.seconds,
            bytes_per_token=per_token,
            bytes_per_part=per_part,
        )

    def _sizes(self) -> tuple[float, float]:
        """Bytes a token of the originals, and a part besides: a line through the sizes of a part of
        all outcomes and of one of half of them.
        """
        half, full = self.outcomes[: len(self.outcomes) // 2], self.outcomes
        tokens = [sum(r["original_tokens"] for o in some for r in o.rows) for some in (half, full)]
        sizes = [self._bytes(some) for some in (half, full)]
        slope = max(sizes[1] - sizes[0], 0) / max(tokens[1] - tokens[0], 1)
        return slope, max(sizes[1] - slope * tokens[1], 0)

    def _bytes(self, outcomes: Sequence[DocumentResult]) -> int:
        """Of a part of these outcomes with its verdicts."""
        metadata = {"prewrite.fingerprint": "0" * 64}
        rows = [row for outcome in outcomes for row in outcome.rows]
        verdicts = [row for outcome in outcomes for row in outcome.judgements]
        size = len(to_parquet(rows, self.columns, metadata))
        if self.name == "judge":
            size += len(to_parquet(verdicts, JUDGEMENT_SCHEMA, metadata))
        return size


_FIRST = asyncio.FIRST_COMPLETED


def _server(recipe: RewriteRecipe, name: str, meter: Meter, files: int) -> Server:
    """An endpoint is the same one for all workers; of vLLM each worker has its own."""
    config, run = recipe.engines[name], recipe.run
    own = isinstance(config, VllmConfig)
    processes = min(run.workers, run.tasks, files) if own else 1
    return Server(meter.speed, len(meter.ended), _gpus(config), processes)


def _gpus(config: EngineConfig) -> int:
    """GPUs that an engine occupies here; an endpoint's are not known."""
    if not isinstance(config, VllmConfig):
        return 0
    from prewrite.engine.vllm_engine import on_cpu  # slow: it asks torch

    return 0 if on_cpu() else config.tensor_parallel


def _asked(rows: Sequence[Row]) -> int:
    return sum(row["rewrite_status"] != "skipped" for row in rows)


def show(plan: Plan, recipe: RewriteRecipe) -> None:
    """Print the forecast as a table, and what it rests on."""
    table = Table("a whole run", box=box.SIMPLE)
    for name in ("forecast", "low", "high"):
        table.add_column(name, justify="right")
    for name, values in plan.forecast.items():
        table.add_row(name, *(_shown(name, value) for value in values))
    out = PlainConsole()
    out.print(table)
    for line in _notes(plan, recipe):
        out.print(line, soft_wrap=True)


def _shown(name: str, value: float) -> str:
    if name.endswith("hours"):
        return f"{value:,.3f}" if value < 10 else f"{value:,.0f}"
    if name.endswith("bytes") and value >= 1e6:
        return f"{value / 1e9:,.1f} GB" if value >= 1e9 else f"{value / 1e6:,.1f} MB"
    return f"{value:,.0f}"


def _notes(plan: Plan, recipe: RewriteRecipe) -> list[str]:
    sample = plan.sample
    notes = [
        f"measured on {plan.documents} documents and {plan.requests} requests; "
        + ("all of the corpus was read" if sample.whole else _read_of(sample))
    ]
    for what, reason, count in odd(sample.odd):
        notes.append(f"{count} {what}: {reason}")
    if plan.failed:
        notes.append(f"{plan.failed} of the requests failed: a run would leave such rows without")
    names = {config.engine for config in recipe.by_text().values()}
    names |= set(recipe.judge.panel if recipe.judge else ())
    if any(not isinstance(recipe.engines[name], VllmConfig) for name in names):
        notes.append("the GPU-hours of an endpoint are not counted: nobody here knows its GPUs")
    return notes


def _read_of(sample: CorpusSample) -> str:
    size = sum(part.offset for part in sample.parts)
    return (
        f"{len(sample.parts)} of {sample.files} files were read, "
        f"{size / 1e6:,.1f} of {sample.size / 1e6:,.1f} MB"
    )


def run(recipe: RewriteRecipe) -> None:
    """Measure, and print the forecast."""
    show(make_plan(recipe), recipe)


def dry_run(recipe: RewriteRecipe) -> str:
    """What `run` would do."""
    made = (("rewrite" if recipe.rewrite else "cut"), *(["judge"] if recipe.judge else []))
    stages = " and ".join(made)
    return f"{stages} a sample of {', '.join(recipe.input.paths)}, and write nothing"
