"""Score the rows of a document: ask the judges about every pool, criterion by criterion."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field

from judge.combine import combined
from judge.config import JudgeConfig
from judge.context import contexts
from judge.criteria import Criterion, load_criterion
from judge.judge import Judge, fence_for
from judge.panel import consistency, disagreement, mean_scores
from judge.pool import Pool, Question, Result, judgements, play
from judge.readout import Verdict
from shards.manifest import Usage
from shards.passes import Document, Outcome
from shards.schema import TEXTS, Row

_OPEN_ROWS = 64  # where no engine has to be kept full


class Scorer:
    """Work of the judge pass: rows of one document in, the same rows with scores out.

    All questions of a document travel together, criterion by criterion and chunk by chunk, so that
    the engine's prefix cache serves rubric and context. Criteria in `kept` have their columns and
    verdicts already; they are not asked.
    """

    def __init__(
        self, judges: Sequence[Judge], config: JudgeConfig, kept: Collection[str] = ()
    ) -> None:
        self.judges, self.config = judges, config
        self.criteria = [load_criterion(name) for name in config.criteria]
        self.open = [criterion for criterion in self.criteria if criterion.name not in kept]
        self._graded = config.readout == "distribution"
        self._without_engine = [Judge(None, None, config)]
        engines = [judge.engine for judge in judges if judge.engine]
        self.window = 2 * max((engine.concurrency for engine in engines), default=_OPEN_ROWS)
        self.versions = {name: v for e in engines for name, v in e.versions().items()}

    async def __call__(self, document: Document) -> Outcome:
        """Fill the score columns of every row."""
        rows = document.rows
        befores = contexts(rows, self.config.max_context_tokens)
        pools = [_pool(row, before) for row, before in zip(rows, befores, strict=True)]
        desk = _Desk(_fence_texts(rows))
        places = [(criterion, index) for criterion in self.open for index in range(len(rows))]
        found = await asyncio.gather(*(self._ask(desk, c, pools[index]) for c, index in places))
        outcome = Outcome(rows, judgements=list(document.judgements))
        for (criterion, index), results in zip(places, found, strict=True):
            _store(rows[index], criterion, [result for _, result in results])
            for judge, result in results:
                outcome.judgements += judgements(judge.name, result.answers)
                outcome.counts += Counter(
                    {"pool:ties": result.ties, "pool:conflicts": result.conflicts}
                )
        order = {row["id"]: index for index, row in enumerate(rows)}
        outcome.judgements.sort(key=lambda verdict: order[verdict["id"]])
        for row in rows:
            self._total(row)
        outcome.usage = desk.usage
        outcome.counts += _counts(rows, outcome.judgements)
        return outcome

    async def _ask(
        self, desk: "_Desk", criterion: Criterion, pool: Pool
    ) -> list[tuple[Judge, Result]]:
        """What each judge of the panel says."""
        judges = self.judges if criterion.needs_engine else self._without_engine
        played = (
            play(criterion, pool, desk.asks(judge, criterion), self.config.pools, self._graded)
            for judge in judges
        )
        return list(zip(judges, await asyncio.gather(*played), strict=True))

    def _total(self, row: Row) -> None:
        weights = [self.config.weights.get(c.name, c.weight) for c in self.criteria]
        for text in TEXTS:
            values = [row[f"{text}_{c.name}"] for c in self.criteria]
            row[f"{text}_score"] = combined(self.config.combine, weights, values)


@dataclass
class _Desk:
    """Where the questions about one document are put; adds up what they cost."""

    texts: list[str]
    usage: Usage = field(default_factory=Usage)

    def asks(
        self, judge: Judge, criterion: Criterion
    ) -> Callable[[Question], Awaitable[Sequence[Verdict]]]:
        """The way to put questions on `criterion` to `judge`."""
        fence = fence_for(criterion, self.texts)

        async def ask(question: Question) -> Sequence[Verdict]:
            verdicts, usage = await judge.ask(question, fence)
            self.usage += usage
            return verdicts

        return ask


def _pool(row: Row, context: tuple[str, ...]) -> Pool:
    """The texts of a row that can be judged; a row nobody asked to rewrite has none."""
    texts = {} if row["rewrite_status"] == "skipped" else {t: row[t] for t in TEXTS if row[t]}
    return Pool(row["id"], context, row["original"], texts)


def _fence_texts(rows: list[Row]) -> list[str]:
    """The document (joined: two chunks may spell a tag between them) and every rewrite of it."""
    document = "".join(row["original"] for row in rows)
    return [document, *(row["rewrite"] for row in rows if row["rewrite"])]


def _store(row: Row, criterion: Criterion, results: Sequence[Result]) -> None:
    scores = mean_scores(results)
    for text in TEXTS:
        row[f"{text}_{criterion.name}"] = scores.get(text)
    row[f"{criterion.name}_consistency"] = consistency(results)
    row[f"{criterion.name}_disagreement"] = disagreement(results)


def _counts(rows: list[Row], verdicts: list[Row]) -> Counter[str]:
    counts = Counter(f"status:{row['rewrite_status']}" for row in rows)
    counts.update(f"verdict:{verdict['status']}" for verdict in verdicts)
    return counts
