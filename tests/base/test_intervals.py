"""Intervals: what they must not depend on, and what they must."""

from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.base.intervals import RatioTerm, ratio

NUMBERS = st.floats(-100, 100).map(lambda value: round(value, 6))
PARTS = st.lists(
    st.builds(RatioTerm, st.sampled_from("abcdefgh"), NUMBERS, st.floats(0.5, 50)), min_size=1
)


@given(PARTS, st.randoms())
@settings(max_examples=30)
def test_it_knows_no_order_and_holds_the_value(parts: list[RatioTerm], random: Random) -> None:
    found = ratio(parts)
    assert found
    total = sum(part.above for part in parts) / sum(part.below for part in parts)
    assert found.value == pytest.approx(total, abs=1e-9)
    shuffled = ratio(random.sample(parts, len(parts)))
    assert shuffled and shuffled.low == pytest.approx(found.low, abs=1e-9)
    if len({part.document for part in parts}) == 1:
        assert (found.stderr, found.low, found.high) == (None, None, None)
    else:
        assert found.low is not None and found.high is not None
        assert found.low <= found.high


@given(PARTS)
@settings(max_examples=20)
def test_a_difference_to_itself_is_nothing(parts: list[RatioTerm]) -> None:
    found = ratio(parts, minus=parts)
    assert found and found.value == 0
    assert (found.low or 0.0, found.high or 0.0) == (0.0, 0.0)


def test_places_of_one_document_are_no_further_evidence() -> None:
    once = [RatioTerm(str(n), float(n % 3)) for n in range(30)]
    alone, again = ratio(once), ratio(once * 10)
    assert alone and again and alone.stderr and again.stderr
    assert again.stderr == pytest.approx(alone.stderr)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(7)
    held = 0
    for _ in range(200):
        found = ratio([RatioTerm(str(n), value) for n, value in enumerate(random.normal(3, 1, 60))])
        assert found and found.low is not None and found.high is not None
        held += found.low <= 3 <= found.high
    assert 0.88 <= held / 200 <= 0.99


def test_pairs_say_more_than_two_samples() -> None:
    random = np.random.default_rng(1)
    levels = random.normal(0, 10, 50)
    base = [RatioTerm(str(n), level) for n, level in enumerate(levels)]
    better = [
        RatioTerm(str(n), level + 1 + random.normal(0, 0.1)) for n, level in enumerate(levels)
    ]
    found = ratio(better, minus=base)
    assert found and found.low and found.low > 0.9


def test_nothing_to_divide_by() -> None:
    assert ratio([]) is None
    assert ratio([RatioTerm("a", 1.0, 0.0)]) is None


def test_through_a_function() -> None:
    found = ratio([RatioTerm("a", 2.0, 1.0), RatioTerm("b", 2.0, 1.0)], through=np.exp)
    assert found and found.value == pytest.approx(np.exp(2))
    assert found.low == found.high == pytest.approx(np.exp(2))
