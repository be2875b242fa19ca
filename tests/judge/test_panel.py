"""Several judges: their mean where all have a score, and how far they are apart."""

import pytest

from prewrite.judge.panel import consistency, disagreement, mean_scores
from prewrite.judge.pool import Result


def result(consistency: float | None = None, **scores: float) -> Result:
    return Result([], scores, consistency=consistency)


def test_a_score_is_the_mean_of_all_judges() -> None:
    found = mean_scores([result(a=0.2, b=1.0), result(a=0.6, b=0.5)])
    assert found == {"a": pytest.approx(0.4), "b": pytest.approx(0.75)}


def test_what_one_judge_could_not_read_has_no_score() -> None:
    results = [result(a=0.2, b=1.0), result(a=0.6)]
    assert mean_scores(results) == {"a": pytest.approx(0.4)}
    assert disagreement(results) == pytest.approx(0.2)


def test_one_judge_does_not_disagree() -> None:
    assert disagreement([result(a=0.2)]) is None
    assert disagreement([result(), result()]) is None


def test_disagreement_is_the_mean_deviation() -> None:
    assert disagreement([result(a=0.2, b=0.5), result(a=0.6, b=0.5)]) == pytest.approx(0.1)


def test_consistency_is_that_of_the_judges_who_know() -> None:
    assert consistency([result(1.0), result(0.0), result(None)]) == 0.5
    assert consistency([result(None)]) is None
