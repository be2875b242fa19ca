"""One local worker against two: rows a second of the whole rewrite pass while all workers are at
work, from the last one's first answer to the first one's last. Starting a worker takes the same few
seconds for any corpus, and is left out.

Two engines without a model. The instant one leaves all work to the workers, so two of them need two
free cores. The steady one answers so many requests at a time, each after the same wait, as a GPU or
an endpoint of limited size does: two workers have two of it.
"""

import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.instant import Instant
from benchmarks.mechanism import _corpus
from prewrite.base.config import load
from prewrite.engine.types import Completion, Request
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Work
from prewrite.pipeline.run import run_pass
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.passes import RewritePass
from prewrite.rewrite.rewriter import Rewriter

FILES, PAIRS = 8, 2
MEGABYTES = {"instant": 3, "steady": 1}
AT_A_TIME, SECONDS = 16, 0.2


class _Timed(Instant):
    """Keeps when it answered."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def complete(self, request: Request) -> Completion:
        """Answer."""
        self.times.append(time.time())
        return await super().complete(request)


class _Steady(_Timed):
    """Answers AT_A_TIME requests at a time, each after SECONDS."""

    concurrency = AT_A_TIME

    def __init__(self) -> None:
        super().__init__()
        self.free = asyncio.Semaphore(AT_A_TIME)

    async def complete(self, request: Request) -> Completion:
        """Answer."""
        async with self.free:
            await asyncio.sleep(SECONDS)
            return await super().complete(request)


@dataclass(frozen=True)
class _Pass(RewritePass):
    """The rewrite pass without a model; each worker adds its times to a file in `times`."""

    engine: str = "instant"
    times: str = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        """No model to load."""
        engine = _Timed() if self.engine == "instant" else _Steady()
        assert self.recipe.rewrite
        yield Rewriter({self.recipe.rewrite.engine: engine}, self.recipe)
        with Path(self.times, str(os.getpid())).open("a", encoding="utf-8") as stream:
            stream.writelines(f"{moment}\n" for moment in engine.times)


def _rows_per_s(engine: str, corpus: Path, output: str, workers: int) -> float:
    overrides = [f"input.paths=[{corpus}]", f"output={output}", "judge=null"]
    recipe = load(RewriteRecipe, "configs/quickstart.yaml", overrides)
    times = Path(f"{output}-times")
    times.mkdir()
    job = _Pass(recipe, engine=engine, times=str(times))
    run_pass(job, output, RunConfig(workers=workers, tasks=FILES))
    each = [[float(line) for line in file.read_text().split()] for file in times.iterdir()]
    begun, ended = max(map(min, each)), min(map(max, each))
    rows = sum(begun <= moment <= ended for mine in each for moment in mine)
    return round(rows / (ended - begun), 1)


def _measure(engine: str, folder: Path) -> dict[str, object]:
    """Alternating pairs of one worker and two, over the same files."""
    corpus = folder / engine
    corpus.mkdir()
    for number in range(FILES):
        _corpus(corpus / f"{number}.jsonl", MEGABYTES[engine] / FILES)
    one, two = [], []
    for pair in range(PAIRS):
        one.append(_rows_per_s(engine, corpus, f"{folder}/{engine}-{pair}-1", 1))
        two.append(_rows_per_s(engine, corpus, f"{folder}/{engine}-{pair}-2", 2))
    ratios = [round(b / a, 2) for a, b in zip(one, two, strict=True)]
    return {"one": one, "two": two, "ratios": ratios, "median_ratio": statistics.median(ratios)}


def main(output: str) -> None:
    """Measure both engines, and write the figures as JSON."""
    result: dict[str, object] = {"at_a_time": AT_A_TIME, "seconds": SECONDS, "files": FILES}
    result["load"] = round(os.getloadavg()[0], 1)
    with tempfile.TemporaryDirectory() as folder:
        for engine in MEGABYTES:
            result[engine] = _measure(engine, Path(folder))
    Path(output).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
