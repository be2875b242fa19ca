"""Strengths from games: known ones are found again, and nothing depends on how they are told."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from prewrite.judge.bradley_terry import Game, fit
from prewrite.judge.schedule import first_round


@st.composite
def records(draw: st.DrawFn) -> tuple[int, list[Game]]:
    """A pool and any games in it."""
    size = draw(st.integers(2, 9))
    pair = st.sampled_from(list(combinations(range(size), 2)))
    value = st.sampled_from([0.0, 0.001, 0.3, 0.5, 0.9, 1.0])
    games = draw(st.lists(st.tuples(pair, value), max_size=40))
    return size, [(i, j, v) for (i, j), v in games]


@given(records())
def test_names_and_sides_do_not_matter(record: tuple[int, list[Game]]) -> None:
    size, games = record
    order = np.random.default_rng(len(games)).permutation(size)
    told = [(int(order[j]), int(order[i]), 1 - value) for i, j, value in reversed(games)]
    before, after = fit(size, games), fit(size, told)
    for one, other in (
        (before.strengths_K, after.strengths_K),
        (before.scores(), after.scores()),
        (before.errors(), after.errors()),
    ):
        assert other[order] == pytest.approx(one, abs=1e-6)


@given(records())
def test_the_likelihood_is_at_its_maximum(record: tuple[int, list[Game]]) -> None:
    size, games = record
    found = fit(size, games).strengths_K
    slope = -0.1 * found
    for i, j, value in games:
        left = value - expit(found[i] - found[j])
        slope[[i, j]] += left, -left
    assert slope == pytest.approx(np.zeros(size), abs=1e-5)


@given(records())
def test_scores_are_shares_that_sum_to_half_the_pool_and_errors_are_finite(
    record: tuple[int, list[Game]],
) -> None:
    size, games = record
    found = fit(size, games)
    assert ((found.scores() > 0) & (found.scores() < 1)).all()
    assert found.scores().sum() == pytest.approx(size / 2)
    assert np.isfinite(found.errors()).all() and (found.errors() > 0).all()


def test_known_strengths_are_found_again_from_few_pairs() -> None:
    true = np.linspace(-2, 2, 17)
    games = [(i, j, float(expit(true[i] - true[j]))) for i, j in first_round(17, 4)]
    found = fit(17, games, ridge=1e-6)
    assert found.strengths_K == pytest.approx(true, abs=1e-3)
    expected = (expit(true[:, None] - true).sum(1) - 0.5) / 16
    assert found.scores() == pytest.approx(expected, abs=1e-4)


def test_known_strengths_are_found_again_from_many_tossed_games() -> None:
    draw, true = np.random.default_rng(0), np.linspace(-1, 1, 5)
    games = [
        (i, j, float(draw.random() < expit(true[i] - true[j]))) for i, j in first_round(5, 4) * 2000
    ]
    assert fit(5, games).strengths_K == pytest.approx(true, abs=0.1)


@given(st.lists(st.floats(0.05, 0.95), min_size=10, max_size=10))
def test_after_a_full_round_robin_scores_are_mean_win_rates(values: list[float]) -> None:
    games = [(i, j, v) for (i, j), v in zip(first_round(5, 4), values, strict=True)]
    wins = np.zeros(5)
    for i, j, value in games:
        wins[[i, j]] += value, 1 - value
    assert fit(5, games, ridge=1e-9).scores() == pytest.approx(wins / 4, abs=1e-6)


@given(st.integers(0, 1000), st.floats(-0.04, 0.04))
def test_a_constant_preference_for_a_position_cancels(seed: int, preference: float) -> None:
    """Where everyone stands first as often as second."""
    draw = np.random.default_rng(seed)
    fair = [(i, j, draw.uniform(0.05, 0.95)) for i, j in first_round(9, 4)]
    biased = [(i, j, value + preference) for i, j, value in fair]
    assert fit(9, biased).scores() == pytest.approx(fit(9, fair).scores(), abs=1e-6)


def test_a_perfect_record_is_finite_and_the_ridge_says_how_large() -> None:
    games = [(0, 1, 1.0)] * 50
    small, large = fit(2, games, ridge=1e-3), fit(2, games)
    assert 0 < large.strengths_K[0] < small.strengths_K[0] < 20


def test_groups_that_never_met_each_sum_to_zero() -> None:
    found = fit(5, [(0, 1, 0.9), (2, 3, 0.6)]).strengths_K
    assert found[0] + found[1] == pytest.approx(0) and found[2] + found[3] == pytest.approx(0)
    assert found[4] == pytest.approx(0)
    assert found[0] > found[2] > 0


def test_no_games_is_no_knowledge() -> None:
    found = fit(3, [])
    assert found.scores().tolist() == [0.5, 0.5, 0.5]
    assert (found.errors() > 0.5).all()


@pytest.mark.parametrize("tossed", [False, True])
def test_stated_errors_are_those_that_are_made(tossed: bool) -> None:
    """Over many pools, for probabilities with some noise and for 0/1 verdicts; rather too large
    than too small.
    """
    draw, square, stated = np.random.default_rng(0), [], []
    for _ in range(150):
        true = draw.normal(size=9)
        expected = (expit(true[:, None] - true).sum(1) - 0.5) / 8
        games = []
        for i, j in first_round(9, 4):
            share = expit(true[i] - true[j] + draw.normal(0, 0.5))
            games.append((i, j, float(draw.random() < share) if tossed else float(share)))
        found = fit(9, games)
        square.append(np.square(found.scores() - expected).mean())
        stated.append(np.square(found.errors()).mean())
    assert 0.8 < np.sqrt(np.mean(stated) / np.mean(square)) < 2
