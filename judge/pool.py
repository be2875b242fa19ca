"""A pool of candidates for one chunk, the questions it takes to score them, and their scores.

A pairwise criterion plays pairs in one or two rounds (judge/schedule.py); the questions of a round
go out together, those with the same first candidate next to each other, so that they share their
prompt up to the second. A candidate's score is its mean win rate where everyone met everyone
(arXiv 2601.21343, section 1.2.2), else the one that a Bradley-Terry fit expects against the whole
pool (judge/bradley_terry.py): both 0..1 on one scale. All other criteria ask once a candidate.

Nothing that could not be read becomes a number: a pair counts only when all that was asked about it
could be read, and a candidate without such a pair has no score. Where pairs are missing so that the
pool falls into groups that never met, only the largest is scored (of two, that of the candidate
named first), since nothing says how the groups compare. Against a pivot only the games with it
count, and a score is the win rate against it.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, permutations
from statistics import fmean, stdev

import numpy as np

from prewrite.judge.bradley_terry import Game, fit
from prewrite.judge.config import PoolsConfig
from prewrite.judge.criteria import Criterion, PromptedCriterion
from prewrite.judge.readout import Verdict
from prewrite.judge.schedule import (
    GameSchedule,
    OrderRule,
    Pair,
    choose_schedule,
    first_round,
    pivot_round,
    second_round,
)
from prewrite.judge.votes import Aggregate, counted
from prewrite.shards.schema import Row, StoredValues

PIVOT = "original"
"""Whom all others meet with `schedule: pivot`."""

_EVEN = 1e-6  # verdicts are stored as float32; nearer to 0.5 they cannot be told from a tie


@dataclass(frozen=True)
class Pool:
    """The candidates of one row by name, what stands before them, their reference. known: what a
    set holds of them, by the same judges in the same way.
    """

    row_id: str
    context: tuple[str, ...]
    reference: str
    candidates: Mapping[str, str]
    known: StoredValues = field(default_factory=dict)

    def known_on(self, criterion: Criterion) -> dict[str, float | None]:
        """What need not be asked again: of one candidate alone the same is said in any pool, while
        a win rate depends on who else plays.
        """
        known = self.known.get(criterion.name, {})
        found = {name: known[name] for name in self.candidates if name in known}
        return {} if criterion.kind == "pairwise" and len(found) < len(self.candidates) else found

    def unjudged(self, criterion: Criterion) -> dict[str, str]:
        """The candidates that are still to be asked about."""
        known = self.known_on(criterion)
        return {name: text for name, text in self.candidates.items() if name not in known}


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
        assert isinstance(self.criterion, PromptedCriterion)
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

    def votes(self, verdicts: Sequence[Verdict], how: Aggregate) -> list[float]:
        """The value for `candidate` of each vote that could be read and counts."""
        read = [one.value for one in verdicts if one.value is not None]
        votes = counted(self.criterion, read, how)
        return [1 - vote for vote in votes] if self.order else votes


Answer = tuple[Question, Sequence[Verdict]]
Answers = Sequence[Answer]
Met = Mapping[tuple[str, str], Sequence[float]]
"""(candidate, opponent) → what the candidate got of the win, one value a question."""
Ask = Callable[[Question], Awaitable[Sequence[Verdict]]]


@dataclass(frozen=True)
class Result:
    """What one criterion says about a pool.

    answers: every question asked, with its verdicts (one a vote).
    scores: candidate → 0..1; one that has none is not in it.
    errors: candidate → standard error of its score; absent for a single pointwise verdict.
    comparisons: candidate → pairs (pointwise: verdicts) its score rests on, for every candidate.
    ties: pairs that nobody won (both 0.5). conflicts: triples where a beats b, b beats c and c
        beats a.
    consistency: of the pairs read in both orders, the share whose two orders agree on the winner;
        None where there is no such pair.
    """

    answers: Answers
    scores: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    comparisons: dict[str, int] = field(default_factory=dict)
    ties: int = 0
    conflicts: int = 0
    consistency: float | None = None


async def play(
    criterion: Criterion,
    pool: Pool,
    ask: Ask,
    config: PoolsConfig,
    graded: bool,
    how: Aggregate = "mean",
) -> Result:
    """Score the candidates of a pool. graded: a verdict is a probability, so that it says how much
    better one is; else 0 or 1, or the mean of few votes, which takes more pairs. how: what the
    votes on a question become.
    """
    if criterion.kind != "pairwise":
        asked = [Question(criterion, pool, name) for name in pool.candidates]
        return _alone(pool.candidates, await _put(asked, ask), how)
    names = shuffled(pool, config.seed)
    if config.schedule == "pivot":
        return await _against_pivot(criterion, pool, ask, names, config.order, how)
    chosen = choose_schedule(len(names), config.schedule, graded)
    return await tournament(criterion, pool, ask, names, chosen, config.order, how)


def shuffled(pool: Pool, seed: int) -> list[str]:
    """The candidates in the order in which the schedule numbers them, drawn by row and seed."""
    return random.Random(f"{seed}:{pool.row_id}").sample([*pool.candidates], len(pool.candidates))


async def tournament(
    criterion: Criterion,
    pool: Pool,
    ask: Ask,
    names: Sequence[str],
    chosen: GameSchedule,
    order: OrderRule,
    how: Aggregate = "mean",
) -> Result:
    """Play `chosen` among `names`, in the order in which it numbers them."""

    async def play_round(pairs: Sequence[Pair]) -> list[Answer]:
        named = [(names[first], names[second]) for first, second in pairs]
        return await _put(_questions(criterion, pool, named, order == "both"), ask)

    asked = first_round(len(names), chosen.degree, once=order == "random")
    answers = await play_round(asked)
    if chosen.ends:
        fitted = fit(len(names), _games(names, _met(pool, answers, how)))
        ranking = (-fitted.strengths_K).argsort(kind="stable").tolist()
        answers += await play_round(second_round(ranking, chosen.ends, asked))
    return _compared(pool, answers, how)


async def _against_pivot(
    criterion: Criterion,
    pool: Pool,
    ask: Ask,
    names: Sequence[str],
    order: OrderRule,
    how: Aggregate,
) -> Result:
    """Everyone plays the original, and nobody else (arXiv 2601.21343, section 1.2.5)."""
    pivot = PIVOT if PIVOT in names else names[0]
    pairs = pivot_round(len(names), names.index(pivot))
    named = [(names[first], names[second]) for first, second in pairs]
    answers = await _put(_questions(criterion, pool, named, order == "both"), ask)
    return _compared(pool, answers, how, pivot)


def judgements(judge: str | None, answers: Answers) -> list[Row]:
    """Every raw verdict as a row of `judgements/`. judge: the engine's name."""
    return [
        {
            "id": question.pool.row_id,
            "judge": judge,
            "criterion": question.criterion.name,
            "candidate": question.candidate,
            "opponent": question.opponent,
            "order": question.order,
            "vote": vote,
            "answer": verdict.answer.encode("utf-8", "replace").decode(),
            "value": question.value(verdict.as_said),
            "mass": verdict.mass,
            "status": verdict.status,
        }
        for question, verdicts in answers
        for vote, verdict in enumerate(verdicts)
    ]


def _questions(
    criterion: Criterion, pool: Pool, pairs: Sequence[tuple[str, str]], both: bool
) -> list[Question]:
    """The questions about pairs of names, each with the one that stands first; by the latter.

    A text against a copy of itself is a tie that nobody need be asked about.
    """
    place = {name: number for number, name in enumerate(pool.candidates)}
    orders = {*pairs, *((second, first) for first, second in pairs if both)}
    return [
        Question(criterion, pool, first, second, 0)
        if place[first] < place[second]
        else Question(criterion, pool, second, first, 1)
        for first, second in sorted(orders, key=lambda pair: (place[pair[0]], place[pair[1]]))
        if pool.candidates[first] != pool.candidates[second]
    ]


async def _put(questions: Sequence[Question], ask: Ask) -> list[Answer]:
    verdicts = await asyncio.gather(*(ask(question) for question in questions))
    return list(zip(questions, verdicts, strict=True))


def _alone(names: Iterable[str], answers: Answers, how: Aggregate) -> Result:
    """Every candidate by itself: the mean of its verdicts that count, and the standard error."""
    values = {name: list[float]() for name in names}
    for question, verdicts in answers:
        values[question.candidate] += question.votes(verdicts, how)
    return Result(
        answers,
        {name: fmean(found) for name, found in values.items() if found},
        {n: stdev(found) / len(found) ** 0.5 for n, found in values.items() if len(found) > 1},
        {name: len(found) for name, found in values.items()},
    )


def _compared(pool: Pool, answers: Answers, how: Aggregate, pivot: str | None = None) -> Result:
    """The scores of a pool after all its rounds. pivot: the one that all others met."""
    every = _met(pool, answers, how)
    met = {pair: values for pair, values in every.items() if pivot is None or pivot in pair}
    names = _largest_group([*pool.candidates], met)
    met = {pair: values for pair, values in met.items() if pair[0] in names}
    counts = Counter(name for pair in met for name in pair)
    played = Result(
        answers,
        comparisons={name: counts[name] for name in pool.candidates},
        ties=sum(abs(fmean(values) - 0.5) < _EVEN for values in met.values()),
        conflicts=_conflicts(names, met),
        consistency=_consistency(met),
    )
    if not met:
        return played
    fitted = fit(len(names), _games(names, met))
    expected = dict(zip(names, fitted.scores().tolist(), strict=True))
    everyone = len(met) == len(names) * (len(names) - 1) // 2
    return replace(
        played,
        scores=_win_rates(met) if everyone or pivot else expected,
        errors=dict(zip(names, fitted.errors().tolist(), strict=True)),
    )


def _met(pool: Pool, answers: Answers, how: Aggregate) -> Met:
    """The pairs of which everything asked could be read, and the copies."""
    texts = pool.candidates
    met: dict[tuple[str, str], list[float | None]] = {
        (a, b): [0.5] for a, b in combinations(texts, 2) if texts[a] == texts[b]
    }
    for question, verdicts in answers:
        assert question.opponent is not None
        values = question.votes(verdicts, how)
        met.setdefault((question.candidate, question.opponent), []).append(
            fmean(values) if values else None
        )
    known = {pair: [v for v in values if v is not None] for pair, values in met.items()}
    return {pair: values for pair, values in known.items() if len(values) == len(met[pair])}


def _games(names: Sequence[str], met: Met) -> list[Game]:
    """`met` by the numbers of the candidates: one game a question."""
    number = {name: index for index, name in enumerate(names)}
    return [(number[a], number[b], value) for (a, b), values in met.items() for value in values]


def _win_rates(met: Met) -> dict[str, float]:
    """The mean win rate of each candidate, every pair with the same weight."""
    wins: dict[str, list[float]] = {}
    for (name, opponent), values in met.items():
        wins.setdefault(name, []).append(fmean(values))
        wins.setdefault(opponent, []).append(1 - fmean(values))
    return {name: fmean(values) for name, values in wins.items()}


def _largest_group(names: Sequence[str], met: Met) -> list[str]:
    """The names of the largest group that its games connect."""
    from scipy.sparse.csgraph import connected_components  # slow to import, and seldom needed

    graph_KK = np.array([[(a, b) in met for b in names] for a in names]).reshape(2 * [len(names)])
    _, labels_K = connected_components(graph_KK, directed=False)
    (largest, _), *_ = Counter(labels_K.tolist()).most_common(1) or [(0, 0)]
    return [name for name, label in zip(names, labels_K, strict=True) if label == largest]


def _conflicts(names: Sequence[str], met: Met) -> int:
    """Triples that go round in a circle."""
    beats = {pair for pair, values in met.items() if fmean(values) > 0.5}
    beats |= {(b, a) for (a, b), values in met.items() if fmean(values) < 0.5}
    circles = (((a, b), (b, c), (c, a)) for a, b, c in permutations(names, 3))
    return sum(beats.issuperset(circle) for circle in circles) // 3


def _consistency(met: Met) -> float | None:
    """Of the pairs with two orders, the share in which both see the same winner."""
    agree = [_sign(v[0]) == _sign(v[1]) for v in met.values() if len(v) == 2]
    return fmean(agree) if agree else None


def _sign(value: float) -> int:
    return (value > 0.5) - (value < 0.5)
