"""Win rates by hand: every pair in both orders, and nothing counted that was not read."""

import pytest

from judge.criteria import Criterion, load_criterion
from judge.pool import Answers, Pool, Question, judgements, questions, scores
from judge.readout import Verdict
from shards.schema import JUDGEMENT_SCHEMA, to_parquet

QUALITY, SAFETY, FACTS = (load_criterion(name) for name in ("quality", "safety", "factuality"))
CANDIDATES = {"original": "the original", "rewrite": "the rewrite"}


def pool(*names: str) -> Pool:
    return Pool("row", ("before ", "this "), "the original", {n: f"text {n}" for n in names})


def read(value: float | None) -> Verdict:
    return Verdict("said", value, 0.9, "unparsable" if value is None else "ok")


def played(
    criterion: Criterion, names: str, values: dict[tuple[str, str | None, int], list[float | None]]
) -> Answers:
    """Each question with the values its verdicts have for whoever stands first."""
    return [
        (
            question,
            [
                read(value)
                for value in values[question.candidate, question.opponent, question.order]
            ],
        )
        for question in questions(criterion, pool(*names))
    ]


def test_a_pair_is_asked_in_both_orders() -> None:
    asked = questions(QUALITY, Pool("row", (), "the original", CANDIDATES))
    assert [(q.candidate, q.opponent, q.order) for q in asked] == [
        ("original", "rewrite", 0),
        ("original", "rewrite", 1),
    ]
    first, second = ("".join(question.pieces("", False)) for question in asked)
    assert "<first>the original</first>" in first and "<second>the rewrite</second>" in first
    assert "<first>the rewrite</first>" in second and "<second>the original</second>" in second


def test_a_round_robin_asks_every_pair() -> None:
    asked = [(q.candidate, q.opponent) for q in questions(QUALITY, pool("a", "b", "c", "d"))]
    assert len(asked) == 12
    assert len({frozenset(pair) for pair in asked}) == 6
    assert questions(QUALITY, pool("a")) == questions(QUALITY, pool()) == []
    assert [q.candidate for q in questions(SAFETY, pool("a", "b"))] == ["a", "b"]


@pytest.mark.parametrize(
    ("first", "second", "original", "rewrite"),
    [
        (1, 0, 1, 0),  # the original wins wherever it stands
        (0, 1, 0, 1),
        (1, 1, 0.5, 0.5),  # whoever stands first wins: the preference cancels
        (0, 0, 0.5, 0.5),
        (0.8, 0.4, 0.7, 0.3),  # ((0.8) + (1 - 0.4)) / 2
    ],
)
def test_a_pair(first: float, second: float, original: float, rewrite: float) -> None:
    values: dict[tuple[str, str | None, int], list[float | None]]
    values = {("a", "b", 0): [first], ("a", "b", 1): [second]}
    found = scores(played(QUALITY, "ab", values))
    assert found == pytest.approx({"a": original, "b": rewrite})


def test_three_candidates() -> None:
    values: dict[tuple[str, str | None, int], list[float | None]]
    values = {
        ("a", "b", 0): [1],
        ("a", "b", 1): [0],  # a beats b: 1
        ("a", "c", 0): [1],
        ("a", "c", 1): [1],  # a and c: 0.5
        ("b", "c", 0): [0.25],
        ("b", "c", 1): [0.75],  # b against c: 0.25
    }
    found = scores(played(QUALITY, "abc", values))
    assert found == pytest.approx({"a": 0.75, "b": 0.125, "c": 0.625})


@pytest.mark.parametrize(
    ("first", "second"), [([None], [1]), ([1], [None]), ([], [0]), ([None], [None])]
)
def test_a_missing_order_is_no_score(first: list[float | None], second: list[float | None]) -> None:
    assert scores(played(QUALITY, "ab", {("a", "b", 0): first, ("a", "b", 1): second})) == {}


def test_a_candidate_keeps_the_pairs_that_were_read() -> None:
    values: dict[tuple[str, str | None, int], list[float | None]]
    values = {
        ("a", "b", 0): [1],
        ("a", "b", 1): [0],
        ("a", "c", 0): [None],
        ("a", "c", 1): [1],
        ("b", "c", 0): [None],
        ("b", "c", 1): [None],
    }
    assert scores(played(QUALITY, "abc", values)) == {"a": 1, "b": 0}


def test_votes_are_averaged_over_those_that_were_read() -> None:
    values: dict[tuple[str, str | None, int], list[float | None]]
    values = {("a", "b", 0): [1, 1, 0, None], ("a", "b", 1): [0, None, None, None]}
    assert scores(played(QUALITY, "ab", values)) == pytest.approx({"a": 5 / 6, "b": 1 / 6})


def test_pointwise_scores() -> None:
    values: dict[tuple[str, str | None, int], list[float | None]]
    values = {("a", None, 0): [1, 0.5, None], ("b", None, 0): [None], ("c", None, 0): [0]}
    assert scores(played(FACTS, "abc", values)) == {"a": 0.75, "c": 0}
    assert scores([]) == {}


def test_prompts_hold_what_the_criterion_may_see() -> None:
    (fact, _), (safe, _) = (questions(c, pool("a", "b")) for c in (FACTS, SAFETY))
    text = "".join(fact.pieces("-1", False))
    assert "<context-1>before this </context-1>" in text
    assert "<reference-1>the original</reference-1>" in text
    assert "<passage-1>text a</passage-1>" in text
    assert "before" not in "".join(safe.pieces("", False))
    assert "Weigh it" not in text
    assert "Weigh it" in "".join(fact.pieces("", True))


def test_every_verdict_is_a_row_of_its_candidate() -> None:
    values: dict[tuple[str, str | None, int], list[float | None]]
    values = {("a", "b", 0): [0.75], ("a", "b", 1): [0.75, None]}
    rows = judgements(played(QUALITY, "ab", values))
    assert [(r["order"], r["vote"], r["value"], r["status"]) for r in rows] == [
        (0, 0, 0.75, "ok"),
        (1, 0, 0.25, "ok"),
        (1, 1, None, "unparsable"),
    ]
    assert {(r["id"], r["criterion"], r["candidate"], r["opponent"]) for r in rows} == {
        ("row", "quality", "a", "b")
    }


def test_an_answer_that_is_no_unicode_can_still_be_kept() -> None:
    question = Question(SAFETY, pool("a"), "a")
    (row,) = judgements([(question, [Verdict("a\ud800\x00", None, None, "unparsable")])])
    assert row["answer"] == "a?\x00"
    assert to_parquet([row], JUDGEMENT_SCHEMA)
