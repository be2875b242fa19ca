"""The page of one set, or of several over each other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from prewrite.base.report.page import render
from prewrite.base.report.plots import colours
from prewrite.base.text import printable, span
from prewrite.shards.failures import answers
from prewrite.shards.manifest import CORRUPTED
from prewrite.shards.report import plots
from prewrite.shards.report.collect import NONE, OTHERS, SetReport
from prewrite.shards.report.picks import KINDS
from prewrite.shards.report.tallies import BINS, Bounds, SourceTally
from prewrite.shards.report.words import LONGEST, diff
from prewrite.shards.schema import MEASURES, STATUSES, Row
from prewrite.shards.show import cache_share, why

SHOWN_SOURCES = 12
PLOTTED_SOURCES = 5

Plot = tuple[str, Markup]
"""What it is of, and the SVG."""


@dataclass(frozen=True)
class Line:
    """A row of a table: a set, one of its sources (None: all), and what is counted of it."""

    set: int
    source: str | None
    tally: SourceTally


@dataclass(frozen=True)
class Shown:
    """A row that is shown. left, right: both texts as HTML; right is None without a rewrite.
    scores: (name, before, after); kinds, set and source: what the page filters by.
    """

    row: Row
    kinds: list[str]
    set: int
    source: int
    scores: list[tuple[str, float | None, float | None]]
    left: Markup
    right: Markup | None

    @property
    def change(self) -> float | None:
        """Of the combined score."""
        if not self.scores or None in self.scores[-1]:
            return None
        _, before, after = self.scores[-1]
        return float(after or 0) - float(before or 0)


def page(reports: Sequence[SetReport], bounds: Bounds) -> str:
    """The HTML. bounds: those of the histograms."""
    names = sources(reports)
    values: dict[str, Any] = {
        "sets": reports,
        "colours": colours(len(reports)),
        "sources": names,
        "lines": list(lines(reports)),
        "distributions": list(distributions(reports, bounds, names[:PLOTTED_SOURCES])),
        "shapes": list(shapes(reports, bounds)),
        "rows": [row for number, one in enumerate(reports) for row in shown(one, number, names)],
        "kinds": KINDS,
        "statuses": STATUSES,
        "measures": MEASURES,
        "most_words": LONGEST,
        "shown_sources": SHOWN_SOURCES,
        "bins": BINS,
        "cache_share": cache_share,
        "span": span,
        "printable": printable,
        "why": why,
        "answers": answers,
        "corrupted": CORRUPTED,
    }
    return render("prewrite.shards.report", values, script=True)


def sources(reports: Sequence[SetReport]) -> list[str]:
    """Every source of the sets, the largest first."""
    rows: dict[str, int] = {}
    for report in reports:
        for name, tally in report.sources.items():
            rows[name] = rows.get(name, 0) + tally.rows
    return sorted(rows, key=lambda name: -rows[name])


def lines(reports: Sequence[SetReport]) -> Iterator[Line]:
    """Each set, and below it its largest sources."""
    for number, report in enumerate(reports):
        yield Line(number, None, report.total)
        if len(report.sources) > 1:
            for source, tally in list(report.sources.items())[:SHOWN_SOURCES]:
                yield Line(number, source, tally)


def distributions(
    reports: Sequence[SetReport], bounds: Bounds, names: Sequence[str]
) -> Iterator[tuple[str, list[Plot]]]:
    """(criterion, plots): of all rows, then of each of `names`."""
    for criterion in dict.fromkeys(name for report in reports for name in report.criteria):
        groups = {"all sources": [one.total for one in reports]}
        if len(names) > 1:
            groups |= {n: [one.sources.get(n, SourceTally()) for one in reports] for n in names}
        edges = bounds[f"original_{criterion}"]
        label = f"distribution of {criterion}, original and rewrite"
        yield (
            criterion,
            [
                (name, plots.scores([_pair(tally, criterion) for tally in tallies], edges, label))
                for name, tallies in groups.items()
            ],
        )


def _pair(tally: SourceTally, criterion: str) -> tuple[plots.Counts, plots.Counts]:
    none = plots.nothing()
    return (
        tally.histograms.get(f"original_{criterion}", none),
        tally.histograms.get(f"rewrite_{criterion}", none),
    )


def shapes(reports: Sequence[SetReport], bounds: Bounds) -> Iterator[Plot]:
    """Length and overlap of the rewrites."""
    for name, what, told in (
        ("length", "length", "characters of the rewrite over those of the original"),
        ("overlap", "overlap", "share of words that both have"),
    ):
        counts = [one.total.histograms.get(name, plots.nothing()) for one in reports]
        yield told, plots.shape(counts, bounds[name], what, f"distribution of {what}: {told}")


def shown(report: SetReport, number: int, names: Sequence[str]) -> Iterator[Shown]:
    """The rows of a set as the page shows them."""
    place = {name: index for index, name in enumerate(names)}
    others = place.get(OTHERS, -1)
    for row, kinds in report.rows:
        original, rewrite = row["original"], row["rewrite"]
        left, right = diff(original, original if rewrite is None else rewrite)
        yield Shown(
            row,
            kinds,
            number,
            place.get(row["source"] or NONE, others),
            [(c, row[f"original_{c}"], row[f"rewrite_{c}"]) for c in report.criteria],
            left,
            None if rewrite is None else right,
        )
