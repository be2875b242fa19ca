"""What the paper printed, and the same number of a model where it was measured here.

A measured number is read out of results/MODEL.json. The base meets nobody, so its win rates are one
half, where others were compared with it. A weighted average is there where each of its parts is;
its standard error takes the parts as independent.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

_FILE = Path(__file__).with_name("printed.yaml")
_WIN_RATE = "_win_rate,"
_Z = 1.96

Results = Mapping[str, Mapping[str, Any]]
"""task → `metric,filter` → value, as results/MODEL.json has them."""


@dataclass(frozen=True)
class PaperColumn:
    """A number of a model: `metric` of `task`, or an average of other columns by `weights`."""

    title: str
    task: str = ""
    metric: str = ""
    weights: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class PaperRow:
    """A method with its printed values; model: its name under `evaluate.models`."""

    method: str
    model: str
    printed: Sequence[float]


@dataclass(frozen=True)
class PaperTable:
    """A table of the paper. columns: names."""

    title: str
    columns: Sequence[str]
    rows: Sequence[PaperRow]


@dataclass(frozen=True)
class MeasuredShare:
    """A measured number as a share, with its standard error and 95 % interval where known."""

    value: float
    stderr: float | None = None
    interval: tuple[float, float] | None = None


@cache
def columns() -> dict[str, PaperColumn]:
    """All columns by name."""
    return {name: PaperColumn(**one) for name, one in _read()["columns"].items()}


@cache
def tables() -> list[PaperTable]:
    """The tables in their order."""
    return [
        PaperTable(one["title"], one["columns"], [PaperRow(**row) for row in one["rows"]])
        for one in _read()["tables"]
    ]


def measured(name: str, results: Results, base: Results, is_base: bool) -> MeasuredShare | None:
    """The number of a column; None where it was not measured. results, base: of the model and of
    the base.
    """
    column = columns()[name]
    if column.weights:
        parts = {part: measured(part, results, base, is_base) for part in column.weights}
        return _average(column.weights, parts)
    if is_base and _WIN_RATE in column.metric:
        return MeasuredShare(0.5, 0.0) if column.task in base else None
    return _found(results.get(column.task, {}), column.metric)


def weighted(weights: Mapping[str, float], values: Mapping[str, float]) -> float:
    """The weighted average."""
    return math.fsum(weights[name] * values[name] for name in weights) / math.fsum(weights.values())


def _found(task: Mapping[str, Any], key: str) -> MeasuredShare | None:
    value = task.get(key)
    if value is None:
        return None
    metric, _, rest = key.partition(",")
    stderr, interval = task.get(f"{metric}_stderr,{rest}"), task.get(f"{metric}_interval,{rest}")
    if interval is None and stderr is not None:
        return _with_error(value, stderr)
    return MeasuredShare(value, stderr, interval and (interval[0], interval[1]))


def _with_error(value: float, stderr: float) -> MeasuredShare:
    low, high = value - _Z * stderr, value + _Z * stderr
    return MeasuredShare(value, stderr, (max(low, 0.0), min(high, 1.0)))


def _average(
    weights: Mapping[str, float], parts: Mapping[str, MeasuredShare | None]
) -> MeasuredShare | None:
    known = {name: part for name, part in parts.items() if part is not None}
    if len(known) < len(weights):
        return None
    value = weighted(weights, {name: part.value for name, part in known.items()})
    errors = {name: part.stderr for name, part in known.items() if part.stderr is not None}
    if len(errors) < len(weights):
        return MeasuredShare(value)
    shares = [weights[name] * error for name, error in errors.items()]
    return _with_error(value, math.hypot(*shares) / math.fsum(weights.values()))


@cache
def _read() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return found
