"""What the judge says of the continuations, beside those of the base model.

A pairwise criterion compares a model's text with the base's at the same cut point, greedy with
greedy and each sampled one with that of its number, in both orders; equal texts are a tie that
nobody is asked about. Any other criterion looks at each text once, with the original as its
reference. All goes through the templates and fences of `judge/`, for what a model writes is as
hostile as what it has read. A verdict that cannot be read gives no score.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from prewrite.base.cli import console
from prewrite.base.files import Folder
from prewrite.evaluation.chunks import (
    CutPointChunk,
    chunks_of,
    missing,
    read_rows,
    work,
    write_rows,
)
from prewrite.evaluation.config import EvaluateConfig, EvaluateRecipe
from prewrite.evaluation.cut_points import CutPoint
from prewrite.evaluation.writing import FOLDER as CONTINUATIONS
from prewrite.evaluation.writing import ORIGINAL
from prewrite.judge.criteria import Criterion
from prewrite.judge.judge import load_judges
from prewrite.judge.panel import Panel, PanelResult, consistency, fence_texts, mean_scores
from prewrite.judge.pool import Pool, judgements
from prewrite.judge.unread import failure, refuse_unread
from prewrite.shards.failures import Failure, FailureTally, by_reason
from prewrite.shards.schema import JUDGEMENT_SCHEMA, Row

FOLDER = "scores"
VERDICTS = "judgements"

_CATEGORY = pa.dictionary(pa.int32(), pa.string())
_WHICH = [("split", _CATEGORY), ("decoding", _CATEGORY), ("number", pa.int32())]
SCHEMA = pa.schema(
    [
        *_WHICH,
        ("id", pa.string()),
        ("doc_id", pa.string()),
        ("criterion", _CATEGORY),
        ("score", pa.float64()),
        ("consistency", pa.float64()),
    ]
)
"""One row a text and criterion. score: 0..1, of a pairwise criterion the share of the win against
the base's text; null: no verdict. consistency: 1 where both orders name the same winner, else 0."""

VERDICT_SCHEMA = pa.schema([*_WHICH, *JUDGEMENT_SCHEMA])

ContinuationId = tuple[str, int]
"""(decoding, number)."""
Continuations = Mapping[tuple[str, str], Mapping[ContinuationId, str]]
"""(split, row id) → a model's continuations there."""


@dataclass(frozen=True)
class ContinuationJudge:
    """Judges one model against the base. criteria: those of each split; own, base: their
    continuations; own is base's for the base itself, which meets nobody.
    """

    panel: Panel
    criteria: Mapping[str, Sequence[Criterion]]
    names: tuple[str, str]
    own: Continuations
    base: Continuations

    async def __call__(self, cut_point: CutPoint) -> tuple[list[Row], list[Row]]:
        """Scores and raw verdicts of a cut point; EngineError when a judge is dead."""
        asked = [
            (criterion, text, pool)
            for criterion in self.criteria[cut_point.split]
            for text, pool in self._pools(cut_point, criterion)
        ]
        questions = [(criterion, pool) for criterion, _, pool in asked]
        said = await self.panel(questions, fence_texts(pool for _, pool in questions))
        scores, verdicts = list[Row](), list[Row]()
        for (criterion, text, _), one in zip(asked, said, strict=True):
            which = {"split": cut_point.split, "decoding": text[0], "number": text[1]}
            scores.append(which | self._score(cut_point, criterion, one))
            for judge, result in one.results.items():
                verdicts += [which | row for row in judgements(judge, result.answers)]
        return scores, verdicts

    def _pools(
        self, cut_point: CutPoint, criterion: Criterion
    ) -> Iterator[tuple[ContinuationId, Pool]]:
        """What a criterion is asked about at a cut point."""
        (name, base), where = self.names, (cut_point.split, cut_point.id)
        for text, own in self.own.get(where, {}).items():
            candidates = {name: own}
            if criterion.kind == "pairwise":
                other = self.base.get(where, {}).get(text)
                if name == base or other is None:
                    continue
                candidates = {base: other, name: own}
            yield text, Pool(cut_point.id, cut_point.context, cut_point.reference, candidates)

    def _score(self, cut_point: CutPoint, criterion: Criterion, said: PanelResult) -> Row:
        results = [*said.results.values()]
        return {
            "id": cut_point.id,
            "doc_id": cut_point.doc_id,
            "criterion": criterion.name,
            "score": mean_scores(results).get(self.names[0]),
            "consistency": consistency(results),
        }


def judge(
    folder: Folder,
    splits: Mapping[str, Sequence[CutPoint]],
    recipe: EvaluateRecipe,
) -> None:
    """Judge the continuations of every model that have not been judged."""
    config = recipe.evaluate
    chunks = list(chunks_of(splits))
    left = {name: _left(folder, name, chunks) for name in config.models}
    if not any(left.values()):
        return
    criteria = {split: recipe.criteria(split) for split in splits}
    asked = {one.name: one for some in criteria.values() for one in some}
    panel = Panel(load_judges(config.judge, recipe.engines, asked.values()), config.judge)

    async def every_model() -> None:
        base = _texts(folder, config.base, chunks)
        for name in (one for one in config.models if left[one]):
            cut_points = sum(len(some) for _, some in left[name])
            console.print(f"{name}: {cut_points} cut points to judge", soft_wrap=True)
            own = base if name == config.base else _texts(folder, name, chunks)
            compared = ContinuationJudge(panel, criteria, (name, config.base), own, base)
            await _judge(folder, name, left[name], compared)

    asyncio.run(every_model())


def refuse_silent(
    folder: Folder, splits: Mapping[str, Sequence[CutPoint]], config: EvaluateConfig
) -> None:
    """EngineError where a judge gave no verdict that could be read on any text of a model."""
    chunks = list(chunks_of(splits))
    for name in config.models:
        tallies = _tallies(read_rows(folder, f"{VERDICTS}/{name}", chunks))
        refuse_unread(f"evaluate: {name}", tallies.items())


def _left(folder: Folder, model: str, chunks: Sequence[CutPointChunk]) -> list[CutPointChunk]:
    """The chunks that are to be judged: not judged yet, or a judge was asked in vain."""
    absent = missing(folder, f"{FOLDER}/{model}", chunks)
    return [chunk for chunk in chunks if chunk in absent or _is_silent(folder, model, chunk)]


def _is_silent(folder: Folder, model: str, chunk: CutPointChunk) -> bool:
    tallies = _tallies(read_rows(folder, f"{VERDICTS}/{model}", [chunk]))
    return any(tally.failed == tally.asked for tally in tallies.values())


def _tallies(verdicts: Sequence[Row]) -> dict[str | None, FailureTally]:
    """The verdicts of each judge, and those of them that could not be read."""
    found = defaultdict[str | None, FailureTally](FailureTally)
    for one in verdicts:
        lost = [] if one["status"] == "ok" else [_failure(one)]
        found[one["judge"]].add(FailureTally(1, len(lost), by_reason(lost)))
    return dict(found)


def _failure(verdict: Row) -> Failure:
    by_engine = verdict["judge"] is not None
    texts = (verdict[key] for key in ("criterion", "id", "status", "answer"))
    return failure(by_engine, *texts)


async def _judge(
    folder: Folder, name: str, chunks: Sequence[CutPointChunk], compared: ContinuationJudge
) -> None:
    def keep(chunk: str, found: list[tuple[list[Row], list[Row]]]) -> None:
        scores = [row for rows, _ in found for row in rows]
        verdicts = [row for _, rows in found for row in rows]
        write_rows(folder, f"{VERDICTS}/{name}/{chunk}", verdicts, VERDICT_SCHEMA)
        write_rows(folder, f"{FOLDER}/{name}/{chunk}", scores, SCHEMA)  # last: it stands for both

    engines = [judge.engine for judge in compared.panel.judges if judge.engine]
    window = max((engine.concurrency for engine in engines), default=32)
    await work(chunks, compared, keep, window)


def _texts(folder: Folder, model: str, chunks: Sequence[CutPointChunk]) -> Continuations:
    """The continuations of a model; what it could not write is not among them."""
    found: defaultdict[tuple[str, str], dict[ContinuationId, str]] = defaultdict(dict)
    for row in read_rows(folder, f"{CONTINUATIONS}/{model}", chunks):
        if row["decoding"] != ORIGINAL and row["text"] is not None:
            found[row["split"], row["id"]][row["decoding"], row["number"]] = row["text"]
    return found
