"""Measures against values known from elsewhere; too little data is never a number."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from prewrite.base.intervals import wilson
from prewrite.judge.measure import measures
from prewrite.judge.measure.measures import FEWEST, Measure

CLASSES = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=FEWEST, max_size=40)


def test_a_share_has_wilsons_interval() -> None:
    found = measures.share([True] * 81 + [False] * 182)  # Newcombe 1998, table I: 81 of 263
    assert found.value == pytest.approx(0.3080, abs=1e-4)
    assert (found.low, found.high) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert found.n == 263


def test_a_share_of_all_is_not_certain() -> None:
    found = measures.share([True] * 20)
    assert found.value == 1 and found.low == pytest.approx(0.8389, abs=1e-4)


def test_kappa_of_cohens_example() -> None:
    # Two readers of 50 proposals: 20 both yes, 15 both no, 5 and 10 apart.
    judged = [1] * 25 + [0] * 25
    labels = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
    found = measures.kappa(judged, labels, ordinal=False)
    assert found.value == pytest.approx(0.4)
    assert found.low is not None and found.high is not None
    assert found.low < 0.2 < 0.4 < 0.6 < found.high


@given(CLASSES, st.booleans())
def test_kappa_is_that_of_scikit_learn(pairs: list[tuple[int, int]], ordinal: bool) -> None:
    judged, labels = [a for a, _ in pairs], [b for _, b in pairs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measures, "RESAMPLES", 2)
        found = measures.kappa(judged, labels, ordinal)
    if len(set(labels)) < 2:
        assert found.value is None and found.why
        return
    weights = "quadratic" if ordinal else None
    expected = cohen_kappa_score(judged, labels, labels=[0, 1, 2, 3], weights=weights)
    assert found.value == pytest.approx(expected)


def test_kappa_of_a_guess_is_about_nothing() -> None:
    draw = np.random.default_rng(0)
    judged, labels = draw.integers(0, 2, (2, 2000)).tolist()
    found = measures.kappa(judged, labels, ordinal=False)
    assert found.low is not None and found.high is not None
    assert found.low < 0 < found.high and found.high - found.low < 0.1


def test_order_inconsistency_counts_changed_winners_and_ties() -> None:
    first = [0.9] * 6 + [0.9] * 3 + [0.5]
    second = [0.6] * 6 + [0.1] * 3 + [0.9]
    assert measures.order_inconsistency(first, second).value == pytest.approx(0.4)


def test_position_bias_is_what_the_first_place_is_worth() -> None:
    truth = np.linspace(0.2, 0.8, 25)
    found = measures.position_bias(truth + 0.1, truth - 0.1)
    assert found.value == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx((0.1, 0.1))


def test_length_bias() -> None:
    lengths = [-50, 10, -20, 30, 80, -5, 60, 0, 20, -70, 40, 90]
    values = [0.5 + length / 200 for length in lengths]
    assert measures.rank_correlation(lengths, values).value == pytest.approx(1)
    longer = measures.longer_preferred(lengths, values)
    assert (longer.value, longer.n) == (1, 11)  # the one of equal length says nothing
    shorter = measures.longer_preferred(lengths, [1 - value for value in values])
    assert shorter.value == 0


def test_self_agreement_over_votes() -> None:
    assert measures.self_agreement([[1, 1, 1, 1, 0]] * 10).value == pytest.approx(12 / 20)
    assert measures.self_agreement([[1.0, 1.0]] * 10 + [[1.0]]).value == 1
    assert measures.self_agreement([[1.0]] * 10).why == "no question has two votes"


def test_calibration() -> None:
    values, labels = (
        [0.05] * 30 + [0.95] * 30 + [1.0] * 10,
        [0] * 30 + [1] * 15 + [0] * 15 + [1] * 10,
    )
    curve = measures.calibration(values, labels)
    assert [b.n for b in curve] == [30, 40]
    assert [b.labelled for b in curve] == pytest.approx([0, 25 / 40])
    expected = (30 * 0.05 + 40 * ((30 * 0.95 + 10) / 40 - 25 / 40)) / 70
    assert measures.calibration_error(values, labels).value == pytest.approx(expected)


def test_a_calibrated_judge_has_hardly_an_error() -> None:
    draw = np.random.default_rng(0)
    values = draw.random(5000)
    labels = draw.random(5000) < values
    assert (measures.calibration_error(values, labels).value or 1) < 0.03
    assert (measures.calibration_error(values**3, labels).value or 0) > 0.2


FEW = list(range(FEWEST - 1))


@pytest.mark.parametrize(
    "found",
    [
        measures.share([True] * (FEWEST - 1)),
        measures.mean(FEW),
        measures.agreement(FEW, FEW),
        measures.kappa(FEW, FEW, ordinal=True),
        measures.order_inconsistency(FEW, FEW),
        measures.rank_correlation(FEW, FEW),
        measures.longer_preferred(FEW, FEW),
        measures.calibration_error([0.5] * 49, [1] * 49),
        measures.rank_correlation([1] * 20, range(20)),
        measures.self_agreement([]),
    ],
)
def test_too_little_is_not_measured(found: Measure) -> None:
    assert found.value is found.low is found.high is None
    assert found.why


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(3).random(40)
    assert measures.mean(values, seed=1) == measures.mean(values, seed=1)
    assert measures.mean(values, seed=1) != measures.mean(values, seed=2)


def test_items_of_one_document_are_no_further_evidence() -> None:
    draw = np.random.default_rng(5)
    judged, labels = draw.integers(0, 2, (2, 40)).tolist()
    values = draw.random(40).tolist()
    names = [str(number) for number in range(40)]
    copied = names * 8

    def each(times: int, documents: list[str] | None) -> list[Measure]:
        a, b, numbers = judged * times, labels * times, values * times
        return [
            measures.mean(numbers, documents),
            measures.kappa(a, b, False, documents),
            measures.rank_correlation(numbers, b, documents),
            measures.calibration_error(numbers, b, documents, 0),
            measures.agreement(a, b, documents),
        ]

    for once, again, alone in zip(each(1, names), each(8, copied), each(8, None), strict=True):
        assert again.low is not None and alone.low is not None and alone.high is not None
        assert again.high is not None and alone.high - alone.low < (again.high - again.low) / 2
        if once.low is not None:  # too few for a calibration error
            assert (again.low, again.high) == pytest.approx((once.low, once.high), abs=0.03)


def test_a_share_of_all_of_one_document_says_hardly_anything() -> None:
    found = measures.share([True] * 20, ["one"] * 20)
    assert found.value == 1 and found.low == pytest.approx(wilson(1, 1)[0])
