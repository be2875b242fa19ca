"""A pool of candidates for one chunk, the questions it takes to score them, and their scores.

Pairwise criteria play a full round robin, each pair in both orders, so that a preference for a
position cancels; a candidate's score is its mean win rate (arXiv 2601.21343, section 3). A pair
counts only when both orders could be read. Pointwise criteria ask once a candidate.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from judge.criteria import Asked, Criterion
from judge.readout import Verdict
from shards.schema import Row


@dataclass(frozen=True)
class Pool:
    """The candidates of one row by name, what stands before them, their reference."""

    row_id: str
    context: tuple[str, ...]
    reference: str
    candidates: Mapping[str, str]


@dataclass(frozen=True)
class Question:
    """`candidate` is asked about; order 0: it stands first, 1: second (pointwise: always 0)."""

    criterion: Criterion
    pool: Pool
    candidate: str
    opponent: str | None = None
    order: int = 0

    def pieces(self, fence: str, reasoning: bool) -> tuple[str, ...]:
        """The prompt: rubric, context, reference, candidates, in this order of sharing."""
        pool = self.pool
        assert isinstance(self.criterion, Asked)
        texts: dict[str, str | Sequence[str]] = {
            "context": pool.context,
            "reference": pool.reference,
            "reasoning": "yes" if reasoning else "",
        }
        if self.opponent is None:
            texts["candidate"] = pool.candidates[self.candidate]
        else:
            names = (self.candidate, self.opponent)[:: -1 if self.order else 1]
            texts["first"], texts["second"] = (pool.candidates[name] for name in names)
        return self.criterion.prompt.render(texts, fence)

    def value(self, verdict: Verdict) -> float | None:
        """A verdict's value for `candidate`: it speaks of the one that stood first."""
        if verdict.value is None:
            return None
        return 1 - verdict.value if self.order else verdict.value


def questions(criterion: Criterion, pool: Pool) -> list[Question]:
    """Every question that `criterion` has about `pool`."""
    names = list(pool.candidates)
    if criterion.kind != "pairwise":
        return [Question(criterion, pool, name) for name in names]
    return [
        Question(criterion, pool, name, opponent, order)
        for name, opponent in combinations(names, 2)
        for order in (0, 1)
    ]


Answers = Sequence[tuple[Question, Sequence[Verdict]]]


def scores(answers: Answers) -> dict[str, float]:
    """Candidate → score 0..1 on one criterion; a candidate without a verdict is not in it."""
    readings: dict[tuple[str, str | None], list[list[float]]] = {}
    for question, verdicts in answers:
        values = [v for verdict in verdicts if (v := question.value(verdict)) is not None]
        readings.setdefault((question.candidate, question.opponent), []).append(values)
    wins: dict[str, list[float]] = {}
    for (name, opponent), orders in readings.items():
        if not all(orders):
            continue
        value = fmean(fmean(values) for values in orders)
        wins.setdefault(name, []).append(value)
        if opponent is not None:
            wins.setdefault(opponent, []).append(1 - value)
    return {name: fmean(values) for name, values in wins.items()}


def judgements(answers: Answers) -> list[Row]:
    """Every raw verdict as a row of `judgements/`."""
    return [
        {
            "id": question.pool.row_id,
            "criterion": question.criterion.name,
            "candidate": question.candidate,
            "opponent": question.opponent,
            "order": question.order,
            "vote": vote,
            "answer": verdict.answer.encode("utf-8", "replace").decode(),
            "value": question.value(verdict),
            "mass": verdict.mass,
            "status": verdict.status,
        }
        for question, verdicts in answers
        for vote, verdict in enumerate(verdicts)
    ]
