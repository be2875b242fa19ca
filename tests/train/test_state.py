"""A run goes on with the phases that it went through; those that come may be others."""

from typing import Any

import pytest

from prewrite.base.errors import ConfigError
from prewrite.train.curriculum import Curriculum
from prewrite.train.state import State, settings
from prewrite.train.tally import LearningTally
from tests.train.test_curriculum import config


def reached(step: int, phases: list[dict[str, Any]]) -> State:
    """The state of a run of these phases after `step` steps."""
    made = config(phases)
    curriculum = Curriculum(made.curriculum)
    for number in range(1, step + 1):
        curriculum.after_step(number, 4 * number, 1.0)
    return State(
        step=step,
        samples=4 * step,
        skipped=0,
        empty=0,
        tally=LearningTally(),
        curriculum=curriculum.state_dict(),
        settings=settings(made),
        data={"sets": {}},
    )


def goes_on(state: State, phases: list[dict[str, Any]]) -> None:
    now = config(phases)
    curriculum = Curriculum(now.curriculum)
    curriculum.load_state_dict(state.curriculum)
    state.refuse_others("checkpoints", now, {"sets": {}}, None, len(curriculum.starts) - 1)


FIRST, LAST = {"until": {"step": 4}}, {"until": {"step": 8}}
RF = {"objective": "rf_nll"}


@pytest.mark.parametrize(
    ("step", "before", "now"),
    [
        (4, [FIRST], [FIRST, LAST]),  # one is added
        (4, [FIRST], [{"until": {"step": 2}}, LAST]),  # and the first made shorter
        (4, [FIRST], [{"until": {"step": 1}}, {"until": {"step": 3}}, LAST]),  # none is left of one
        (2, [FIRST, LAST], [{"until": {"step": 6}} | RF, LAST]),  # the first is under way
        (6, [FIRST, LAST], [FIRST, {"until": {"step": 7}} | RF]),
    ],
)
def test_phases_that_may_be_others(step: int, before: list[Any], now: list[Any]) -> None:
    goes_on(reached(step, before), now)


@pytest.mark.parametrize(
    ("step", "before", "now", "key"),
    [
        (4, [FIRST], [FIRST | RF, LAST], "train.curriculum.0.objective"),
        (6, [FIRST, LAST], [FIRST | RF, LAST], "train.curriculum.0.objective"),
        (6, [FIRST, LAST], [{"until": {"step": 5}}, LAST], "train.curriculum.0.until.step: 4 → 5"),
    ],
)
def test_phases_that_are_over_are_compared(
    step: int, before: list[Any], now: list[Any], key: str
) -> None:
    with pytest.raises(ConfigError, match=rf"made under another configuration; (.*\n)+.*{key}"):
        goes_on(reached(step, before), now)
