"""Statistics of a set as tables in a terminal."""

from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from prewrite.shards.manifest import CORRUPTED
from prewrite.shards.schema import NONE, STATUSES

_BARS = " ▁▂▃▄▅▆▇█"
_BRIEF = ("rows", "null", "mean", "sd", "p25", "median", "p75")


def tables(report: dict[str, Any]) -> Group:
    """The report of `shards.stats` as tables."""
    parts: list[Table | Text] = [Text(CORRUPTED)] if report["corrupted"] else []
    parts.append(_statuses(report))
    if report["failures"]:
        parts.append(_failures(report))
    if report["scores"]:
        parts += [_scores(report), _correlations(report), _means(report)]
    return Group(*parts)


def _table(title: str, *columns: str) -> Table:
    table = Table(
        title=title, box=box.SIMPLE, title_justify="left", collapse_padding=True, pad_edge=False
    )
    table.add_column(columns[0], overflow="fold")
    for name in columns[1:]:
        table.add_column(name, justify="left" if name == "column" else "right", no_wrap=True)
    return table


def _statuses(report: dict[str, Any]) -> Table:
    told = [key for key in report["statuses"] if key.rpartition(": ")[2] in (*STATUSES, NONE)]
    known = sorted(told, key=_order)
    table = _table("Statuses by source", "source", "rows", *known)
    for name, group in [*report["sources"].items(), ("all", report)]:
        counts = [str(group["statuses"].get(status, 0)) for status in known]
        table.add_row(Text(name), str(group["rows"]), *counts)
    return table


def _failures(report: dict[str, Any]) -> Table:
    """Why a row has no text, or a score is null."""
    table = _table("Failed", "why", "pass", "times")
    for name, reasons in report["failures"].items():
        for reason, count in reasons.items():
            table.add_row(Text(reason), name, str(count))
    return table


def _order(key: str) -> tuple[str, int]:
    """Of a key of `statuses`: its text, none for `rewrite`, and its place among the statuses."""
    text, _, status = key.rpartition(": ")
    return text, (*STATUSES, NONE).index(status)


def _scores(report: dict[str, Any]) -> Table:
    table = _table("Scores", "column", *_BRIEF, "min … max")
    for name, score in report["scores"].items():
        table.add_row(name, *(_number(score[key]) for key in _BRIEF), _spark(score["histogram"]))
    return table


def _correlations(report: dict[str, Any]) -> Table:
    found = report["correlations"]
    marks = [str(number) for number in range(1, len(found) + 1)]
    table = _table("Correlations (Pearson)", "column", *marks)
    for mark, (name, row) in zip(marks, found.items(), strict=True):
        table.add_row(f"{mark} {name}", *(_number(value) for value in row.values()))
    return table


def _means(report: dict[str, Any]) -> Table:
    table = _table("Scores by source", "source", "column", *_BRIEF)
    for source, group in report["sources"].items():
        for name, score in group["scores"].items():
            numbers = (_number(score[key]) for key in _BRIEF)
            table.add_row(Text(source), name, *numbers)
    return table


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.2f}"


def _spark(counts: list[int]) -> str:
    counts = [a + b for a, b in zip(counts[::2], counts[1::2], strict=True)]
    most = max(counts) or 1
    return "".join(_BARS[-(-count * (len(_BARS) - 1) // most)] for count in counts)
