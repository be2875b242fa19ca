"""Scores for texts: ask the judges about pools, and combine what they say.

`PoolScorer` is the way from pools to scores, of stored texts and of rollouts alike. `RowScorer` is
the judge pass: it makes the rows of a document to pools, and fills in their columns.

What a set holds already (`Pool.known`) is not asked again where it still holds. A text that could
not be judged on a criterion that counts has no score: the pool shrinks, and `PoolScores.counts`
says why. An empty text (a policy may end at once) is judged like any other by a model that is asked
and by a function; a likelihood it has none, for it has no tokens.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from prewrite.engine.config import EngineConfig
from prewrite.judge.combine import combined
from prewrite.judge.config import JudgeConfig
from prewrite.judge.criteria import Criterion, load_criterion
from prewrite.judge.judge import Judge, load_judges
from prewrite.judge.panel import (
    Panel,
    PanelResult,
    consistency,
    disagreement,
    fence_texts,
    mean_scores,
    told_disagreement,
)
from prewrite.judge.pool import Pool, Result, judgements
from prewrite.judge.recall import RecallingJudge
from prewrite.judge.unread import failure
from prewrite.pipeline.passes import Document, DocumentResult
from prewrite.prompts.context import contexts
from prewrite.shards.failures import Failure
from prewrite.shards.manifest import Usage
from prewrite.shards.schema import (
    TEXTS,
    Row,
    StoredValues,
    as_stored,
    best_of,
    status_counts,
    stored_values,
)

_Told = tuple[str, str, str]
"""Row, criterion and text of which there is a verdict."""

_OPEN_ROWS = 64  # where no engine has to be kept full


@dataclass(frozen=True)
class PoolScores:
    """What is said of one pool.

    scores: candidate → combined score; a candidate without a value on a criterion that counts is
    not in it. values: criterion → candidate → 0..1, what was known included. said: criterion → what
    the panel said, if only that it was not asked.
    """

    scores: dict[str, float]
    values: dict[str, dict[str, float]]
    said: Mapping[str, PanelResult] = field(default_factory=dict)

    @property
    def counts(self) -> Counter[str]:
        """Verdicts by status, ties and conflicts, as in a manifest."""
        return sum((one.counts for one in self.said.values()), Counter[str]())

    @property
    def usage(self) -> Usage:
        """What was asked."""
        return sum((one.usage for one in self.said.values()), Usage())

    def results(self, criterion: Criterion) -> list[Result]:
        """What each judge said on a criterion."""
        return [*self.said[criterion.name].results.values()]


class PoolScorer:
    """Scores pools on `criteria` with the judges of a panel."""

    def __init__(self, panel: Panel, criteria: Sequence[Criterion]) -> None:
        self.config, self._panel, self.criteria = panel.config, panel, criteria
        self._weights = self.config.weights_of(criteria)

    @classmethod
    def load(cls, config: JudgeConfig, engines: Mapping[str, EngineConfig]) -> Self:
        """With the judges that `config` names among `engines`, which are loaded.

        Raises EngineError where one cannot be loaded or lacks a verdict as one token, ConfigError
        for a criterion that cannot be used.
        """
        criteria = [load_criterion(name) for name in config.criteria]
        return cls(Panel(load_judges(config, engines, criteria), config), criteria)

    async def __call__(
        self, pools: Sequence[Pool], texts: Sequence[str] | None = None
    ) -> list[PoolScores]:
        """Score the pools of one document; EngineError when a judge is dead. texts: all that their
        prompts may hold, where that is more than the texts of the pools.
        """
        asked = [
            (index, criterion, replace(pool, candidates=candidates))
            for criterion in self.criteria
            for index, pool in enumerate(pools)
            if (candidates := pool.unjudged(criterion))
        ]
        questions = [(criterion, pool) for _, criterion, pool in asked]
        found = await self._panel(questions, fence_texts(pools) if texts is None else texts)
        said = [{c.name: PanelResult({}, Usage()) for c in self.criteria} for _ in pools]
        for (index, criterion, _), one in zip(asked, found, strict=True):
            said[index][criterion.name] = one
        return [self._scored(*pair) for pair in zip(pools, said, strict=True)]

    def totals(self, values: StoredValues, names: Iterable[str]) -> dict[str, float]:
        """The combined score of each text of `names` that has one, of the values as a set has them:
        so it is the same whether a value was kept or is new.
        """
        found = {name: self._total(name, values) for name in names}
        return {name: total for name, total in found.items() if total is not None}

    def _total(self, name: str, values: StoredValues) -> float | None:
        each = [v.get(name) for v in values.values()]
        stored = [None if value is None else as_stored(value) for value in each]
        return combined(self.config.combine, self._weights, stored)

    def _scored(self, pool: Pool, said: Mapping[str, PanelResult]) -> PoolScores:
        scored = PoolScores({}, {}, said)
        for criterion in self.criteria:
            found = pool.known_on(criterion) | mean_scores(scored.results(criterion))
            values = ((name, found.get(name)) for name in pool.candidates)
            scored.values[criterion.name] = {n: v for n, v in values if v is not None}
        scored.scores.update(self.totals(scored.values, pool.candidates))
        return scored


class RowScorer:
    """Work of the judge pass: rows of one document in, the same rows with scores out.

    texts: the columns to judge. Criteria in `kept` have columns and verdicts of the texts `judged`
    already; these are not asked about. Those in `heard` have verdicts only, which are said again.
    """

    def __init__(
        self,
        judges: Sequence[Judge],
        config: JudgeConfig,
        texts: Sequence[str] = TEXTS,
        kept: Collection[str] = (),
        judged: Collection[str] = TEXTS,
        heard: Collection[str] = (),
    ) -> None:
        self.config, self.texts, self._kept, self._judged = config, texts, kept, judged
        self.judges, self._heard = judges, heard
        self.criteria = [load_criterion(name) for name in config.criteria]
        self._scorer = PoolScorer(Panel(judges, config), self.criteria)
        engines = [judge.engine for judge in judges if judge.engine]
        self.window = 2 * max((engine.concurrency for engine in engines), default=_OPEN_ROWS)
        self.versions = {name: v for e in engines for name, v in e.versions().items()}

    async def __call__(self, document: Document) -> DocumentResult:
        """Fill the score columns of every row."""
        rows, heard = document.rows, self._heard
        verdicts = [one for one in document.judgements if one["criterion"] not in heard]
        scored = await self._scores(self._scorer_of(document), rows, verdicts)
        for criterion in self.criteria:
            for row, one in zip(rows, scored, strict=True):
                for judge, result in one.said[criterion.name].results.items():
                    verdicts += judgements(judge, result.answers)
                self._store(row, criterion, one.results(criterion))
        self._measure_anew(rows, scored, verdicts)
        for row, one in zip(rows, scored, strict=True):
            row.update({f"{text}_score": one.scores.get(text) for text in self.texts})
            row["best"] = best_of(row, self.texts)
        outcome = self._outcome(rows, verdicts, scored)
        order = {row["id"]: index for index, row in enumerate(rows)}
        outcome.judgements.sort(key=lambda verdict: order[verdict["id"]])
        return outcome

    def _scorer_of(self, document: Document) -> PoolScorer:
        """One whose judges say again what the document brings along of them."""
        if not self._heard:
            return self._scorer
        texts = {*self._judged, None}
        rows = [
            one
            for one in document.judgements
            if one["criterion"] in self._heard and {one["candidate"], one["opponent"]} <= texts
        ]
        judges = [RecallingJudge(judge, rows) for judge in self.judges]
        return PoolScorer(Panel(judges, self.config), self.criteria)

    def _store(self, row: Row, criterion: Criterion, results: Sequence[Result]) -> None:
        """Put what the judges say of a row into its columns; what is kept stays as it is."""
        if criterion.name not in self._kept or (results and criterion.kind == "pairwise"):
            store(row, criterion, results, self.texts)
        elif results:
            asked = {question.candidate for one in results for question, _ in one.answers}
            new = [text for text in self.texts if text not in self._judged or text in asked]
            store(row, criterion, results, new)

    def _measure_anew(
        self, rows: Sequence[Row], scored: Sequence[PoolScores], verdicts: Sequence[Row]
    ) -> None:
        """The disagreement where a criterion that is kept was asked about more texts, by all
        verdicts on a row.
        """
        told: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for verdict in verdicts:
            told[verdict["id"], verdict["criterion"]].append(verdict)
        for criterion in (c for c in self.criteria if c.name in self._kept):
            for row, one in zip(rows, scored, strict=True):
                if criterion.kind != "pairwise" and one.results(criterion):
                    how = self.config.aggregate(criterion)
                    rows_told = [self._calibrated(v) for v in told[row["id"], criterion.name]]
                    found = told_disagreement(criterion, rows_told, how)
                    row[f"{criterion.name}_disagreement"] = found

    def _calibrated(self, verdict: Row) -> Row:
        """A row of `judgements/` with the value that counts."""
        curves = {judge.name: judge.curves for judge in self.judges}
        curve, value = curves.get(verdict["judge"], {}).get(verdict["criterion"]), verdict["value"]
        return {**verdict, "value": curve(value)} if curve and value is not None else verdict

    async def _scores(
        self, scorer: PoolScorer, rows: list[Row], verdicts: Sequence[Row] = ()
    ) -> list[PoolScores]:
        """What is said of each row. Fence of their prompts: the document (joined: two chunks may
        spell a tag between them) and every rewrite of it. verdicts: that the rows bring along.
        """
        judged = {
            (one["id"], one["criterion"], text)
            for one in verdicts
            for text in (one["candidate"], one["opponent"])
        }
        befores = contexts(rows, self.config.max_context_tokens)
        pools = [self._pool(*pair, judged) for pair in zip(rows, befores, strict=True)]
        document = "".join(row["original"] for row in rows)
        rewrites = (row[text] for row in rows for text in self.texts[1:] if row[text])
        return await scorer(pools, [document, *rewrites])

    def _pool(self, row: Row, context: tuple[str, ...], judged: Collection[_Told]) -> Pool:
        """The texts of a row that are judged: the original and its usable rewrites; none of a row
        with the status `skipped`. A text without a value is known to have none only where somebody
        was asked: a rewrite may have been mended since.
        """
        texts = () if row["rewrite_status"] == "skipped" else self.texts
        values = stored_values(row, self._kept, [t for t in texts if t in self._judged])
        known = {
            name: {
                text: value
                for text, value in some.items()
                if value is not None or (row["id"], name, text) in judged
            }
            for name, some in values.items()
        }
        candidates = {text: row[text] for text in texts if row[text]}
        return Pool(row["id"], context, row["original"], candidates, known)

    def _outcome(
        self, rows: list[Row], verdicts: list[Row], scored: Sequence[PoolScores]
    ) -> DocumentResult:
        """The rows with what became of them. One fails where no score came of what was asked about
        it on a criterion, for then it has no total.
        """
        counts = status_counts(rows, self.texts)
        counts.update(f"verdict:{verdict['status']}" for verdict in verdicts)
        for one in scored:
            counts.update({k: n for k, n in one.counts.items() if k.startswith("pool:")})
        said = [[one.results(criterion) for criterion in self.criteria] for one in scored]
        asked = [[some for some in one if any(r.answers for r in some)] for one in said]
        return DocumentResult(
            rows,
            verdicts,
            sum((one.usage for one in scored), Usage()),
            counts,
            asked=sum(map(bool, asked)),
            failed=sum(not all(map(mean_scores, some)) for some in asked),
            failures=self._failures(verdicts),
        )

    def _failures(self, verdicts: Sequence[Row]) -> list[Failure]:
        """Those that could not be read."""
        engine = {criterion.name for criterion in self.criteria if criterion.needs_engine}
        return [
            failure(one["criterion"] in engine, one["criterion"], one["id"], status, one["answer"])
            for one in verdicts
            if (status := one["status"]) != "ok"
        ]


def store(
    row: Row, criterion: Criterion, results: Sequence[Result], texts: Iterable[str] = TEXTS
) -> None:
    """Put what the judges say of the `texts` of a row into its columns of a criterion."""
    scores = mean_scores(results)
    for text in texts:
        row[f"{text}_{criterion.name}"] = scores.get(text)
    row[f"{criterion.name}_consistency"] = consistency(results)
    row[f"{criterion.name}_disagreement"] = disagreement(results)
