"""Scores out of criteria; a missing value is never filled in."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.judge.combine import Combine, combined

RULES = get_args(Combine)
UNIT = st.floats(0, 1)
WEIGHTS = st.floats(0.1, 5)


@pytest.mark.parametrize(
    ("how", "expected"), [("sum", 1.9), ("mean", 1.9 / 3), ("product", 0.5 * 0.49), ("min", 0.5)]
)
def test_known_values(how: Any, expected: float) -> None:
    assert combined(how, [1, 2], [0.5, 0.7]) == pytest.approx(expected)


@pytest.mark.parametrize("how", RULES)
def test_a_missing_value_is_a_missing_score(how: Any) -> None:
    assert combined(how, [1, 1], [0.5, None]) is None


@pytest.mark.parametrize("how", RULES)
def test_weight_0_leaves_a_criterion_out(how: Any) -> None:
    assert combined(how, [1, 0], [0.5, None]) == pytest.approx(0.5)
    assert combined(how, [0, 0], [0.5, 0.5]) is None


@given(st.lists(st.tuples(WEIGHTS, UNIT), min_size=1, max_size=5), st.randoms())
def test_order_does_not_matter(counted: list[tuple[float, float]], random: Any) -> None:
    mixed = random.sample(counted, len(counted))
    for how in RULES:
        first = combined(how, *map(list, zip(*counted, strict=True)))
        assert first == pytest.approx(combined(how, *map(list, zip(*mixed, strict=True))))


@given(st.lists(st.tuples(WEIGHTS, UNIT), min_size=1, max_size=5))
def test_all_but_the_sum_stay_on_the_scale(counted: list[tuple[float, float]]) -> None:
    weights, values = map(list, zip(*counted, strict=True))
    for how in ("mean", "product", "min"):
        score = combined(how, weights, values)
        assert score is not None and -1e-9 <= score <= 1 + 1e-9
