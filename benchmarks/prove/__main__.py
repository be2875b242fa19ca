"""`python -m benchmarks.prove [--only PART] [--seeds 0,1,2]` (`make prove`): train the models of
the toys, measure them, and write `results/prove_*.json` and RESULTS.md.
`improve` has one seed.

Needs two cores and no hub. The results say how long the runs took.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.__main__ import RESULTS, write_page
from benchmarks.machine import facts
from benchmarks.prove import improve, judge, rewriter, smollm2, thinking

PARTS: dict[str, Callable[[Path, list[int]], dict[str, Any]]] = {
    "rewriter": rewriter.prove,
    "judge": judge.prove,
    "thinking": thinking.prove,
    "smollm2": lambda folder, seeds: smollm2.prove(folder),
    "improve": lambda folder, seeds: improve.prove(folder),
}


def main() -> None:
    """Prove what was asked for (all parts by default)."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prove", description=__doc__)
    parser.add_argument("--only", choices=PARTS, help="one part")
    parser.add_argument("--seeds", default="0,1,2", help="whole numbers, with commas between them")
    parser.add_argument("--folder", type=Path, help="keeps runs, and goes on with those there")
    given = parser.parse_args()
    seeds = [int(seed) for seed in given.seeds.split(",")]
    for name in [given.only] if given.only else PARTS:
        with tempfile.TemporaryDirectory() as scratch:
            folder = (given.folder or Path(scratch)) / name
            folder.mkdir(parents=True, exist_ok=True)
            write(name, prove(name, folder, seeds))
    write_page()


def prove(name: str, folder: Path, seeds: list[int]) -> dict[str, Any]:
    """The figures of a part, and what they were measured on."""
    found: dict[str, Any] = PARTS[name](folder.resolve(), seeds)
    return found | {"load": round(os.getloadavg()[0], 1), "machine": facts()}


def write(name: str, found: dict[str, Any]) -> None:
    """Keep the figures of a part."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"prove_{name}.json").write_text(json.dumps(found, indent=1), encoding="utf-8")


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"  # of what is started; this process measures
    main()
