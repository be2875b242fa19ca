"""Statistics of a set for people: tables in a terminal, or one HTML page without scripts."""

from typing import Any

from jinja2 import Environment
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from base.text import printable
from shards.schema import STATUSES

_BARS = " ▁▂▃▄▅▆▇█"
_BRIEF = ("rows", "null", "mean", "sd", "p25", "median", "p75")
_NUMBERS = ("rows", "null", "mean", "sd", "min", "p25", "median", "p75", "max")


def tables(report: dict[str, Any]) -> Group:
    """The report of `shards.stats` as tables."""
    parts: list[Table] = [_statuses(report)]
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
    known = [status for status in STATUSES if status in report["statuses"]]
    table = _table("Statuses by source", "source", "rows", *known)
    for name, group in [*report["sources"].items(), ("all", report)]:
        counts = [str(group["statuses"].get(status, 0)) for status in known]
        table.add_row(Text(name), str(group["rows"]), *counts)
    return table


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


def page(report: dict[str, Any]) -> str:
    """The report as one HTML page."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(number=_number, printable=printable)
    known = [status for status in STATUSES if status in report["statuses"]]
    return environment.from_string(_PAGE).render(r=report, numbers=_NUMBERS, statuses=known)


_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ r.set | printable }}</title>
<style>
body { font: 14px/1.4 sans-serif; margin: 2em; color: #222; }
table { border-collapse: collapse; margin: 0 0 2em; }
td, th { border-bottom: 1px solid #ddd; padding: .2em .7em; text-align: right; }
td:first-child, th:first-child { text-align: left; }
rect { fill: #4477aa; }
</style></head><body>
<h1>{{ r.set | printable }}</h1>
<p>{{ r.rows }} rows of {{ r.documents }} documents</p>
<h2>Statuses by source</h2>
<table><tr><th>source</th><th>rows</th>{% for s in statuses %}<th>{{ s }}</th>{% endfor %}</tr>
{% for name, group in r.sources.items() %}
<tr><td>{{ name | printable }}</td><td>{{ group.rows }}</td>
{% for s in statuses %}<td>{{ group.statuses.get(s, 0) }}</td>{% endfor %}</tr>
{% endfor %}
<tr><td>all</td><td>{{ r.rows }}</td>
{% for s in statuses %}<td>{{ r.statuses[s] }}</td>{% endfor %}</tr>
</table>
{% macro scores(found) %}
<table><tr><th>column</th>{% for n in numbers %}<th>{{ n }}</th>{% endfor %}<th>min … max</th></tr>
{% for name, score in found.items() %}
<tr><td>{{ name }}</td>{% for n in numbers %}<td>{{ score[n] | number }}</td>{% endfor %}
<td><svg width="160" height="24">{% set most = [score.histogram | max, 1] | max %}
{% for count in score.histogram %}
<rect x="{{ loop.index0 * 8 }}" y="{{ 24 - 24 * count / most }}" width="7"
 height="{{ 24 * count / most }}"/>
{% endfor %}</svg></td></tr>
{% endfor %}</table>
{% endmacro %}
{% if r.scores %}
<h2>Scores</h2>
{{ scores(r.scores) }}
<h2>Correlations (Pearson)</h2>
<table><tr><th>column</th>{% for name in r.correlations %}<th>{{ name }}</th>{% endfor %}</tr>
{% for name, row in r.correlations.items() %}
<tr><td>{{ name }}</td>{% for value in row.values() %}<td>{{ value | number }}</td>{% endfor %}</tr>
{% endfor %}</table>
{% for name, group in r.sources.items() %}
<h2>Scores of {{ name | printable }}</h2>
{{ scores(group.scores) }}
{% endfor %}
{% endif %}
</body></html>
"""
