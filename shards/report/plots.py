"""Histograms of several sets over each other, each as shares of its own rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from prewrite.base.report.plots import colour, svg
from prewrite.shards.report.tallies import BINS

Counts = NDArray[np.int64]


def nothing() -> Counts:
    """A histogram of no row."""
    return np.zeros(BINS, np.int64)


def scores(
    pairs: Sequence[tuple[Counts, Counts]], bounds: tuple[float, float], label: str
) -> Markup:
    """Of each set the scores of originals (dashed) and of rewrites."""
    lines = [
        (colour(number), style, counts)
        for number, pair in enumerate(pairs)
        for style, counts in zip(("--", "-"), pair, strict=True)
    ]
    return _drawn(lines, bounds, "score", label)


def shape(counts: Sequence[Counts], bounds: tuple[float, float], what: str, label: str) -> Markup:
    """Of each set one distribution."""
    lines = [(colour(number), "-", one) for number, one in enumerate(counts)]
    return _drawn(lines, bounds, what, label)


def _drawn(
    lines: Sequence[tuple[str, str, Counts]], bounds: tuple[float, float], what: str, label: str
) -> Markup:
    edges = np.linspace(*bounds, BINS + 1)

    def draw(axes: Any) -> None:
        for drawn, style, counts in lines:
            if total := counts.sum():
                filled = {"fill": True, "alpha": 0.15, "lw": 0, "color": drawn}
                if style == "-":
                    axes.stairs(counts / total, edges, **filled)
                axes.stairs(counts / total, edges, color=drawn, ls=style, lw=1.4)
        axes.set(xlabel=what, ylabel="share of rows", xlim=bounds)
        axes.set_ylim(bottom=0)

    return svg(draw, label)
