"""The numbers of all models side by side: `table.md`, and the same on the terminal.

One table a split and decoding, a row a number, a column a model; `none` are the numbers that depend
on no decoding. A value stands with its 95 % interval; ▲ and ▼ mark one whose difference to the base
has an interval without 0, to the better or to the worse (• where neither way is better).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from prewrite.evaluation.measures import DIFFERENCE
from prewrite.evaluation.results import MetricValue, TaskResult

_COUNTED = "_judged"
Cells = Mapping[str, Mapping[tuple[str, str], MetricValue]]
"""model → (metric, filter) → its number."""


@dataclass(frozen=True)
class Page:
    """What stands in the tables. models: name → its numbers, a task a split; head, notes: lines
    before and after them.
    """

    models: Mapping[str, Sequence[TaskResult]]
    base: str
    head: Sequence[str]
    notes: Sequence[str]

    def markdown(self) -> str:
        """As a file."""
        parts = ["# Evaluation\n", *(f"{line}\n" for line in self.head)]
        for title, rows in self._tables():
            columns = ["", *self._names()]
            lines = [columns, ["---"] * len(columns), *rows]
            parts += [f"## {title}\n", *(f"| {' | '.join(line)} |" for line in lines), ""]
        parts += [f"{line}\n" for line in (*self.notes, *_LEGEND)]
        return "\n".join(parts)

    def show(self, console: Console) -> None:
        """On the terminal."""
        for line in self.head:
            console.print(line, soft_wrap=True)
        for title, rows in self._tables():
            table = Table("", *self._names(), title=title, title_justify="left", box=None)
            for row in rows:
                table.add_row(*row)
            console.print(table)
        for line in (*self.notes, *_LEGEND):
            console.print(line, soft_wrap=True)

    def _names(self) -> list[str]:
        return [f"{name} (base)" if name == self.base != "base" else name for name in self.models]

    def _tables(self) -> Iterator[tuple[str, list[list[str]]]]:
        for split in dict.fromkeys(task.name for some in self.models.values() for task in some):
            tasks = {
                name: next(task for task in some if task.name == split)
                for name, some in self.models.items()
            }
            one = next(iter(tasks.values()))
            cells = {
                name: {(m.metric, m.filter): m for m in task.measures}
                for name, task in tasks.items()
            }
            # The base meets nobody, so the others have more rows, and theirs come first.
            fullest = sorted(cells.values(), key=len, reverse=True)
            keys = dict.fromkeys(key for some in fullest for key in some)
            for filter_ in dict.fromkeys(key[1] for key in keys):
                metrics = [metric for metric, found in keys if found == filter_ and _row(metric)]
                texts = "originals" if filter_ == "none" else filter_
                title = f"{split}, {texts}: {one.cut_points} cut points, {one.documents} documents"
                yield title, [self._line(cells, metric, filter_) for metric in metrics]

    def _line(self, cells: Cells, metric: str, filter_: str) -> list[str]:
        return [metric, *(_cell(some, metric, filter_) for some in cells.values())]


_LEGEND = (
    "In brackets: 95 % intervals, by a bootstrap over documents. ▲ ▼ •: the difference to the base "
    "is better, worse, or neither, with an interval that does not hold 0.",
)


def _row(metric: str) -> bool:
    return not metric.startswith(DIFFERENCE) and not metric.endswith(_COUNTED)


def _cell(some: Mapping[tuple[str, str], MetricValue], metric: str, filter_: str) -> str:
    found = some.get((metric, filter_))
    if found is None or found.value is None:
        return "–"
    text = _number(found.value)
    if found.low is not None and found.high is not None:
        text += f" [{_number(found.low)}, {_number(found.high)}]"
    return text + _mark(found, some.get((DIFFERENCE + metric, filter_)))


def _mark(found: MetricValue, difference: MetricValue | None) -> str:
    """A win rate is compared with 0.5, any other number with the base's."""
    if difference is not None:
        low, high = difference.low, difference.high
    elif found.metric.endswith("_win_rate") and found.low is not None and found.high is not None:
        low, high = found.low - 0.5, found.high - 0.5
    else:
        return ""
    if low is None or high is None or low <= 0 <= high:
        return ""
    if found.better is None:
        return " •"
    return " ▲" if (low > 0) == found.better else " ▼"


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
