"""Score the rows of a document: ask about every pool, criterion by criterion."""

import asyncio
from collections import Counter

from engine.types import Completion, Engine
from judge.config import JudgeConfig
from judge.context import contexts
from judge.criteria import Asked, Criterion, load_criterion
from judge.pool import Answers, Pool, Question, judgements, questions, scores
from judge.readout import Verdict, ask
from judge.usage import usage_of
from shards.manifest import Usage
from shards.passes import Document, Outcome
from shards.schema import TEXTS, Row


class Scorer:
    """Work of the judge pass: rows of one document in, the same rows with scores out.

    All questions of a document travel together, criterion by criterion and chunk by chunk, so that
    the engine's prefix cache serves rubric and context. The same question is asked once (a copied
    rewrite has its original's verdicts).
    """

    def __init__(self, engine: Engine, config: JudgeConfig) -> None:
        self.engine, self.config = engine, config
        self.criteria = [load_criterion(name) for name in config.criteria]
        if config.readout == "distribution":
            asked = [c for c in self.criteria if isinstance(c, Asked)]
            engine.check_verdicts(v for c in asked for v in c.verdicts)
        self.window = 2 * engine.concurrency
        self.versions = engine.versions()

    async def __call__(self, document: Document) -> Outcome:
        """Fill the score columns of every row."""
        befores = contexts(document.rows, self.config.max_context_tokens)
        pools = [_pool(row, b) for row, b in zip(document.rows, befores, strict=True)]
        desk = _Desk(self.engine, self.config, _fence_texts(document.rows))
        answered = await asyncio.gather(
            *(desk.ask_all(c, pool) for c in self.criteria for pool in pools)
        )
        outcome = Outcome(document.rows)
        for index, answers in enumerate(answered):
            criterion = self.criteria[index // len(pools)]
            row = document.rows[index % len(pools)]
            _store(row, criterion, scores(answers))
            outcome.judgements += judgements(answers)
        place = {row["id"]: index for index, row in enumerate(document.rows)}
        outcome.judgements.sort(key=lambda verdict: place[verdict["id"]])
        for row in document.rows:
            self._total(row)
        outcome.usage = sum((usage_of(c) for c in desk.completions), Usage())
        outcome.counts = _counts(document.rows, outcome.judgements)
        return outcome

    def _total(self, row: Row) -> None:
        """The weighted sum over the criteria; null where one of them is."""
        for text in TEXTS:
            values = [row[f"{text}_{c.name}"] for c in self.criteria]
            weights = [self.config.weights.get(c.name, c.weight) for c in self.criteria]
            known = None not in values
            total = sum(w * v for w, v in zip(weights, values, strict=True)) if known else None
            row[f"{text}_score"] = total


class _Desk:
    """Asks the questions of one document, each distinct prompt once."""

    def __init__(self, engine: Engine, config: JudgeConfig, texts: list[str]) -> None:
        self.engine, self.config, self.texts = engine, config, texts
        self.completions: list[Completion] = []
        self._asked: dict[tuple[str, tuple[str, ...]], asyncio.Task[list[Verdict]]] = {}

    async def ask_all(self, criterion: Criterion, pool: Pool) -> Answers:
        """Every question of one criterion about one pool, with its verdicts."""
        asked = questions(criterion, pool)
        fence = criterion.prompt.fence(self.texts) if isinstance(criterion, Asked) else ""
        verdicts = await asyncio.gather(*(self._ask_once(q, fence) for q in asked))
        return list(zip(asked, verdicts, strict=True))

    def _ask_once(self, question: Question, fence: str) -> "asyncio.Task[list[Verdict]]":
        pieces = question.pieces(fence, self.config.readout == "reasoning")
        key = (question.criterion.name, pieces)
        if key not in self._asked:
            self._asked[key] = asyncio.create_task(self._ask(question.criterion, pieces))
        return self._asked[key]

    async def _ask(self, criterion: Criterion, pieces: tuple[str, ...]) -> list[Verdict]:
        assert isinstance(criterion, Asked)
        verdicts, completions = await ask(self.engine, criterion, pieces, self.config)
        self.completions += completions
        return verdicts


def _pool(row: Row, context: tuple[str, ...]) -> Pool:
    """The texts of a row that can be judged; a row nobody asked to rewrite has none."""
    texts = {} if row["rewrite_status"] == "skipped" else {t: row[t] for t in TEXTS if row[t]}
    return Pool(row["id"], context, row["original"], texts)


def _fence_texts(rows: list[Row]) -> list[str]:
    """The document (joined: two chunks may spell a tag between them) and every rewrite of it."""
    document = "".join(row["original"] for row in rows)
    return [document, *(row["rewrite"] for row in rows if row["rewrite"])]


def _store(row: Row, criterion: Criterion, found: dict[str, float]) -> None:
    for text in TEXTS:
        row[f"{text}_{criterion.name}"] = found.get(text)


def _counts(rows: list[Row], verdicts: list[Row]) -> Counter[str]:
    counts = Counter(f"status:{row['rewrite_status']}" for row in rows)
    counts.update(f"verdict:{verdict['status']}" for verdict in verdicts)
    return counts
