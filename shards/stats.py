"""Statistics of a set's scores, in one pass over its score columns.

Distributions are kept as histograms of 201 bins centred on a grid from the least to the greatest
value, so a quantile is exact to a 400th of that range, and exactly right for the values 0, 0.5 and
1 of a score from 0 to 1. Correlations are Pearson's, each over the rows that have both values.
Memory holds one batch of rows, and some 2 KB a source and column.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prewrite.shards.parts import files_of
from prewrite.shards.reader import ShardSet, refuse_absent
from prewrite.shards.schema import status_key, with_status

BINS = 200
SHOWN = 20
"""Bins of a distribution as it is told, each 1/20 of the range."""

Floats = NDArray[np.float64]


@dataclass
class SourceStats:
    """Rows of the set, or of one source. bins: [columns, 201]; sums, squares: [columns]."""

    columns: int
    rows: int = 0
    statuses: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.bins = np.zeros((self.columns, BINS + 1), np.int64)
        self.sums, self.squares = np.zeros(self.columns), np.zeros(self.columns)

    def add(self, values_RC: Floats, place_RC: Floats, statuses_TR: NDArray[np.str_]) -> None:
        """Count rows: their values (NaN: none), the bins of these, the statuses of each rewrite."""
        self.rows += len(values_RC)
        self.statuses.update(statuses_TR.ravel().tolist())
        self.sums += np.nansum(values_RC, axis=0)
        self.squares += np.nansum(values_RC**2, axis=0)
        for column, places in enumerate(place_RC.T):
            found = places[~np.isnan(places)].astype(np.int64)
            self.bins[column] += np.bincount(found, minlength=BINS + 1)


class Stats:
    """Statistics of the set at `url`; raises ShardError for one that is unfinished or damaged."""

    def __init__(self, url: str) -> None:
        self.shards = ShardSet(url).finished()
        manifest = self.shards.manifest
        names = [*manifest.criteria, "score"] if manifest.criteria else []
        self.columns = [
            f"{text}_{name}" for name in names for text in manifest.texts
        ] + manifest.measures
        self.statuses = {f"{text}_status": text for text in with_status(manifest.texts)}
        self.low, self.high = self._ranges()
        self.whole, self.sources = SourceStats(len(self.columns)), dict[str, SourceStats]()
        # For each pair of columns i, j over the rows with both: rows, Σ i, Σ i², Σ i·j.
        self.pairs = np.zeros((4, len(self.columns), len(self.columns)))
        for part in self.shards.parts:
            for batch in self.shards.batches(part, ["source", *self.statuses, *self.columns]):
                self._add(batch)

    def _ranges(self) -> tuple[Floats, Floats]:
        """The least and the greatest value of each column, from the footers of the parts."""
        low, high = np.full(len(self.columns), np.inf), np.full(len(self.columns), -np.inf)
        for part in (some[0] for some in files_of(self.shards.parts).values()):
            with self.shards.open(part) as file:
                footer = file.metadata
            names = footer.schema.names
            refuse_absent(f"{self.shards.folder.url}/{part.file}", self.columns, names)
            for column, name in enumerate(self.columns):
                for group in range(footer.num_row_groups):
                    known = footer.row_group(group).column(names.index(name)).statistics
                    if known is not None and known.has_min_max:
                        low[column] = min(low[column], known.min)
                        high[column] = max(high[column], known.max)
        return low, high

    def _add(self, batch: pa.RecordBatch) -> None:
        rows = batch.num_rows
        values_RC = np.empty((rows, len(self.columns)))
        for column, name in enumerate(self.columns):
            values_RC[:, column] = batch.column(name).to_numpy(zero_copy_only=False)
        width = np.where(self.high > self.low, self.high - self.low, 1.0)
        place_RC = np.rint((values_RC - self.low) / width * BINS)
        statuses_TR = np.array(
            [
                [status_key(text, status) for status in _texts(batch, name)]
                for name, text in self.statuses.items()
            ]
        )
        sources = np.array(_texts(batch, "source"))
        self.whole.add(values_RC, place_RC, statuses_TR)
        for source in dict.fromkeys(sources.tolist()):
            mine = sources == source
            group = self.sources.setdefault(source, SourceStats(len(self.columns)))
            group.add(values_RC[mine], place_RC[mine], statuses_TR[:, mine])
        known = ~np.isnan(values_RC)
        filled = np.where(known, values_RC, 0.0)
        there = known.astype(np.float64)
        terms = (there, filled, filled**2)
        self.pairs += np.stack([*(term.T @ there for term in terms), filled.T @ filled])

    def report(self) -> dict[str, Any]:
        """All of it as plain values, JSON that `docs/report.md` explains."""
        manifest = self.shards.manifest
        return {
            "set": self.shards.folder.url,
            "rows": self.whole.rows,
            "documents": manifest.documents,
            "corrupted": manifest.corrupted,
            "statuses": dict(sorted(self.whole.statuses.items())),
            "failures": {
                made.name: {reason: found.count for reason, found in made.failures.items()}
                for made in manifest.passes
                if made.failures
            },
            "scores": self._scores(self.whole),
            "correlations": self._correlations(),
            "sources": {
                name: {
                    "rows": group.rows,
                    "statuses": dict(sorted(group.statuses.items())),
                    "scores": self._scores(group),
                }
                for name, group in sorted(self.sources.items())
            },
        }

    def _scores(self, group: SourceStats) -> dict[str, Any]:
        return {name: self._score(group, i) for i, name in enumerate(self.columns)}

    def _score(self, group: SourceStats, column: int) -> dict[str, Any]:
        bins = group.bins[column]
        count = int(bins.sum())
        found: dict[str, Any] = {"rows": count, "null": group.rows - count}
        keys = ("mean", "sd", "min", "p25", "median", "p75", "max")
        if not count:
            return found | dict.fromkeys(keys) | {"histogram": [0] * SHOWN}
        mean = group.sums[column] / count
        sd = max(group.squares[column] / count - mean**2, 0.0) ** 0.5
        ranks = np.minimum(np.array([0, 0.25, 0.5, 0.75, 1]) * count, count - 1).astype(np.int64)
        low, high = self.low[column], self.high[column]
        places = np.searchsorted(np.cumsum(bins), ranks, side="right")
        quantiles = low + places / BINS * (high - low)
        values = [mean, sd, *quantiles]
        shown = np.minimum(np.arange(BINS + 1) * SHOWN // BINS, SHOWN - 1)
        counts = np.bincount(shown, weights=bins, minlength=SHOWN).astype(int).tolist()
        rounded = (round(float(value), 6) for value in values)
        return found | dict(zip(keys, rounded, strict=True)) | {"histogram": counts}

    def _correlations(self) -> dict[str, dict[str, float | None]]:
        rows, sums, squares, products = self.pairs
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = np.sqrt(rows * squares - sums**2)
            found = (rows * products - sums * sums.T) / (spread * spread.T)
        # A column that hardly varies has only rounding left.
        found[(spread <= 1e-6 * rows) | (1e-6 * rows >= spread.T)] = np.nan
        return {
            a: {
                b: None if np.isnan(found[i, j]) else round(float(found[i, j]), 4)
                for j, b in enumerate(self.columns)
            }
            for i, a in enumerate(self.columns)
        }


def _texts(batch: pa.RecordBatch, name: str) -> list[str]:
    values = batch.column(name).to_pylist()
    return ["(none)" if value is None else str(value) for value in values]
