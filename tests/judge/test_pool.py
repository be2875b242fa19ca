"""Pools by hand: scores that follow from the verdicts, and nothing counted that was not read."""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.judge.config import PoolsConfig
from prewrite.judge.criteria import Criterion, load_criterion
from prewrite.judge.pool import Pool, Question, Result, judgements, play
from prewrite.judge.readout import Verdict
from prewrite.shards.schema import JUDGEMENT_SCHEMA, to_parquet

QUALITY, SAFETY, FACTS = (load_criterion(name) for name in ("quality", "safety", "factuality"))

Values = dict[tuple[str, str], float | None | Sequence[float | None]]
"""(first, second) → what the verdicts say of the first; what is not there was not expected."""


def pool(names: Sequence[str], row: str = "row") -> Pool:
    return Pool(row, ("before ", "this "), "the original", {n: f"text {n}" for n in names})


def verdict(value: float | None) -> Verdict:
    return Verdict("said", value, 0.9, "unparsable" if value is None else "ok")


def standing(question: Question) -> tuple[str, str]:
    """Who stands first, who second."""
    assert question.opponent is not None
    names = (question.candidate, question.opponent)
    return names[::-1] if question.order else names


def run(
    criterion: Criterion,
    texts: Pool,
    says: Callable[[Question], float | None | Sequence[float | None]],
    graded: bool = True,
    **config: Any,
) -> Result:
    async def ask(question: Question) -> list[Verdict]:
        said = says(question)
        votes = [said] if said is None or isinstance(said, float | int) else said
        return [verdict(value) for value in votes]

    return asyncio.run(play(criterion, texts, ask, PoolsConfig(**config), graded))


def both_orders(names: str, values: Values) -> Result:
    return run(QUALITY, pool(names), lambda q: values[standing(q)], order="both")


def strong(question: Question) -> float:
    """Candidates named by their strength, and a preference for the first."""
    first, second = standing(question)
    return 1 / (1 + math.exp(-(int(first) - int(second)) / 4 - 0.5))


def numbered(size: int, row: str = "row") -> Pool:
    return pool([str(number) for number in range(size)], row)


def test_two_candidates_are_asked_about_in_both_orders() -> None:
    asked = [question for question, _ in run(QUALITY, pool("ab"), lambda _: 0.5).answers]
    assert [(q.candidate, q.opponent, q.order) for q in asked] == [("a", "b", 0), ("a", "b", 1)]
    first, second = ("".join(question.pieces("", False)) for question in asked)
    assert "<first>text a</first>" in first and "<second>text b</second>" in first
    assert "<first>text b</first>" in second and "<second>text a</second>" in second


@pytest.mark.parametrize(
    ("first", "second", "a", "b"),
    [
        (1, 0, 1, 0),  # a wins wherever it stands
        (0, 1, 0, 1),
        (1, 1, 0.5, 0.5),  # whoever stands first wins: the preference cancels
        (0, 0, 0.5, 0.5),
        (0.8, 0.4, 0.7, 0.3),  # ((0.8) + (1 - 0.4)) / 2
    ],
)
def test_a_pair(first: float, second: float, a: float, b: float) -> None:
    """first: value for a when a stands first; second: for b when b does."""
    found = both_orders("ab", {("a", "b"): first, ("b", "a"): second})
    assert found.scores == pytest.approx({"a": a, "b": b})
    assert found.comparisons == {"a": 1, "b": 1}
    assert found.ties == (a == 0.5)
    assert found.consistency == (first != second)
    assert found.errors["a"] == pytest.approx(found.errors["b"])


def test_three_candidates() -> None:
    values: Values = {
        ("a", "b"): 1,
        ("b", "a"): 0,  # a beats b: 1
        ("a", "c"): 1,
        ("c", "a"): 1,  # a and c: 0.5
        ("b", "c"): 0.25,
        ("c", "b"): 0.75,  # b against c: 0.25
    }
    found = both_orders("abc", values)
    assert found.scores == pytest.approx({"a": 0.75, "b": 0.125, "c": 0.625})
    assert (found.ties, found.conflicts) == (1, 0)
    assert found.consistency == pytest.approx(2 / 3)


def test_a_circle_is_a_conflict() -> None:
    beats = {("a", "b"), ("b", "c"), ("c", "a"), ("a", "d"), ("b", "d"), ("c", "d")}
    found = run(QUALITY, pool("abcd"), lambda q: float(standing(q) in beats))
    assert found.conflicts == 1
    assert found.scores == pytest.approx({"a": 2 / 3, "b": 2 / 3, "c": 2 / 3, "d": 0})


@pytest.mark.parametrize(("first", "second"), [(None, 1.0), (1.0, None), ([], 0.0), (None, None)])
def test_a_missing_order_is_no_score(first: Any, second: Any) -> None:
    found = both_orders("ab", {("a", "b"): first, ("b", "a"): second})
    assert (found.scores, found.errors, found.comparisons) == ({}, {}, {"a": 0, "b": 0})
    assert len(found.answers) == 2


def test_a_candidate_without_a_pair_has_no_score() -> None:
    values: Values = dict.fromkeys([("a", "c"), ("c", "a"), ("b", "c"), ("c", "b")])
    found = both_orders("abc", values | {("a", "b"): 1, ("b", "a"): 0})
    assert found.scores == {"a": 1, "b": 0}
    assert found.comparisons == {"a": 1, "b": 1, "c": 0}


def test_where_a_pair_is_missing_opponents_count() -> None:
    """c met only the strong a, so its mean win rate would not be fair."""
    values: Values = {("a", "b"): 0.9, ("b", "a"): 0.1, ("a", "c"): 0.7, ("c", "a"): 0.3}
    found = both_orders("abc", values | dict.fromkeys([("b", "c"), ("c", "b")]))
    assert found.scores["a"] > found.scores["c"] > 0.4 > 0.3 > found.scores["b"]
    assert sum(found.scores.values()) == pytest.approx(1.5)
    assert found.comparisons == {"a": 2, "b": 1, "c": 1}


def test_of_groups_that_never_met_the_largest_is_scored() -> None:
    def says(question: Question) -> float | None:
        return 0.7 if {*standing(question)} in ({"a", "b"}, {"c", "d"}, {"d", "e"}) else None

    found = run(QUALITY, pool("abcde"), says)
    assert set(found.scores) == {"c", "d", "e"}
    assert found.comparisons == {"a": 0, "b": 0, "c": 1, "d": 2, "e": 1}
    assert set(run(QUALITY, pool("abcd"), says).scores) == {"a", "b"}


def test_votes_are_averaged_over_those_that_were_read() -> None:
    values: Values = {("a", "b"): [1, 1, 0, None], ("b", "a"): [0, None, None, None]}
    assert both_orders("ab", values).scores == pytest.approx({"a": 5 / 6, "b": 1 / 6})


def test_copies_tie_and_nobody_is_asked() -> None:
    copied = Pool("row", (), "", {"a": "same", "b": "same"})
    found = run(QUALITY, copied, lambda _: pytest.fail("asked"))
    assert (found.answers, found.scores, found.ties) == ([], {"a": 0.5, "b": 0.5}, 1)
    third = Pool("row", (), "", {"a": "same", "b": "same", "c": "other"})
    found = run(QUALITY, third, lambda q: 0.0 if standing(q)[0] == "c" else 1.0)
    assert found.scores == {"a": 0.75, "b": 0.75, "c": 0}
    assert len(found.answers) == 2


@pytest.mark.parametrize(
    ("size", "config", "calls"),
    [
        (0, {}, 0),
        (1, {}, 0),
        (2, {}, 2),
        (2, {"order": "both"}, 2),
        (2, {"order": "random"}, 1),
        (3, {}, 3),
        (4, {}, 8),
        (4, {"order": "both"}, 12),
        (4, {"order": "random"}, 6),
        (5, {}, 10),
        (5, {"order": "both"}, 20),
        (17, {"schedule": "full"}, 136),
        (17, {"schedule": "ranks"}, 68),
        (17, {"schedule": "full", "order": "both"}, 272),
    ],
)
def test_calls(size: int, config: dict[str, Any], calls: int) -> None:
    assert len(run(QUALITY, numbered(size), strong, **config).answers) == calls


@pytest.mark.parametrize(
    ("size", "graded", "low", "high"),
    [(9, True, 14, 21), (17, True, 38, 46), (17, False, 57, 71), (33, True, 99, 111)],
)
def test_calls_of_two_rounds(size: int, graded: bool, low: int, high: int) -> None:
    for seed in range(5):
        found = run(QUALITY, numbered(size), strong, graded, seed=seed)
        assert low <= len(found.answers) <= high


@pytest.mark.parametrize("size", [2, 3, 4, 5, 9, 17, 33])
def test_scores_follow_known_strengths(size: int) -> None:
    """Every candidate lands in its place, or next to it in the midst of a large pool."""
    found = run(QUALITY, numbered(size), strong)
    assert (found.consistency is None) == (size % 2 == 1)
    ranking = sorted(found.scores, key=lambda name: found.scores[name])
    assert [int(ranking[0]), int(ranking[-1])] == [0, size - 1]
    assert all(abs(place - int(name)) <= 1 + size // 8 for place, name in enumerate(ranking))
    assert set(found.errors) == set(found.scores) == {str(number) for number in range(size)}


@pytest.mark.parametrize("size", [3, 5, 9, 17])
def test_both_scales_agree(size: int) -> None:
    full = run(QUALITY, numbered(size), strong, schedule="full").scores
    assert run(QUALITY, numbered(size), strong).scores == pytest.approx(full, abs=0.1)


@pytest.mark.parametrize("size", [2, 3, 4, 5, 16, 17])
def test_a_constant_preference_for_the_first_cancels(size: int) -> None:
    def says(preference: float) -> Callable[[Question], float]:
        return lambda q: 0.5 + (int(standing(q)[0]) - int(standing(q)[1])) / 50 + preference

    fair = run(QUALITY, numbered(size), says(0.0), schedule="full").scores
    biased = run(QUALITY, numbered(size), says(0.15), schedule="full").scores
    assert biased == pytest.approx(fair)
    ranks = run(QUALITY, numbered(size), says(0.15), schedule="ranks").scores
    assert ranks == pytest.approx(run(QUALITY, numbered(size), says(0), schedule="ranks").scores)


def test_a_pool_is_reproducible_and_rows_and_seeds_differ() -> None:
    def pairs(row: str, seed: int) -> list[tuple[str, str]]:
        found = run(QUALITY, numbered(9, row), strong, seed=seed)
        return [standing(question) for question, _ in found.answers]

    assert pairs("row", 0) == pairs("row", 0)
    assert pairs("row", 0) != pairs("other", 0)
    assert pairs("row", 0) != pairs("row", 1)


def test_in_one_order_the_first_of_two_is_drawn() -> None:
    firsts = Counter(
        standing(run(QUALITY, pool("ab", f"row {n}"), lambda _: 0.5, order="random").answers[0][0])
        for n in range(200)
    )
    assert min(firsts["a", "b"], firsts["b", "a"]) > 70


def test_questions_of_a_round_go_out_together_and_by_who_stands_first() -> None:
    open_now, most, order = 0, 0, list[str]()

    async def ask(question: Question) -> list[Verdict]:
        nonlocal open_now, most
        order.append(standing(question)[0])
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0)
        open_now -= 1
        return [verdict(strong(question))]

    found = asyncio.run(play(QUALITY, numbered(17), ask, PoolsConfig(), True))
    assert most == 34
    for sent in (order[:34], order[34:]):
        assert sum(a != b for a, b in zip(sent, sent[1:], strict=False)) == len({*sent}) - 1
    assert len(found.answers) == len(order)


@given(st.integers(2, 12), st.data())
@settings(max_examples=60)
def test_whatever_is_unreadable_scores_stay_honest(size: int, data: st.DataObject) -> None:
    value = st.none() | st.sampled_from([0.0, 0.2, 0.5, 1.0])
    order = data.draw(st.sampled_from(["balanced", "both", "random"]))
    found = run(QUALITY, numbered(size), lambda _: data.draw(value), order=order)
    assert set(found.scores) == {name for name, count in found.comparisons.items() if count}
    assert all(0 <= score <= 1 for score in found.scores.values())
    assert set(found.errors) == set(found.scores)
    assert all(math.isfinite(error) and error > 0 for error in found.errors.values())
    if found.scores:
        assert sum(found.scores.values()) == pytest.approx(len(found.scores) / 2)


def test_pointwise_scores() -> None:
    values: dict[str, list[float | None]] = {"a": [1, 0.5, None], "b": [None], "c": [0]}
    found = run(FACTS, pool("abc"), lambda question: values[question.candidate])
    assert found.scores == {"a": 0.75, "c": 0}
    assert found.errors == pytest.approx({"a": 0.25})
    assert found.comparisons == {"a": 2, "b": 0, "c": 1}
    assert [question.candidate for question, _ in found.answers] == ["a", "b", "c"]
    assert run(FACTS, pool(""), lambda _: 1.0).scores == {}


def test_prompts_hold_what_the_criterion_may_see() -> None:
    fact, safe = (Question(criterion, pool("ab"), "a") for criterion in (FACTS, SAFETY))
    text = "".join(fact.pieces("-1", False))
    assert "<context-1>before this </context-1>" in text
    assert "<reference-1>the original</reference-1>" in text
    assert "<passage-1>text a</passage-1>" in text
    assert "before" not in "".join(safe.pieces("", False))
    assert "Weigh it" not in text
    assert "Weigh it" in "".join(fact.pieces("", True))


def test_every_verdict_is_a_row_of_its_candidate() -> None:
    found = both_orders("ab", {("a", "b"): 0.75, ("b", "a"): [0.75, None]})
    rows = judgements("main", found.answers)
    assert [(r["order"], r["vote"], r["value"], r["status"]) for r in rows] == [
        (0, 0, 0.75, "ok"),
        (1, 0, 0.25, "ok"),
        (1, 1, None, "unparsable"),
    ]
    assert {(r["id"], r["judge"], r["criterion"], r["candidate"], r["opponent"]) for r in rows} == {
        ("row", "main", "quality", "a", "b")
    }


def test_an_answer_that_is_no_unicode_can_still_be_kept() -> None:
    question = Question(SAFETY, pool("a"), "a")
    (row,) = judgements(None, [(question, [Verdict("a\ud800\x00", None, None, "unparsable")])])
    assert row["answer"] == "a?\x00"
    assert to_parquet([row], JUDGEMENT_SCHEMA)


def test_against_a_pivot_a_score_is_the_win_rate_against_it() -> None:
    names = ["original", "a", "b", "c"]
    wins = {"a": 1.0, "b": 0.25, "c": 0.0}

    def says(question: Question) -> float:
        first, second = standing(question)
        assert "original" in (first, second)
        return wins[first] if second == "original" else 1 - wins[second]

    for order in ("balanced", "random", "both"):
        found = run(QUALITY, pool(names), says, schedule="pivot", order=order)
        assert len(found.answers) == (6 if order == "both" else 3)
        assert found.scores == pytest.approx({**wins, "original": 1 - 1.25 / 3})


def test_a_copy_of_the_pivot_ties_and_meets_nobody_else() -> None:
    texts = pool(["original", "a", "b", "c"])
    texts = replace(texts, candidates={**texts.candidates, "a": "text b", "c": "text original"})
    found = run(QUALITY, texts, lambda q: float(standing(q)[1] == "original"), schedule="pivot")
    assert found.scores == pytest.approx({"a": 1, "b": 1, "c": 0.5, "original": 0.5 / 3})
    assert len(found.answers) == 2
