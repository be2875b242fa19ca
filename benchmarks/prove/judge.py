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
from benchmarks.prove.runs import COUNTS, judge_section, result, train_all, write
from benchmarks.prove.warm import warm as warm_start
from prewrite.judge.criteria import load_criterion

ROWS, HELD = 4096, 320
WARM, STEPS = 500, 100
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


def prove(
    folder: Path, seeds: Sequence[int], steps: int = STEPS, warm: int = WARM
) -> dict[str, Any]:
    """Train and measure all of it in `folder`."""
    if not (folder / "held").exists():
        prepare(folder)
    starts = {f"warm-{seed}": _start(folder, seed, warm) for seed in seeds}
    sections = {
        f"{kind}-{seed}": _section(folder, kind, seed, steps) for kind in KINDS for seed in seeds
    }
    name_of = load_criterion(COUNTS).name
    took = train_all(folder, sections, name_of, controls=["apart"])
    models = starts | {name: folder / name / "model" for name in sections}
    measured = asyncio.run(_measure(folder, sections[f"trained-{seeds[0]}"], models))
    told = {"seconds": took, "steps": steps, "warm": warm, "rows": HELD}
    return result(sections, measured, name_of, **told)


def _start(folder: Path, seed: int, steps: int) -> Path:
    """The judge before it is trained."""
    start = folder / f"warm-{seed}"
    if not start.exists():
        rows = counting.rows("warm", 6, ROWS, held=False)
        warm_start(folder / "start", start, rows, seed, steps)
    return start


def _section(folder: Path, kind: str, seed: int, steps: int) -> dict[str, Any]:
    data = "shuffled-set" if kind == "shuffled" else "set"
    return judge_section(folder, f"{kind}-{seed}", seed, f"warm-{seed}", data, steps)


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
