"""The judge's part: from one that says "first" to one that sees which text breaks the rule.

For each seed: a warm start (`warm`), then `grpo` on whether verdicts are the label. `trained` has
both orders of a pair in one group, as the trainer does it; `apart` a group an order; `shuffled`
learns from labels dealt out anew. Then the start and the trained judge each judge pools with known
truth.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.prove import counting
from benchmarks.prove.measured import Answered, answers, held_prompts, interval, models_of
from benchmarks.prove.policy import write_start
from benchmarks.prove.pools import gaps
from benchmarks.prove.rewriter import curve
from benchmarks.prove.runs import COUNTS, judge_section, train, write
from benchmarks.prove.warm import warm as warm_start
from prewrite.judge.criteria import load_criterion

ROWS, HELD = 4096, 320
WARM, STEPS = 1000, 80
SETS = {"": "known", "left_out_": "left", "new_": "new"}
"""Measures by the begin of the ids of their rows: kinds and series as trained on, the kind that is
left out, and series that are not trained on."""
KINDS = ("trained", "apart", "shuffled")


def prepare(folder: Path) -> None:
    """The sets, and the policy's tokenizer and shape."""
    write_start(folder / "start", [*counting.texts()])
    rows = counting.rows("train", 1, ROWS, held=False)
    write(folder / "set", rows, "counts", rewritten=True)
    write(folder / "shuffled-set", counting.shuffled(rows, 2), "counts", rewritten=True)
    known = counting.rows("known", 3, HELD, held=True)
    left = counting.rows("left", 4, HELD, held=True, kinds=(counting.LEFT_OUT,))
    new = counting.rows("new", 5, HELD, held=True, of="new")
    write(folder / "held", [*known, *left, *new], "counts", rewritten=True)


def prove(folder: Path, seeds: Sequence[int], steps: int = STEPS, warm: int = WARM) -> Any:
    """Train and measure all of it in `folder`."""
    prepare(folder)
    runs = [run for seed in seeds for run in _train(folder, seed, steps, warm)]
    models = {f"warm-{seed}": folder / f"warm-{seed}" for seed in seeds}
    models |= {name: folder / name / "model" for name, _, _ in runs}
    section = judge_section(folder, "held-out", 0, f"warm-{seeds[0]}", "set", steps)
    measured = asyncio.run(_measure(folder, section, models))
    return {
        "seeds": [
            {"seed": seed} | {kind: measured[f"{kind}-{seed}"] for kind in ("warm", *KINDS)}
            for seed in seeds
        ],
        "curves": {name: curve for name, curve, _ in runs},
        "seconds": {name: seconds for name, _, seconds in runs},
        "steps": steps,
        "warm": warm,
        "rows": HELD,
    }


def _train(
    folder: Path, seed: int, steps: int, warm: int
) -> list[tuple[str, list[float | None], float]]:
    """Name, rewards over the steps and seconds of each run of a seed."""
    start = f"warm-{seed}"
    rows = counting.rows("warm", 6, ROWS, held=False)
    warm_start(folder / "start", folder / start, rows, seed, warm)
    found = []
    for kind in KINDS:
        data = "shuffled-set" if kind == "shuffled" else "set"
        section = judge_section(folder, f"{kind}-{seed}", seed, start, data, steps)
        seconds = train(folder, section, "apart" if kind == "apart" else None)
        found.append((f"{kind}-{seed}", curve(section, load_criterion(COUNTS).name), seconds))
        print(f"{kind}-{seed}: {seconds:.0f} s, reward {found[-1][1]}", flush=True)
    return found


async def _measure(
    folder: Path, section: dict[str, Any], models: dict[str, Path]
) -> dict[str, Any]:
    prompts = held_prompts(section, folder / "held", len(SETS) * HELD)
    engine = models_of(section, 0)
    found = {}
    for name, model in models.items():
        found[name] = _measures(await answers(engine, section, model, prompts))
        if name.startswith(("warm", "trained")):
            found[name]["gap"] = interval(await gaps(engine.engine))
    engine.close()
    return found


def _measures(answered: Sequence[Answered]) -> dict[str, Any]:
    """By pairs, of each of `SETS`."""
    pairs = defaultdict[str, list[Answered]](list)
    for one in answered:
        pairs[one.prompt.pool.row_id].append(one)
    found = dict[str, Any]()
    for name, begin in SETS.items():
        some = [pair for row, pair in pairs.items() if row.startswith(begin)]
        found |= {
            f"{name}both_orders": interval([_both(pair) for pair in some]),
            f"{name}right": interval([_mean(pair) for pair in some]),
            f"{name}says_first": interval(
                [one.value for pair in some for one in pair if one.value is not None]
            ),
        }
    return found | {"unread": interval([float(one.value is None) for one in answered])}


def _both(pair: Sequence[Answered]) -> float:
    """1 where both orders are right."""
    return min(one.reward or 0.0 for one in pair)


def _mean(pair: Sequence[Answered]) -> float:
    return sum(one.reward or 0.0 for one in pair) / len(pair)
