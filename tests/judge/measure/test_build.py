"""A report finds in simulated judges what was put into them."""

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from prewrite.judge.criteria import Criterion
from prewrite.judge.measure.asking import Judging
from prewrite.judge.measure.build import build
from prewrite.judge.measure.labels import LabelledItem
from prewrite.judge.measure.measures import Measure, share
from prewrite.judge.measure.report import MEANING, CriterionReport, Report
from prewrite.judge.pool import Question
from tests.judge.measure.simulated import Opinion, judging, pairs, texts, truth


def report_of(items: list[LabelledItem], *opinions: Opinion) -> Report:
    judgings = [judging(opinion, f"judge {number}") for number, opinion in enumerate(opinions)]
    return asyncio.run(build(judgings, items, "simulated items", {}))


def one(items: list[LabelledItem], opinion: Opinion) -> CriterionReport:
    return report_of(items, opinion).judges[0].criteria[0]


def value(report: CriterionReport, name: str) -> float | None:
    return report.measures[name].value


def test_a_judge_that_knows() -> None:
    found = one(pairs(60), lambda question: [truth(question)])
    assert (
        value(found, "agreement") == value(found, "kappa") == value(found, "label_correlation") == 1
    )
    assert value(found, "order_inconsistency") == value(found, "position_bias") == 0
    assert value(found, "calibration_error") == value(found, "unread") == 0
    assert found.confusion == {"2": {"2": 30, "1": 0}, "1": {"2": 0, "1": 30}}
    assert {name: m.value for name, m in found.groups.items()} == {"even": 1, "odd": 1}


def test_a_judge_that_takes_the_first() -> None:
    found = one(pairs(60), lambda question: [1.0])
    assert value(found, "order_inconsistency") == 1
    assert value(found, "position_bias") == 0.5
    assert value(found, "agreement") == 0  # its orders cancel: it decides nothing
    assert found.confusion["1"] == {"2": 0, "1": 0, "undecided": 30}
    assert value(found, "kappa") == pytest.approx(0)


def test_a_judge_that_takes_the_longer() -> None:
    def longer(question: Question) -> list[float]:
        mine = len(question.pool.candidates["first"]) > len(question.pool.candidates["second"])
        return [float(mine != bool(question.order))]

    found = one(pairs(200), longer)
    assert value(found, "longer_preferred") == pytest.approx(1, abs=0.02)
    assert (value(found, "length_correlation") or 0) > 0.8
    labels = found.measures["label_longer_preferred"]
    assert labels.low is not None and labels.high is not None
    assert labels.low < 0.5 < labels.high
    kappa = found.measures["kappa"]
    assert kappa.low is not None and kappa.high is not None
    assert kappa.low < 0 < kappa.high


def test_a_judge_that_is_right_with_the_probability_it_says() -> None:
    draw = random.Random(0)

    def honest(question: Question) -> list[float]:
        sure = draw.uniform(0.5, 1)
        said = truth(question) if draw.random() < sure else 1 - truth(question)
        return [abs(1 - said - sure)]

    items = texts(900)
    items = [item for item in items if item.label != 0.5]
    found = one(items, honest)
    error = value(found, "calibration_error")
    assert error is not None and error < 0.06
    assert value(found, "agreement") == pytest.approx(0.5, abs=0.05)  # half its values are "B"


def test_votes_that_differ() -> None:
    found = one(texts(30), lambda question: [0.0, 0.0, 1.0])
    assert value(found, "self_agreement") == pytest.approx(1 / 3)
    assert found.cost["verdicts"] == 90 and found.cost["requests"] == 30


def test_votes_of_a_majority() -> None:
    def split(question: Question) -> list[float]:
        right = truth(question)
        return [right, right, 1 - right]

    items = pairs(30)
    judge = replace(judging(split), how=lambda _: "majority")
    (found,) = asyncio.run(build([judge], items, "", {})).judges[0].criteria
    assert {point.value for point in found.points} == {0.0, 1.0}
    assert value(found, "self_agreement") == pytest.approx(1 / 3), "of all votes"
    assert {round(point.value, 3) for point in one(items, split).points} == {0.333, 0.667}


def test_an_item_that_could_not_be_read_is_counted_and_not_measured() -> None:
    def half_blind(question: Question) -> Sequence[float | None]:
        number = int(question.pool.row_id[1:])
        return [None if number < 20 and question.order else truth(question)]

    found = one(pairs(60), half_blind)
    assert found.statuses == {"ok": 100, "outside": 20}
    assert value(found, "unread") == pytest.approx(1 / 6)
    assert found.measures["agreement"].n == found.measures["order_inconsistency"].n == 40
    assert (found.items, found.labelled, len(found.points)) == (60, 60, 40)


def test_how_fine_the_values_are() -> None:
    """Of a head in 16 bits many are the same, and some are exactly half-way."""
    coarse = [0.469, 0.5, 0.531]
    found = one(pairs(60), lambda q: [coarse[int(q.pool.row_id[1:]) % 3]])
    assert found.measures["distinct_values"] == Measure(1, 60)  # the two orders cancel
    assert value(found, "undecided") == 1
    thirds = one(texts(60), lambda q: [[0.25, 0.5, 0.8][int(q.pool.row_id[1:]) % 3]])
    assert value(thirds, "distinct_values") == 3
    assert value(thirds, "undecided") == pytest.approx(1 / 3)  # 0.25 is between 0 and 0.5


def test_cost() -> None:
    cost = one(pairs(30), lambda question: [0.6]).cost
    assert cost["prompt_tokens_per_verdict"] == 100 and cost["output_tokens_per_verdict"] == 2
    assert cost["cache_hit_rate"] == 0.4


def test_without_labels_the_rest_is_measured() -> None:
    items = [LabelledItem(item.criterion, item.pool) for item in pairs(40)]
    found = one(items, lambda question: [truth(question)])
    assert found.measures["agreement"].why == found.measures["kappa"].why == "no labels"
    assert value(found, "order_inconsistency") == 0
    assert not found.calibration and not found.confusion
    assert "label_length_correlation" not in found.measures


def test_nothing_read_is_nothing_measured() -> None:
    found = one(pairs(40), lambda question: [None])
    assert {name for name, m in found.measures.items() if m.value is not None} == {"unread", "mass"}
    assert all(m.why for m in found.measures.values() if m.value is None)
    assert not found.points and not found.examples


def test_a_panel_of_two() -> None:
    contrary = lambda question: [1 - truth(question)]  # noqa: E731
    report = report_of(pairs(40) + texts(40), lambda question: [truth(question)], contrary)
    quality, factuality = report.panel
    assert quality.judges == ("judge 0", "judge 1")
    assert {name: m.value for name, m in quality.measures.items()} == {
        "agreement": 0,
        "kappa": -1,
        "value_correlation": pytest.approx(-1),
    }
    assert factuality.measures["agreement"].value == pytest.approx(13 / 40)


def test_a_panel_that_reads_nothing_in_common() -> None:
    (found,) = report_of(pairs(20), lambda question: [0.6], lambda question: [None]).panel
    assert {m.value for m in found.measures.values()} == {None}


def test_canaries_join_in() -> None:
    async def flips(judge: Judging, criteria: Sequence[Criterion]) -> dict[str, Measure]:
        return {criterion.name: share([True] * 5 + [False] * 15) for criterion in criteria}

    judge = judging(lambda question: [0.6])
    report = asyncio.run(build([judge], pairs(10) + texts(10), "items", {}, flips=flips))
    assert [*report.judges[0].canaries] == ["quality", "factuality"]


def test_every_measure_has_a_meaning_and_json_holds_all() -> None:
    report = report_of(pairs(60) + texts(60), lambda q: [truth(q)], lambda q: [0.6])
    names = {name for judge in report.judges for c in judge.criteria for name in c.measures}
    names |= {name for pair in report.panel for name in pair.measures}
    assert names == set(MEANING)
    again = json.loads(json.dumps(report.as_json(), allow_nan=False))
    assert again["judges"][0]["criteria"][0]["measures"]["kappa"]["value"] == 1
