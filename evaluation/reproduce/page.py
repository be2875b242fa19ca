"""The page of `prewrite reproduce`: the paper's tables, each value printed and measured."""

from collections.abc import Iterator, Mapping, Sequence

from prewrite.evaluation.reproduce.printed import (
    MeasuredShare,
    PaperTable,
    Results,
    columns,
    measured,
    tables,
)

ABSENT = "not measured"

_LEGEND = (
    "All numbers are percentages. printed: what arXiv 2601.21343 v3 printed, of other models and "
    "with other prompts. In brackets: 95 % intervals; those of averages take the parts as "
    "independent. factuality and safety are averages with weights inferred from the sizes of the "
    "data sets: the paper does not print them. A win rate is against the base, which has 50 by "
    "definition."
)


def markdown(
    results: Mapping[str, Results], base: str, notes: Sequence[str], absent: Sequence[str]
) -> str:
    """The page. results: model → what was measured of it; notes: what it was measured with;
    absent: what was not at hand, and why.
    """
    parts = ["# The paper's tables, printed and measured", *notes]
    parts += [_table(table, results, base) for table in tables()]
    if absent:
        parts.append("\n".join(["Not at hand, and why:\n", *(f"- {line}" for line in absent)]))
    return "\n\n".join([*parts, _LEGEND]) + "\n"


def _table(table: PaperTable, results: Mapping[str, Results], base: str) -> str:
    titles = [columns()[name].title for name in table.columns]
    head = [
        "method",
        "model",
        *(cell for title in titles for cell in (f"{title}, printed", "measured")),
    ]
    lines = [f"## {table.title}", "", _line(head), "|---" * len(head) + "|"]
    for row in table.rows:
        found = _cells(table, results, row.model, base)
        pairs = zip(row.printed, found, strict=True)
        cells = [cell for value, here in pairs for cell in (f"{value:.1f}", here)]
        lines.append(_line([row.method, row.model, *cells]))
    return "\n".join(lines)


def _cells(
    table: PaperTable, results: Mapping[str, Results], model: str, base: str
) -> Iterator[str]:
    own = results.get(model, {})
    for name in table.columns:
        yield shown(measured(name, own, results.get(base, {}), model == base))


def shown(found: MeasuredShare | None) -> str:
    """A number in percent with its interval."""
    if found is None:
        return ABSENT
    text = f"{100 * found.value:.1f}"
    if found.interval is None:
        return text
    low, high = found.interval
    return f"{text} [{100 * low:.1f}, {100 * high:.1f}]"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
