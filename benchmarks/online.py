"""Does the online phase teach? Online DPO against offline DPO going on, by a judge that can tell.

The judge is a function: the share of words that are known times the variety (1 - repeated
4-grams); either alone is easily had, by repeating "the" or by writing noise. Policy and scored set
are those of `benchmarks.tiny_policy`. For each seed two runs of the same length, with the same
samples in the same order: next-token loss on the better text, offline DPO, and then online DPO or
offline DPO going on. Everything runs by the commands that a user has. At places in documents that
were not trained on both models then write continuations with the same seeds, which the judge
scores (`benchmarks.held_out`).

Beside the score stand what it is made of, and what the judge does not see: length, share of texts
that ended, and the loss on the held-out originals themselves. Intervals: 95 %, a bootstrap over
places of the difference at a place. Places in one document are taken as independent: too narrow, if
anything.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.held_out import CONTINUATIONS, Measured, measure
from benchmarks.tiny_policy import ROLLOUTS, command, metrics, prepare, train_section

SEEDS = (0, 1, 2)
STEPS = {"best": 10, "prefer": 20, "late": 50}
RATE = 3e-4


def main(output: str) -> None:
    """Train, compare, and write the figures as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        result = compare(Path(folder))
    Path(output).write_text(json.dumps(result), encoding="utf-8")


def compare(folder: Path) -> dict[str, Any]:
    """All of it, in `folder`."""
    begun = time.monotonic()
    prepare(folder)
    runs = [(seed, kind) for seed in SEEDS for kind in ("offline", "online")]
    for seed, kind in runs:
        train = train_section(folder, f"{kind}-{seed}", three_phases(kind), seed, RATE)
        command("train", folder, train)
    for seed in SEEDS:
        _same_until_the_late_phase(folder, seed)
    models = {"base": folder / "base/model"}
    models |= {f"{kind}-{seed}": folder / f"{kind}-{seed}/model" for seed, kind in runs}
    found = asyncio.run(measure(folder, models))
    return {
        "seeds": [_difference(found, seed) for seed in SEEDS],
        "all": _interval(np.mean([_gains(found, seed) for seed in SEEDS], axis=0)),
        "models": {name: asdict(one) for name, one in found.items()},
        "late": [_late(folder / f"online-{seed}") for seed in SEEDS],
        "steps": STEPS,
        "rate": RATE,
        "rollouts": ROLLOUTS,
        "continuations": CONTINUATIONS,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "how": f"The whole took {(time.monotonic() - begun) / 60:.1f} minutes.",
    }


def three_phases(kind: str) -> list[dict[str, Any]]:
    """The curriculum; its last phase is online or goes on offline."""
    best = STEPS["best"]
    prefer, late = best + STEPS["prefer"], best + STEPS["prefer"] + STEPS["late"]
    last = {"candidates": ["original", "rewrite", "rollout"]} if kind == "online" else {}
    return [
        {"name": "best", "objective": "rf_nll", "until": {"step": best}},
        {"name": "prefer", "objective": "dpo", "until": {"step": prefer}},
        {"name": "late", "objective": "dpo", "until": {"step": late}, **last},
    ]


def _same_until_the_late_phase(folder: Path, seed: int) -> None:
    """AssertionError unless both runs of a seed had the same losses before the last phase."""
    first = STEPS["best"] + STEPS["prefer"]
    ours, theirs = (
        [step["loss"] for step in metrics(folder / f"{kind}-{seed}")[:first]]
        for kind in ("offline", "online")
    )
    assert len(ours) == first and ours == theirs, (ours, theirs)


def _late(run: Path) -> dict[str, Any]:
    """What the online phase said of itself, at its beginning and its end: means over a fifth."""
    steps = [step for step in metrics(run) if "rollouts/pools" in step]
    names = ("chosen_score", "rejected_score", "spread", "chosen_share", "repetition", "length")
    fifth = max(1, len(steps) // 5)
    told = {f"rollouts/{name}": name for name in names} | {"policy/reference_kl": "reference_kl"}
    return {
        when: {name: _mean(some, key) for key, name in told.items() if key in some[0]}
        for when, some in (("first", steps[:fifth]), ("last", steps[-fifth:]))
    }


def _mean(steps: Sequence[dict[str, Any]], key: str) -> float | None:
    told = [step[key] for step in steps if step[key] is not None]
    return round(fmean(told), 4) if told else None


def _gains(found: dict[str, Measured], seed: int) -> NDArray[np.float64]:
    """Online minus offline at each place."""
    return np.subtract(found[f"online-{seed}"].score_P, found[f"offline-{seed}"].score_P)


def _difference(found: dict[str, Measured], seed: int) -> dict[str, Any]:
    return {"seed": seed} | _interval(_gains(found, seed))


def _interval(gain_P: NDArray[np.float64]) -> dict[str, float]:
    """The mean difference with its percentiles over 10,000 draws of places."""
    draw = np.random.default_rng(0).integers(0, len(gain_P), (10_000, len(gain_P)))
    low, high = np.percentile(gain_P[draw].mean(1), (2.5, 97.5))
    return {
        "places": len(gain_P),
        "mean": float(gain_P.mean()),
        "low": float(low),
        "high": float(high),
    }


if __name__ == "__main__":
    main(sys.argv[1])
