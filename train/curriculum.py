"""The curriculum: which phase of a run is on, and when the next one begins.

The state is what it was at the last step, the losses that a plateau still compares, and the probe's
win rate: plain numbers that go through JSON unchanged, so they live in the checkpoint. What comes
next is a function of that state and of the configuration alone; a run that stops at any step, the
edge of a phase included, goes on through the same phases, and one that gets more phases behind its
last one as if it had had them from the start. Cost: a mean over two windows of losses a step, and
only in a phase that has a plateau.
"""

from collections.abc import Sequence
from math import fsum, isfinite
from typing import Any, NamedTuple

from prewrite.base.errors import ConfigError
from prewrite.train.config.phases import Phase, Plateau


class PhaseStart(NamedTuple):
    """Where a phase began: optimizer steps made and samples consumed before it."""

    step: int
    sample: int


class Curriculum:
    """Phases one after the other. `starts` holds where each phase so far began, the current last.

    Every rank keeps its own; they agree because they are told the same losses.
    """

    def __init__(self, phases: Sequence[Phase]) -> None:
        self.phases = phases
        self.starts = [PhaseStart(0, 0)]
        self.step = self.samples = 0
        self._losses: list[float] = []
        self._win_rate: float | None = None
        self._reward: float | None = None

    @property
    def current(self) -> Phase:
        """The phase of the next step; of the last one when the run is over."""
        return self.phases[len(self.starts) - 1]

    @property
    def over(self) -> bool:
        """Whether no step is left: the last phase has ended."""
        return len(self.starts) == len(self.phases) and self._ended()

    def after_step(
        self,
        step: int,
        samples: int,
        loss: float,
        win_rate: float | None = None,
        reward: float | None = None,
    ) -> Phase | None:
        """The phase that begins now, if one does.

        step, samples: made and consumed in the run so far. loss: of the step just made, over all
        ranks; where it is not finite, the step does not count towards a plateau. win_rate, reward:
        of the probe after this step, where there was one.
        """
        self.step, self.samples = step, samples
        plateau = self.current.until.plateau
        if plateau and isfinite(loss):
            self._losses = [*self._losses, loss][-2 * plateau.steps :]
        self._win_rate, self._reward = win_rate, reward
        if not self._has_next():
            return None
        self._begin_next()
        return self.current

    def state_dict(self) -> dict[str, Any]:
        """All of the state, as JSON has it."""
        return {
            "phases": [phase.name for phase in self.phases[: len(self.starts)]],
            "starts": [list(start) for start in self.starts],
            "step": self.step,
            "samples": self.samples,
            "losses": self._losses,
            "win_rate": self._win_rate,
            "reward": self._reward,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; ConfigError when the phases so far have other names.

        Of phases that the configuration ends there or before it ended, the next one begins: new
        ones follow a run that was over, and a phase may have been shortened.
        """
        names = [phase.name for phase in self.phases[: len(state["phases"])]]
        if names != state["phases"]:
            raise ConfigError(
                f"train.curriculum: found {', '.join(names)}; the run that is continued went "
                f"through {', '.join(state['phases'])}; accepted: those, and new ones after them"
            )
        self.starts = [PhaseStart(*start) for start in state["starts"]]
        self.step, self.samples = state["step"], state["samples"]
        self._losses, self._win_rate = list(state["losses"]), state["win_rate"]
        self._reward = state.get("reward")  # a state of an earlier version has none
        while self._has_next():
            self._begin_next()

    def _has_next(self) -> bool:
        return len(self.starts) < len(self.phases) and self._ended()

    def _begin_next(self) -> None:
        self.starts.append(PhaseStart(self.step, self.samples))
        self._losses, self._win_rate, self._reward = [], None, None

    def _ended(self) -> bool:
        until = self.current.until
        return (
            (until.step is not None and self.step >= until.step)
            or (until.samples is not None and self.samples >= until.samples)
            or (until.plateau is not None and stands_still(self._losses, until.plateau))
            or (until.win_rate is not None and (self._win_rate or 0.0) >= until.win_rate)
            or (until.reward is not None and (self._reward or 0.0) >= until.reward)
        )


def stands_still(losses: Sequence[float], plateau: Plateau) -> bool:
    """Whether the mean of the newest `plateau.steps` losses has not fallen, by the share
    `plateau.improvement` of its size, below that of as many before them.
    """
    losses = losses[-2 * plateau.steps :]
    if len(losses) < 2 * plateau.steps:
        return False
    before = fsum(losses[: plateau.steps]) / plateau.steps
    now = fsum(losses[plateau.steps :]) / plateau.steps
    return before - now < plateau.improvement * abs(before)
