"""What the pass mechanism itself costs: an engine that answers at once, on 100 MB and on 1 GB.

Rows are read, parsed, cut with the quick-start tokenizer, prompted, checked, committed; only the
model is missing. CPU time is that of the process over rows written, its tokenisation measured
apart. Peak memory is that of a fresh process: were it to grow with the corpus, 1 GB would show it.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.instant import Instant
from prewrite.base.config import load
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Work
from prewrite.pipeline.run import run_pass
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.passes import RewritePass
from prewrite.rewrite.rewriter import Rewriter

SIZES_MB = (100, 1000)


class _InstantPass(RewritePass):
    """The rewrite pass without a model."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        """No model to load."""
        assert self.recipe.rewrite
        yield Rewriter({self.recipe.rewrite.engine: Instant()}, self.recipe)


def _corpus(path: Path, megabytes: float) -> None:
    """The sample's documents over and over, each with a number of its own."""
    lines = [
        json.loads(line)
        for file in sorted(Path("configs/sample").glob("*.jsonl"))
        for line in file.read_text(encoding="utf-8").splitlines()
    ]
    size = number = 0
    with open(path, "w", encoding="utf-8") as stream:
        while size < megabytes * 1_000_000:
            record = lines[number % len(lines)]
            text = f"{number} {record['text']}"
            size += stream.write(json.dumps(record | {"text": text}) + "\n")
            number += 1


def _measure(corpus: str, output: str) -> dict[str, float]:
    """One run in this process: rows, seconds, CPU, peak memory."""
    overrides = [f"input.paths=[{corpus}]", f"output={output}", "judge=null"]
    recipe = load(RewriteRecipe, "configs/quickstart.yaml", overrides)
    wall, cpu = time.perf_counter(), time.process_time()
    manifest = run_pass(_InstantPass(recipe), output, RunConfig())
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "rows": manifest.rows,
        "rows_per_s": round(manifest.rows / wall),
        "cpu_us_per_row": round(cpu / manifest.rows * 1e6),
        "peak_mib": round(peak),
    }


def _cutting(corpus: str) -> float:
    """CPU microseconds a row of reading and cutting alone, on the first 5,000 records."""
    overrides = [f"input.paths=[{corpus}]", "input.limit=5000"]
    source = RewritePass(load(RewriteRecipe, "configs/quickstart.yaml", overrides)).source
    splits, rows = source.splits(), 0
    begun = time.process_time()
    for split in splits:
        rows += sum(len(getattr(item, "rows", ())) for item in source.read(split, 0))
    return round((time.process_time() - begun) / rows * 1e6)


def main(output: str) -> None:
    """Measure each size in a fresh process, and write the figures as JSON."""
    result: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES_MB:
            corpus = Path(folder, f"{size}.jsonl")
            _corpus(corpus, size)
            command = [sys.executable, "-m", "benchmarks.mechanism", "one", str(corpus)]
            done = subprocess.run(
                [*command, f"{folder}/set-{size}"], check=True, stdout=subprocess.PIPE, text=True
            )
            result[f"{size}_mb"] = json.loads(done.stdout)
        result["cutting_cpu_us_per_row"] = _cutting(str(Path(folder, f"{SIZES_MB[0]}.jsonl")))
    with open(output, "w", encoding="utf-8") as stream:
        json.dump(result, stream)


if __name__ == "__main__":
    if sys.argv[1] == "one":
        print(json.dumps(_measure(sys.argv[2], sys.argv[3])))
    else:
        main(sys.argv[1])
