"""What it costs to check what is read: CPU seconds a GB on disk, beside reading it unchecked.

A set of the rewrite pass over 50 MB of words drawn from the sample corpus, and a checkpoint of the
quick-start model after one step. Both lie in the page cache, so that no disk is measured; rounds
alternate, and each ratio is taken within its round. Unchecked is what the same library reads
without asking: blocks of a file, or pyarrow's record batches without page checksums.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml

from benchmarks.loader import _words
from benchmarks.mechanism import _InstantPass
from prewrite.base.config import load
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.run import run_pass
from prewrite.rewrite.config import RewriteRecipe
from prewrite.shards.reader import ShardSet
from prewrite.shards.verify import verify
from prewrite.train.config.sections import ParallelConfig
from tests.train.small import make_set, settings

MEGABYTES, ROUNDS, BLOCK = 50, 5, 1 << 23
MODEL = "models/smollm2-135m-instruct"
Do = Callable[[], object]


def _compared(alone: Do, checked: Do, size: int) -> dict[str, float]:
    """CPU seconds a GB of both, and the ratio, medians."""
    pairs = [(_cpu(alone), _cpu(checked)) for _ in range(ROUNDS)]
    return {
        "alone": round(statistics.median(a for a, _ in pairs) / size * 1e9, 2),
        "checked": round(statistics.median(b for _, b in pairs) / size * 1e9, 2),
        "ratio": round(statistics.median(b / a for a, b in pairs), 2),
    }


def _cpu(do: Do) -> float:
    begun = time.process_time()
    do()
    return time.process_time() - begun


def _corpus(path: Path) -> None:
    """Documents of some 2,000 characters."""
    draw, words = np.random.default_rng(0), np.array(_words())
    with open(path, "w", encoding="utf-8") as stream:
        while stream.tell() < MEGABYTES * 1_000_000:
            text = " ".join(draw.choice(words, 350))
            stream.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def _blocks(paths: Sequence[Path]) -> int:
    """Read files as they are."""
    size = 0
    for path in paths:
        with open(path, "rb") as stream:
            while block := stream.read(BLOCK):
                size += len(block)
    return size


def _unchecked(paths: Sequence[Path], columns: list[str] | None = None) -> int:
    """Read rows by pyarrow alone."""
    files = (pq.ParquetFile(path, page_checksum_verification=False) for path in paths)
    batches = (batch for file in files for batch in file.iter_batches(1024, columns=columns))
    return sum(batch.num_rows for batch in batches)


def _set(folder: Path) -> dict[str, Any]:
    """The checks of a set."""
    _corpus(folder / "corpus.jsonl")
    url = str(folder / "set")
    words = [f"input.paths=[{folder}/corpus.jsonl]", f"output={url}", "judge=null"]
    recipe = load(RewriteRecipe, "configs/quickstart.yaml", words)
    run_pass(_InstantPass(recipe), url, RunConfig())
    parts = ShardSet(url).parts
    paths = [Path(url, part.name) for part in parts]
    size = sum(path.stat().st_size for path in paths)

    def rows(columns: list[str] | None = None) -> int:
        shards = ShardSet(url)
        batches = (batch for part in parts for batch in shards.batches(part, columns))
        return sum(batch.num_rows for batch in batches)

    def digests() -> list[str]:
        folder = ShardSet(url).folder
        return [folder.sha256(part.name) for part in parts]

    if rows() != _unchecked(paths) or verify(url)["problems"]:
        raise SystemExit(f"{url}: the set to be measured is not whole")
    return {
        "mb": round(size / 1e6),
        "parts": len(parts),
        "column": _compared(lambda: _unchecked(paths, ["chunk"]), lambda: rows(["chunk"]), size),
        "rows": _compared(lambda: _unchecked(paths), rows, size),
        "sha256": _compared(lambda: _blocks(paths), digests, size),
        "verify": _compared(lambda: _unchecked(paths), lambda: verify(url), size),
    }


def _checkpoint(folder: Path) -> dict[str, Any]:
    """The digests of a checkpoint; a reason where this version keeps none."""
    try:
        digests, saved = (
            import_module("prewrite.train.digests"),
            import_module("prewrite.train.saved"),
        )
    except ImportError as error:
        return {"missing": str(error)}
    from prewrite.train import parallel

    make_set(folder / "set")
    phase = {"name": "imitate", "objective": "nll", "until": {"step": 1}}
    rates = {"lr": 1e-5, "schedule": "constant", "warmup_steps": 0}
    train = settings(folder, curriculum=[phase], model={"path": MODEL}, optimizer=rates)
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump({"output": "unused", "train": train}))
    subprocess.run([sys.executable, "-m", "prewrite", "train", "--config", recipe], check=True)
    (path,) = Path(train["output"], "checkpoints").glob("step-*")
    files = saved.read(path).files
    paths = [path / name for name in files]
    size = sum(one.stat().st_size for one in paths)
    with parallel.processes(ParallelConfig(), 0):
        if digests.faults(path, files):
            raise SystemExit(f"{path}: the checkpoint to be measured is not whole")
        found = _compared(lambda: _blocks(paths), lambda: digests.faults(path, files), size)
    return {"mb": round(size / 1e6), **found}


def measure() -> dict[str, Any]:
    """The figures."""
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        return {"set": _set(Path(first)), "checkpoint": _checkpoint(Path(second))}
