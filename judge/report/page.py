"""A report as one HTML file that loads nothing.

Corpus text is hostile here too: jinja escapes all of it, and the page's own policy forbids scripts,
images and addresses, should one ever get through.
"""

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from judge.report.build import MEANING, Report
from judge.report.plots import plots


def page(report: Report) -> str:
    """The HTML."""
    environment = Environment(
        loader=PackageLoader("judge.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = {
        # Drawn by matplotlib from numbers alone.
        (judge.name, one.criterion): [Markup(svg) for svg in plots(one)]  # noqa: S704
        for judge in report.judges
        for one in judge.criteria
    }
    template = environment.get_template("page.html.jinja")
    return template.render(report=report, plots=drawn, meaning=MEANING)
