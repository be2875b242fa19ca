"""The plots of a report: calibration, values, the two orders, length."""

from collections.abc import Callable
from functools import partial
from typing import Any

from markupsafe import Markup

from prewrite.base.report.plots import PALETTE, svg
from prewrite.judge.measure.report import CriterionReport

_BLUE, _ORANGE, *_, _GREY = PALETTE


def plots(report: CriterionReport) -> list[Markup]:
    """What can be drawn of one judge and criterion."""
    drawn: dict[str, Callable[[CriterionReport, Any], None]] = {}
    if report.calibration:
        drawn["Calibration"] = _calibration
    if report.points:
        drawn["Values"] = _values
        if len(report.points[0].orders) == 2:
            drawn["The two orders"] = _orders
        drawn["Length"] = _length
    return [svg(partial(draw, report), label, (3.1, 2.6)) for label, draw in drawn.items()]


def _calibration(report: CriterionReport, axes: Any) -> None:
    bins = report.calibration
    most = max(b.n for b in bins)
    axes.plot([0, 1], [0, 1], color=_GREY, lw=0.8, ls="--")
    judged, labelled = [b.judged for b in bins], [b.labelled for b in bins]
    axes.plot(judged, labelled, color=_BLUE, lw=1)
    axes.scatter(judged, labelled, s=[8 + 60 * b.n / most for b in bins], color=_BLUE)
    axes.set(
        title="Calibration (size: items)",
        xlabel="mean value of the judge",
        ylabel="mean label",
        xlim=(-0.05, 1.05),
        ylim=(-0.05, 1.05),
    )


def _values(report: CriterionReport, axes: Any) -> None:
    points = report.points
    labelled = [p for p in points if p.label is not None]
    if labelled:
        sides = [[p.value for p in labelled if (p.label > 0.5) == high] for high in (False, True)]  # type: ignore[operator]
        names, colours = ["label ≤ 0.5", "label > 0.5"], [_ORANGE, _BLUE]
        axes.hist(sides, bins=20, range=(0, 1), stacked=True, label=names, color=colours)
        axes.legend(frameon=False, fontsize=6, loc="upper left")
    else:
        axes.hist([p.value for p in points], bins=20, range=(0, 1), color=_BLUE)
    axes.set(title="Values", xlabel="value of the judge", ylabel="items")


def _orders(report: CriterionReport, axes: Any) -> None:
    axes.axhline(0.5, color=_GREY, lw=0.6)
    axes.axvline(0.5, color=_GREY, lw=0.6)
    axes.plot([0, 1], [0, 1], color=_GREY, lw=0.8, ls="--")
    first, second = zip(*(p.orders for p in report.points), strict=True)
    axes.scatter(first, second, s=8, color=_BLUE, alpha=0.6)
    axes.set(
        title="The two orders",
        xlabel="value when it stands first",
        ylabel="value when it stands second",
        xlim=(-0.05, 1.05),
        ylim=(-0.05, 1.05),
    )


def _length(report: CriterionReport, axes: Any) -> None:
    pair = report.kind == "pairwise"
    lengths, values = [p.length for p in report.points], [p.value for p in report.points]
    axes.scatter(lengths, values, s=8, color=_BLUE, alpha=0.6)
    axes.set(
        title="Length",
        xlabel="characters more than the other" if pair else "characters",
        ylabel="value of the judge",
        ylim=(-0.05, 1.05),
    )
