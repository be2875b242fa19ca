"""Score the rows of a document: ask the judges about every pool, and fill in what they say."""

from collections import Counter
from collections.abc import Collection, Sequence

from prewrite.judge.combine import combined
from prewrite.judge.config import JudgeConfig
from prewrite.judge.criteria import Criterion, load_criterion
from prewrite.judge.judge import Judge
from prewrite.judge.panel import Panel, consistency, disagreement, mean_scores
from prewrite.judge.pool import Pool, Result, judgements
from prewrite.judge.unread import failure
from prewrite.pipeline.passes import Document, DocumentResult
from prewrite.prompts.context import contexts
from prewrite.shards.failures import Failure
from prewrite.shards.manifest import Usage
from prewrite.shards.schema import TEXTS, Row

_OPEN_ROWS = 64  # where no engine has to be kept full


class Scorer:
    """Work of the judge pass: rows of one document in, the same rows with scores out.

    Criteria in `kept` have their columns and verdicts already; they are not asked.
    """

    def __init__(
        self, judges: Sequence[Judge], config: JudgeConfig, kept: Collection[str] = ()
    ) -> None:
        self.config, self._panel = config, Panel(judges, config)
        self.criteria = [load_criterion(name) for name in config.criteria]
        self.open = [criterion for criterion in self.criteria if criterion.name not in kept]
        engines = [judge.engine for judge in judges if judge.engine]
        self.window = 2 * max((engine.concurrency for engine in engines), default=_OPEN_ROWS)
        self.versions = {name: v for e in engines for name, v in e.versions().items()}

    async def __call__(self, document: Document) -> DocumentResult:
        """Fill the score columns of every row. One fails where no score came of what was asked
        about it on a criterion, for then it has no total.
        """
        rows = document.rows
        befores = contexts(rows, self.config.max_context_tokens)
        pools = [pool_of(row, before) for row, before in zip(rows, befores, strict=True)]
        places = [(criterion, index) for criterion in self.open for index in range(len(rows))]
        questions = [(criterion, pools[index]) for criterion, index in places]
        found = await self._panel(questions, fence_texts(rows))
        outcome = DocumentResult(rows, judgements=list(document.judgements))
        outcome.counts = _counts(document)
        asked, unscored = set[int](), set[int]()
        for (criterion, index), said in zip(places, found, strict=True):
            results = [*said.results.values()]
            store(rows[index], criterion, results)
            for judge, result in said.results.items():
                outcome.judgements += judgements(judge, result.answers)
            outcome.counts += said.counts
            if any(result.answers for result in results):
                asked.add(index)
                unscored |= set() if mean_scores(results) else {index}
        outcome.asked, outcome.failed = len(asked), len(unscored)
        outcome.failures = self._failures(outcome.judgements)
        order = {row["id"]: index for index, row in enumerate(rows)}
        outcome.judgements.sort(key=lambda verdict: order[verdict["id"]])
        for row in rows:
            self._total(row)
        outcome.usage = sum((said.usage for said in found), Usage())
        return outcome

    def _failures(self, verdicts: Sequence[Row]) -> list[Failure]:
        """Those that could not be read."""
        engine = {criterion.name for criterion in self.criteria if criterion.needs_engine}
        return [
            failure(one["criterion"] in engine, one["criterion"], one["id"], status, one["answer"])
            for one in verdicts
            if (status := one["status"]) != "ok"
        ]

    def _total(self, row: Row) -> None:
        weights = self.config.weights_of(self.criteria)
        for text in TEXTS:
            values = [row[f"{text}_{c.name}"] for c in self.criteria]
            row[f"{text}_score"] = combined(self.config.combine, weights, values)


def pool_of(row: Row, context: tuple[str, ...]) -> Pool:
    """The texts of a row that can be judged; a row nobody asked to rewrite has none."""
    texts = {} if row["rewrite_status"] == "skipped" else {t: row[t] for t in TEXTS if row[t]}
    return Pool(row["id"], context, row["original"], texts)


def fence_texts(rows: list[Row]) -> list[str]:
    """The document (joined: two chunks may spell a tag between them) and every rewrite of it."""
    document = "".join(row["original"] for row in rows)
    return [document, *(row["rewrite"] for row in rows if row["rewrite"])]


def store(row: Row, criterion: Criterion, results: Sequence[Result]) -> None:
    """Put what the judges say of a row into its columns of a criterion."""
    scores = mean_scores(results)
    for text in TEXTS:
        row[f"{text}_{criterion.name}"] = scores.get(text)
    row[f"{criterion.name}_consistency"] = consistency(results)
    row[f"{criterion.name}_disagreement"] = disagreement(results)


def _counts(document: Document) -> Counter[str]:
    """Rows by status, and the verdicts that the document brings along."""
    counts = Counter(f"status:{row['rewrite_status']}" for row in document.rows)
    counts.update(f"verdict:{verdict['status']}" for verdict in document.judgements)
    return counts
