"""The metrics of a run as columns, and what is drawn of them.

A run that is going on may be read; lines that are torn or damaged are left out. All steps are in
memory: some 100 bytes a number.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prewrite.base.errors import InputError
from prewrite.base.files import Folder
from prewrite.train.metrics import parse
from prewrite.train.names import CONTINUATIONS, METRICS
from prewrite.train.report.pools import PROBE, pools

SAMPLES = "samples"
_KEYS = ("step", "phase")

POINTS = 300
"""Points of a line at most; each is a mean over as many steps as it takes."""

Column = NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """A run's metrics. step: of each line; phases: (name, first step, last step), in order;
    columns: metric → a value a line, NaN where there is none; nulls: lines with a value that was
    not finite, or a mean over nothing, by metric; continuations: what the model said at the end,
    None before that; pools, probed: see `train.report.pools`; damaged: lines that are left
    out, in a sentence.
    """

    url: str
    step: Column
    phases: list[tuple[str, float, float]]
    columns: dict[str, Column]
    nulls: dict[str, int]
    continuations: str | None
    pools: list[tuple[int, str]]
    probed: list[tuple[int, str]]
    damaged: str | None = None

    @cached_property
    def hours(self) -> Column:
        """Since the start at each line, without what lies between two runs of the command."""
        return np.asarray(np.nancumsum(self.columns.get("seconds", self.step * np.nan)) / 3600)

    def last(self, metric: str) -> float | None:
        """The newest value; None where there is none."""
        values = self.columns.get(metric, np.empty(0))
        known = values[~np.isnan(values)]
        return float(known[-1]) if len(known) else None

    def mean(self, metric: str, phase: tuple[str, float, float] | None = None) -> float | None:
        """Over the run, or the steps of a phase; None where there is no value."""
        values = self.columns.get(metric, np.empty(0))
        if phase and len(values):
            values = values[(self.step >= phase[1]) & (self.step <= phase[2])]
        known = values[~np.isnan(values)]
        return float(known.mean()) if len(known) else None


def read_run(url: str) -> Run:
    """The run in the folder `url`; InputError where there are no metrics, or no line is whole."""
    folder = Folder(url)
    data = folder.read(METRICS)
    if data is None:
        raise InputError(f"{url}: no training run here (there is no {METRICS})")
    found = parse(data)
    lines = found.values
    if not lines:
        damaged = found.told(f"{url}/{METRICS}")
        raise InputError(damaged or f"{url}/{METRICS}: found no step; wait for the first")
    names = dict.fromkeys(key for line in lines for key in line)
    text = folder.read(CONTINUATIONS)
    return Run(
        folder.url,
        np.array([line["step"] for line in lines], np.float64),
        _phases(lines),
        # None becomes NaN.
        {n: np.array([line.get(n) for line in lines], np.float64) for n in names if n not in _KEYS},
        dict(Counter(key for line in lines for key, value in line.items() if value is None)),
        text.decode("utf-8", "replace") if text else None,
        pools(url),
        pools(url, PROBE),
        found.told(METRICS),
    )


def _phases(lines: Sequence[dict[str, Any]]) -> list[tuple[str, float, float]]:
    """Name, first and last step of each, in order."""
    found = []
    for name, inside in groupby(lines, key=itemgetter("phase")):
        steps = [line["step"] for line in inside if line["step"]] or [1]
        found.append((name, steps[0], steps[-1]))
    return found


@dataclass(frozen=True)
class Curve:
    """A metric over something, in at most POINTS points: means, lowest and highest of each."""

    x: Column
    mean: Column
    low: Column
    high: Column


def curve(x: Column, values: Column) -> Curve:
    """`values` over `x`, NaN left out; neighbours are taken together where there are too many."""
    known = ~np.isnan(values)
    x, values = x[known], values[known]
    groups = np.array_split(np.arange(len(x)), min(len(x), POINTS)) if len(x) else []
    return Curve(*(
        np.array([function(side[group]) for group in groups])
        for side, function in ((x, np.mean), (values, np.mean), (values, np.min), (values, np.max))
    ))  # fmt: skip


def groups(runs: Sequence[Run]) -> dict[str, list[str]]:
    """Heading → the metrics below it, of all runs: by what stands before the `/`.

    A group that is not known here has a heading of its own name.
    """
    found: dict[str, list[str]] = {"loss": [], "optimizer": []}
    for name in dict.fromkeys(key for run in runs for key in run.columns if key != SAMPLES):
        prefix, slash, _ = name.partition("/")
        heading = prefix if slash else _ALONE.get(name, "speed")
        found.setdefault(heading, []).append(name)
    for heading in ("data", "speed"):  # last
        found[heading] = found.pop(heading, [])
    return {heading: metrics for heading, metrics in found.items() if metrics}


_ALONE = {
    "loss": "loss",
    "learnt_cut_points": "data",
    "failed_verdicts": "data",
    **dict.fromkeys(("learning_rate", "grad_norm", "skipped_steps", "empty_steps"), "optimizer"),
}
