"""Counts and sums over rows, which need no more memory for more rows.

A `SourceTally` is for the rows of one source; tallies add up. Columns are arrays [R] over the R
rows of a batch, NaN where there is no value.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import sqrt
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

BINS = 20
Column = NDArray[np.float64]
ColumnTexts = NDArray[np.object_]
Bounds = Mapping[str, tuple[float, float]]
"""Histogram → its lowest and highest value; what lies outside counts in the bin at that end."""


@dataclass
class Paired:
    """Rows with a score for both texts: their number, and sums over them. better, worse: rows
    whose rewrite has the higher, or the lower score.
    """

    rows: int = 0
    before: float = 0.0
    after: float = 0.0
    squares: float = 0.0
    better: int = 0
    worse: int = 0

    @classmethod
    def of(cls, before_R: Column, after_R: Column) -> "Paired":
        """Those of a batch."""
        both_R = ~(np.isnan(before_R) | np.isnan(after_R))
        before, after = before_R[both_R], after_R[both_R]
        change = after - before
        return cls(
            int(both_R.sum()),
            float(before.sum()),
            float(after.sum()),
            float((change**2).sum()),
            int((change > 0).sum()),
            int((change < 0).sum()),
        )

    def __add__(self, other: "Paired") -> "Paired":
        pairs = {name: (value, vars(other)[name]) for name, value in vars(self).items()}
        return Paired(**{name: a + b for name, (a, b) in pairs.items()})

    @property
    def change(self) -> float:
        """Mean of the score after less the score before."""
        return (self.after - self.before) / self.rows

    @property
    def margin(self) -> float | None:
        """Half the width of the 95 % interval of `change`, rows taken as independent (normal
        approximation: 1.96 standard errors); None below two rows.
        """
        if self.rows < 2:
            return None
        variance = max(self.squares - self.rows * self.change**2, 0) / (self.rows - 1)
        return 1.96 * sqrt(variance / self.rows)


@dataclass
class SourceTally:
    """What is counted of the rows of a source. measures: column → [sum, rows with a value]."""

    statuses: Counter[str] = field(default_factory=Counter)
    paired: dict[str, Paired] = field(default_factory=dict)
    histograms: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    measures: dict[str, Column] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        statuses_R: ColumnTexts,
        columns: Mapping[str, Column],
        bounds: Bounds,
        criteria: Sequence[str],
        measures: Sequence[str],
    ) -> "SourceTally":
        """That of a batch. criteria: names whose `original_…` and `rewrite_…` are `columns`."""
        return cls(
            Counter(statuses_R.tolist()),
            {c: Paired.of(columns[f"original_{c}"], columns[f"rewrite_{c}"]) for c in criteria},
            {name: histogram(columns[name], *bounds[name]) for name in bounds},
            {
                name: np.array([np.nansum(columns[name]), np.sum(~np.isnan(columns[name]))])
                for name in measures
            },
        )

    def __add__(self, other: "SourceTally") -> "SourceTally":
        return SourceTally(
            self.statuses + other.statuses,
            {k: v + other.paired[k] for k, v in self.paired.items()} or other.paired,
            {k: v + other.histograms[k] for k, v in self.histograms.items()} or other.histograms,
            {k: v + other.measures[k] for k, v in self.measures.items()} or other.measures,
        )

    @property
    def rows(self) -> int:
        """How many rows."""
        return self.statuses.total()

    def mean(self, measure: str) -> float | None:
        """Of a measure over the rows that have it; None where none has."""
        total, rows = self.measures[measure]
        return float(total / rows) if rows else None


def numbers(column: "pa.Array[Any]") -> Column:
    """A column of a batch, [R]; null is NaN."""
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def texts(column: "pa.Array[Any]") -> ColumnTexts:
    """A column of a batch, [R]; null is the empty text."""
    return np.array([text or "" for text in column.cast(pa.string()).to_pylist()], dtype=object)


def histogram(values_R: Column, low: float, high: float) -> NDArray[np.int64]:
    """Rows in each of BINS equal bins."""
    known = np.clip(values_R[~np.isnan(values_R)], low, high)
    return np.histogram(known, BINS, (low, high))[0].astype(np.int64)
