"""The report as one HTML page; see `base.report.page` for what keeps corpus text out of its way."""

from prewrite.base.report.page import render
from prewrite.judge.measure.plots import plots
from prewrite.judge.measure.report import MEANING, Report


def page(report: Report) -> str:
    """The HTML."""
    drawn = {
        (judge.name, one.criterion): plots(one) for judge in report.judges for one in judge.criteria
    }
    return render("prewrite.judge.measure", {"report": report, "plots": drawn, "meaning": MEANING})
