"""Plots as SVG that stands in a page: no file, no font, no address, and colours of the page's own.

Only numbers get into a plot. Names, which may be corpus text, belong into the page around it.
"""

import io
import re
from collections.abc import Callable
from html import escape
from typing import Any

from markupsafe import Markup

_STYLE: Any = {
    "svg.fonttype": "none",  # text stays text; the page's font is used
    "svg.hashsalt": "prewrite",  # the same report, byte for byte
    "text.parse_math": False,
    "font.size": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#010203",
    "xtick.color": "#010203",
    "ytick.color": "#010203",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#999999")
"""What plots are drawn in; `colour` names the page's colour for each."""

_VARIABLES = {drawn: f"var(--c{number})" for number, drawn in enumerate(PALETTE)}
_VARIABLES |= {"#010203": "currentColor", "#000000": "currentColor"}


def colour(number: int) -> str:
    """The colour of line `number`; they come again after six."""
    return PALETTE[number % len(PALETTE)]


def colours(count: int) -> list[str]:
    """The same as the page's style names them, so that they fit light and dark."""
    return [_VARIABLES[colour(number)] for number in range(count)]


def svg(draw: Callable[[Any], None], label: str, size: tuple[float, float] = (3.1, 2.4)) -> Markup:
    """What `draw` draws on matplotlib axes. label: for who cannot see it; size: inches."""
    # A slow import (1 s).
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        # Room for labels is left by rule: to measure them takes as long as all the rest.
        figure = Figure(figsize=size)
        figure.subplots_adjust(left=0.22, bottom=0.19, right=0.93, top=0.89)
        draw(figure.subplots())
        stream = io.StringIO()
        nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
        figure.savefig(stream, format="svg", metadata=nothing)
    text = stream.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"#[0-9a-f]{6}", lambda found: _VARIABLES.get(found[0], found[0]), text)
    text = re.sub(r"\s*\n\s*", " ", text)
    named = f'<svg role="img" aria-label="{escape(label)}"'
    return Markup(text.replace("<svg", named, 1))  # noqa: S704  (drawn from numbers alone)
