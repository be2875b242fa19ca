"""From measured stages to the cost of a whole run, with a range.

A stage (rewriting, judging) was put some documents of the sample: what they took a row, times the
rows of the corpus, over the speed of the engines. The forecast takes everything at its likely
value. The range holds nine in ten of 1,000 draws, in which the sample of the corpus, the documents
put to the engines and the speeds vary. It knows nothing of a machine that slows down later.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prewrite.rewrite.meter import Speed
from prewrite.rewrite.sample import FIELDS, CorpusSample
from prewrite.shards.manifest import Usage

_DRAWS = 1000
_LOW, _HIGH = 5, 95  # percentiles


@dataclass(frozen=True)
class Server:
    """An engine of a stage. requests: put to it; gpus: that it occupies; processes: how many of it
    work side by side.
    """

    speed: Speed
    requests: int
    gpus: int
    processes: int


@dataclass(frozen=True)
class MeasuredPass:
    """A pass over some documents. rows: asked about, of each; usage: of each; seconds: for all of
    them. bytes_per_token: of its files, a token of the originals; bytes_per_part: besides.
    """

    name: str
    rows: Sequence[int]
    usage: Sequence[Usage]
    servers: Sequence[Server]
    seconds: float
    bytes_per_token: float
    bytes_per_part: float


@dataclass(frozen=True)
class StartUp:
    """What comes before the first row: seconds to load the engines, and the GPUs held meanwhile."""

    seconds: float
    gpus: int


Figures = dict[str, float]

Forecast = dict[str, tuple[float, float, float]]
"""Each figure: likely, low, high."""


def forecast(
    sample: CorpusSample,
    stages: Sequence[MeasuredPass],
    start: StartUp,
    rows_per_part: int,
    seed: int = 0,
) -> Forecast:
    """The figures of a whole run over the corpus of `sample`."""
    likely = _draw(sample, stages, start, rows_per_part, None)
    rng = np.random.default_rng(seed)
    draws = [_draw(sample, stages, start, rows_per_part, rng) for _ in range(_DRAWS)]
    found: Forecast = {}
    for name, value in likely.items():
        low, high = np.percentile([draw[name] for draw in draws], [_LOW, _HIGH])
        found[name] = (value, min(float(low), value), max(float(high), value))
    return found


def _draw(
    sample: CorpusSample,
    stages: Sequence[MeasuredPass],
    start: StartUp,
    rows_per_part: int,
    rng: np.random.Generator | None,
) -> Figures:
    """The figures at their likely values, or with `rng` of one draw."""
    corpus = dict(zip(FIELDS, map(float, sample.total(rng)), strict=True))
    figures = {name: value for name, value in corpus.items() if name != "asked"}
    figures["original tokens"] = figures.pop("tokens")
    seconds, gpu_seconds, size = start.seconds, start.seconds * start.gpus, 0.0
    for stage in stages:
        figures |= _tokens(stage, corpus, sample.whole, rng)
        speeds = [_speed(server, rng) for server in stage.servers]
        longest, held = _seconds(stage, corpus["asked"], speeds)
        seconds, gpu_seconds = seconds + longest, gpu_seconds + held
        parts = max(sample.files, corpus["rows"] / rows_per_part)
        size += stage.bytes_per_token * corpus["tokens"] + stage.bytes_per_part * parts
    figures["hours"], figures["GPU-hours"] = seconds / 3600, gpu_seconds / 3600
    figures["output bytes"] = size
    return figures


def _tokens(
    stage: MeasuredPass, corpus: Figures, whole: bool, rng: np.random.Generator | None
) -> Figures:
    """Prompt and output tokens of a stage over the whole corpus."""
    count = len(stage.rows)
    chosen = np.arange(count)
    # Where all of the corpus was put to the engines there is nothing to draw from.
    if rng and not (whole and count == corpus["documents"]):
        chosen = rng.integers(0, count, count)
    scale = corpus["asked"] / max(_sum(stage.rows, chosen), 1)
    found = {}
    for key in ("prompt_tokens", "cached_tokens", "output_tokens"):
        values = [getattr(usage, key) for usage in stage.usage]
        if None in values:
            continue  # endpoints need not tell what they had cached
        found[f"{stage.name}: {key.replace('_', ' ')}"] = scale * _sum(values, chosen)
    return found


def _speed(server: Server, rng: np.random.Generator | None) -> float:
    speed = server.speed
    if rng and speed.high > speed.low:
        return float(rng.triangular(speed.low, speed.likely, speed.high))
    return speed.likely


def _seconds(stage: MeasuredPass, asked: float, speeds: Sequence[float]) -> tuple[float, float]:
    """Seconds of a stage, those of its slowest engine; and of all engines, times their GPUs."""
    scale = asked / max(sum(stage.rows), 1)
    if not stage.servers:
        return stage.seconds * scale, 0.0
    alone = [s.requests * scale / speed for s, speed in zip(stage.servers, speeds, strict=True)]
    pairs = list(zip(stage.servers, alone, strict=True))
    return max(t / s.processes for s, t in pairs), sum(t * s.gpus for s, t in pairs)


def _sum(values: Sequence[int], chosen: NDArray[np.int64]) -> float:
    return float(np.asarray(values, np.float64)[chosen].sum())
