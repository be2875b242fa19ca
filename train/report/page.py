"""The page of one run, or of several over each other."""

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from prewrite.base.report.page import render
from prewrite.base.report.plots import colours
from prewrite.base.text import printable, span
from prewrite.train.report import plots
from prewrite.train.report.metrics import SAMPLES, Run, groups

Plot = tuple[str, Markup]
"""What it is of, and the SVG."""

TIME = "time"
"""The group whose metrics are seconds of a step."""


def page(runs: Sequence[Run]) -> str:
    """The HTML."""
    found = groups(runs)
    split = found.pop(TIME, [])
    values = {
        "runs": runs,
        "colours": colours(max(len(runs), len(split))),
        "losses": [n for n in found.get("loss", ()) if any(n in run.columns for run in runs)],
        "groups": {heading: list(_plots(runs, names)) for heading, names in found.items()},
        "split": list(_split(runs, split)),
        "split_names": split,
        "samples": plots.samples(runs) if all(SAMPLES in run.columns for run in runs) else None,
        "span": span,
        "printable": printable,
    }
    return render("prewrite.train.report", values)


def _plots(runs: Sequence[Run], names: Sequence[str]) -> Iterator[Plot]:
    """A plot a metric; how often a kind is chosen stands beside how often it would be by chance."""
    chances = {name: name.replace("/chosen_", "/chance_") for name in names}
    pairs = {name: other for name, other in chances.items() if other != name and other in names}
    for name in names:
        if name in pairs:
            yield f"{name}, dashed: by chance", plots.metric(runs, [name, pairs[name]])
        elif name not in pairs.values():
            yield name, plots.metric(runs, [name])


def _split(runs: Sequence[Run], names: Sequence[str]) -> Iterator[Plot]:
    for run in runs:
        if any(name in run.columns for name in names):
            yield run.url, plots.split(run, names)
