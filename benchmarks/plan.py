"""The forecast of `prewrite plan` against the run that it speaks of.

The quick-start corpus and model, with short chunks and four requests at a time, so that the plan
sees a part of the corpus only. Plan and run load the engine anew, each in a process of its own.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from prewrite.base.config import load
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.plan import make_plan
from prewrite.shards.reader import ShardSet

RECIPE = ["chunking.tokens=64", "engines.main.concurrency=4"]


def main(output: str) -> None:
    """Measure, and write the figures as JSON."""
    recipe = load(RewriteRecipe, "configs/quickstart.yaml", RECIPE)
    begun = time.perf_counter()
    plan = _planned() if output != "-" else None
    if plan is None:
        made = make_plan(recipe)
        print(json.dumps({"documents": made.documents, "figures": made.forecast}))
        return
    plan["seconds"] = round(time.perf_counter() - begun, 1)
    actual = _run()
    figures = {
        name: {
            "actual": actual[name],
            "forecast": likely,
            "low": low,
            "high": high,
            "error": round(likely / actual[name] - 1, 4) if actual[name] else 0.0,
        }
        for name, (likely, low, high) in plan.pop("figures").items()
        if name in actual
    }
    Path(output).write_text(json.dumps(plan | {"figures": figures}))


def _planned() -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.plan", "-"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _run() -> dict[str, float]:
    """The figures of the run itself."""
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "prewrite",
            "rewrite",
            "--config",
            "configs/quickstart.yaml",
        ]
        begun = time.perf_counter()
        subprocess.run([*command, f"output={folder}/set", *RECIPE], check=True)
        seconds = time.perf_counter() - begun
        shards = ShardSet(f"{folder}/set")
        files = [path for path in Path(folder).rglob("*.parquet") if path.is_file()]
        manifest = shards.manifest
        found = {
            "documents": manifest.documents,
            "rows": manifest.rows,
            "original tokens": sum(r["original_tokens"] for r in shards.rows(["original_tokens"])),
            "hours": seconds / 3600,
            "output bytes": sum(path.stat().st_size for path in files),
        }
        for made in manifest.passes:
            for key in ("prompt_tokens", "cached_tokens", "output_tokens"):
                found[f"{made.name}: {key.replace('_', ' ')}"] = getattr(made.usage, key)
        return found


if __name__ == "__main__":
    main(sys.argv[1])
