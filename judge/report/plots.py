"""The plots of a report as SVG that stands in the page: no file, no font, no address.

No corpus text gets into them.
"""

import io
import re
from collections.abc import Callable
from typing import Any

from judge.report.report import CriterionReport

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text; the page's font is used
    "svg.hashsalt": "prewrite",  # the same report, byte for byte
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_BLUE, _ORANGE, _GREY = "#0072b2", "#d55e00", "#999999"


def plots(report: CriterionReport) -> list[str]:
    """What can be drawn of one judge and criterion."""
    drawn: list[Callable[[Any, CriterionReport], None]] = []
    if report.calibration:
        drawn.append(_calibration)
    if report.points:
        drawn.append(_values)
        if len(report.points[0].orders) == 2:
            drawn.append(_orders)
        drawn.append(_length)
    return [_svg(draw, report) for draw in drawn]


def _svg(draw: Callable[[Any, CriterionReport], None], report: CriterionReport) -> str:
    # A slow import (1 s).
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(3.1, 2.6), layout="constrained")
        draw(figure.subplots(), report)
        stream = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(stream, format="svg", metadata=nothing)
    svg = stream.getvalue()
    return re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)


def _calibration(axes: Any, report: CriterionReport) -> None:
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


def _values(axes: Any, report: CriterionReport) -> None:
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


def _orders(axes: Any, report: CriterionReport) -> None:
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


def _length(axes: Any, report: CriterionReport) -> None:
    pair = report.kind == "pairwise"
    lengths, values = [p.length for p in report.points], [p.value for p in report.points]
    axes.scatter(lengths, values, s=8, color=_BLUE, alpha=0.6)
    axes.set(
        title="Length",
        xlabel="characters more than the other" if pair else "characters",
        ylabel="value of the judge",
        ylim=(-0.05, 1.05),
    )
