"""Alerts over a window of steps: told once a crossing, stopping again after a resume."""

import json
from math import nan
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.base.errors import PrewriteError
from prewrite.train.alerts import AlertState, after, raised, sound
from prewrite.train.config.sections import AlertsConfig


def values(spread: float = 0.5, repetition: float = 0.1, ratio: float = 1.0) -> dict[str, float]:
    """Of a step with rollouts that had something to learn from."""
    return {
        "rollouts/pools": 4.0,
        "failed_verdicts": 0.0,
        "empty": 0.0,
        "rollouts/spread": spread,
        "rollouts/repetition": repetition,
        "rollouts/length_ratio": ratio,
    }


def steps(
    config: AlertsConfig, *each: dict[str, float], state: AlertState | None = None
) -> AlertState:
    found = state or []
    for one in each:
        found = after(found, one, config)
    return found


def config(**keys: Any) -> AlertsConfig:
    return AlertsConfig.model_validate({"window": 2} | keys)


@pytest.mark.parametrize(
    ("keys", "found", "sentence"),
    [
        (
            {"min_spread": 0.1},
            values(spread=0.04),
            "train.alerts.min_spread: found a spread of 0.04 (mean of the last 2 steps); "
            "accepted: a spread of at least 0.1",
        ),
        (
            {"min_spread": 0.1},
            values(spread=nan),
            "train.alerts.min_spread: found no pool with two scores (mean of the last 2 "
            "steps); accepted: a spread of at least 0.1",
        ),
        (
            {"max_repetition": 0.2},
            values(repetition=0.25),
            "train.alerts.max_repetition: found a repetition of 0.25 (mean of the last 2 "
            "steps); accepted: at most 0.2",
        ),
        (
            {"max_length_drift": 2},
            values(ratio=2.5),
            "train.alerts.max_length_drift: found rollouts 2.5 times as long as the "
            "originals (mean of the last 2 steps); accepted: 0.5 to 2 times",
        ),
        (
            {},
            values(ratio=0.125),
            "train.alerts.max_length_drift: found rollouts 0.125 times as long as the "
            "originals (mean of the last 2 steps); accepted: 0.25 to 4 times",
        ),
        (
            {},
            {"failed_verdicts": 0.625},
            "train.alerts.max_failed_verdicts: found a share of 0.625 of the verdicts that failed "
            "(mean of the last 2 steps); accepted: at most 0.5",
        ),
        (
            {"max_empty_steps": 0.25},
            {"empty": 1.0, "failed_verdicts": nan},
            "train.alerts.max_empty_steps: found a share of 1 of the steps with nothing to learn "
            "from (mean of the last 2 steps); accepted: at most 0.25",
        ),
    ],
)
def test_an_alert_is_one_sentence(
    keys: dict[str, Any], found: dict[str, float], sentence: str
) -> None:
    warns, stops = config(**keys), config(**keys, action="stop")
    before = steps(warns, found)
    now = after(before, found, warns)
    assert sound([], before, warns) == []  # the window is not full
    assert sound(before, now, warns) == [sentence]
    with pytest.raises(PrewriteError) as error:
        sound(before, now, stops)
    assert str(error.value) == sentence and error.value.exit_code == 1


def test_several_alarms_stop_with_all_their_sentences() -> None:
    settings = config(min_spread=0.1, max_repetition=0.2, action="stop")
    state = steps(settings, *[values(0.0, 0.9)] * 2)
    with pytest.raises(PrewriteError, match="min_spread: .*; .*max_repetition: "):
        sound(state, state, settings)


def test_defaults_say_nothing_of_spread_and_repetition() -> None:
    state = steps(AlertsConfig(), *[values(0.0, 1.0, 4.0)] * 20)
    assert raised(state, AlertsConfig()) == {}
    state = steps(AlertsConfig(), *[values(nan, nan, nan)] * 20)
    assert raised(state, AlertsConfig()) == {}


def test_a_phase_without_rollouts_has_no_spread_to_lose() -> None:
    settings = config(min_spread=0.1)
    assert raised(steps(settings, *[{"empty": 0.0}] * 2), settings) == {}


def test_a_share_is_one_of_the_window() -> None:
    settings = config(window=4)
    empty = [1.0, 0.0, 1.0, 0.0]
    assert raised(steps(settings, *[{"empty": n} for n in empty]), settings) == {}
    assert [*raised(steps(settings, *[{"empty": n} for n in [*empty, 1, 1]]), settings)] == [
        "max_empty_steps"
    ]
    never = config(window=2, max_empty_steps=1, max_failed_verdicts=1)
    assert raised(steps(never, *[{"empty": 1.0, "failed_verdicts": 1.0}] * 2), never) == {}


def test_a_warning_is_told_once_a_crossing() -> None:
    settings, state, told = config(min_spread=0.1), AlertState(), []
    for spread in (0.5, 0.5, 0.0, 0.0, 0.0, 0.5, 0.5, 0.0, 0.0, nan):
        before, state = state, after(state, values(spread), settings)
        told.append(len(sound(before, state, settings)))
    assert told == [0, 0, 0, 1, 0, 0, 0, 0, 1, 0]


def test_a_stopped_run_stops_again() -> None:
    settings = config(min_spread=0.1, action="stop")
    state = steps(settings, values(0.0), values(0.0))
    with pytest.raises(PrewriteError):
        sound(state, after(state, values(0.0), settings), settings)


def test_a_step_without_a_measurement_does_not_count() -> None:
    settings = config(window=3, min_spread=0.1)
    state = steps(settings, values(nan), values(nan), values(0.2))
    assert raised(state, settings) == {}


@given(
    st.lists(st.tuples(*[st.floats(0, 5) | st.just(nan)] * 3), max_size=12),
    st.integers(0, 12),
    st.integers(1, 5),
)
def test_a_run_goes_on_from_the_json_of_its_state(
    each: list[tuple[float, float, float]], cut: int, window: int
) -> None:
    settings = config(window=window, min_spread=1, max_repetition=0.5)
    lines = [values(*one) for one in each]
    resumed = json.loads(json.dumps(steps(settings, *lines[:cut]), allow_nan=False))
    whole = steps(settings, *lines)
    assert steps(settings, *lines[cut:], state=resumed) == whole
    assert len(whole) == min(window, len(each))


def test_another_window_may_go_on() -> None:
    state = steps(config(window=4), *[values(0.0)] * 4)
    shorter, longer = config(window=2, min_spread=0.1), config(window=6, min_spread=0.1)
    assert [*raised(after(state, values(0.0), shorter), shorter)] == ["min_spread"]
    assert raised(after(state, values(0.0), longer), longer) == {}


def test_too_many_unread_pools_end_a_run_that_otherwise_only_warns() -> None:
    """A judge that cannot be read teaches nothing; the other alerts are left to a person."""
    unread, settings = values() | {"rollouts/unscored_pools": 0.6}, config(max_unread=0.5)
    state = steps(settings, unread, unread)
    with pytest.raises(
        PrewriteError, match=r"max_unread: found a share of 0.6 of the pools with f"
    ):
        sound([], state, settings)
    assert sound([], state, config(max_unread=0.6)) == []
    warned = config(min_spread=0.9)
    assert len(sound([], steps(warned, unread, unread), warned)) == 1


def test_lines_of_an_earlier_version_are_forgotten() -> None:
    older: AlertState = [[0.5, 0.1, 1.0, 4.0, 0.0, 0.0]]
    assert len(after(older, values(), config())) == 1
