"""Curves of several runs over each other, a colour a run."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from prewrite.base.report.plots import colour, svg
from prewrite.train.report.metrics import SAMPLES, Column, Run, curve


def metric(runs: Sequence[Run], names: Sequence[str]) -> Markup:
    """A metric over steps; a second name, its chance level or the like, is dashed.

    Dotted lines stand where a phase begins. The shade is between the lowest and the highest value
    of the steps that a point stands for.
    """

    def draw(axes: Any) -> None:
        for number, run in enumerate(runs):
            for name, style in zip(names, ("-", "--"), strict=False):
                if name in run.columns:
                    _line(axes, run.step, run.columns[name], colour(number), style)
            for _, first, _ in run.phases[1:]:
                axes.axvline(first - 0.5, color=colour(number), lw=0.7, ls=":")
        axes.set(xlabel="step", xlim=_steps(runs))

    return svg(draw, f"{' and '.join(names)} over steps")


def samples(runs: Sequence[Run]) -> Markup:
    """Samples consumed over the hours that steps took."""

    def draw(axes: Any) -> None:
        for number, run in enumerate(runs):
            _line(axes, run.hours, run.columns[SAMPLES], colour(number), "-")
        axes.set_xlabel("hours of steps")

    return svg(draw, "samples over hours")


def split(run: Run, names: Sequence[str]) -> Markup:
    """Where the time of a step goes: the seconds of `names`, a colour each."""

    def draw(axes: Any) -> None:
        for number, name in enumerate(names):
            if name in run.columns:
                _line(axes, run.step, run.columns[name], colour(number), "-")
        axes.set(xlabel="step", ylabel="seconds", xlim=_steps([run]))
        axes.set_ylim(bottom=0)

    return svg(draw, f"time of a step by {', '.join(names)}")


def _steps(runs: Sequence[Run]) -> tuple[float, float]:
    """The same for all plots, so that they can be compared."""
    return min(run.step[0] for run in runs) - 0.5, max(run.step[-1] for run in runs) + 0.5


def _line(axes: Any, x: Column, values: Column, drawn: str, style: str) -> None:
    found = curve(x, values)
    few = "o" if len(found.x) < 30 else None
    axes.fill_between(found.x, found.low, found.high, color=drawn, alpha=0.2, lw=0)
    axes.plot(found.x, found.mean, color=drawn, ls=style, lw=1.3, marker=few, ms=2.5)
