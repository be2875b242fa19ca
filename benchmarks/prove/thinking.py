"""The thinker's part: from thoughts that are mostly filler to running sums.

For each seed: a warm start by next-token loss on augmented texts, first on those with useful
thoughts alone, then `grpo` on whether the text
goes on as it did in truth; and a control from the same start, `shuffled`, whose true answers are
dealt out anew. Measured by the code of `prewrite evaluate thoughts`: what the model goes on with
after its own thought, a blank, a generic and a swapped one. A start that is right after a blank
proves nothing, so the proof ends there.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.prove import digits
from benchmarks.prove.measured import interval, models_of
from benchmarks.prove.policy import write_start
from benchmarks.prove.runs import (
    config_of,
    result,
    think_section,
    think_warm_section,
    train,
    train_all,
    write,
)
from prewrite.train.config.rollouts import ProbeConfig
from prewrite.train.config.task import ThinkTask
from prewrite.train.tasks.thinking import THOUGHT
from prewrite.train.thoughts.asked import BLANK, KINDS, Place, PlaceResult, Thinker
from prewrite.train.thoughts.command import places_of

ROWS, HELD = 4096, 512
WARM, STEPS = 700, 120
CHANCE = 0.2
RUNS = ("trained", "shuffled")


def prepare(folder: Path) -> None:
    """The sets, and the policy's tokenizer and shape."""
    write_start(folder / "start", [*digits.texts()])
    rows = digits.rows("train", 1, ROWS)
    write(folder / "set", rows, None, rewritten=True)
    write(folder / "shuffled-set", digits.shuffled(rows, 2), None, rewritten=True)
    write(folder / "augmented", digits.rows("warm", 3, 2 * ROWS), None, rewritten=True)
    write(folder / "held", digits.rows("held", 4, HELD), None, rewritten=True)


def prove(
    folder: Path, seeds: Sequence[int], steps: int = STEPS, warm: int = WARM
) -> dict[str, Any]:
    """Train and measure all of it in `folder`."""
    if not (folder / "held").exists():
        prepare(folder)
    took = {
        f"warm-{seed}": train(folder, think_warm_section(folder, f"warm-{seed}", seed, warm))
        for seed in seeds
    }
    sections = {
        f"{kind}-{seed}": _section(folder, kind, seed, steps) for kind in RUNS for seed in seeds
    }
    first = sections[f"{RUNS[0]}-{seeds[0]}"]
    measured = asyncio.run(_measure(folder, first, [*took]))
    for name, found in measured.items():
        if found[BLANK]["mean"] > CHANCE:
            raise SystemExit(f"{name}: right after a blank thought at {found[BLANK]['mean']:.0%}")
    took |= train_all(folder, sections, THOUGHT)
    measured |= asyncio.run(_measure(folder, first, [*sections]))
    told = {"seconds": took, "steps": steps, "warm": warm, "rows": HELD}
    return result(sections, measured, THOUGHT, **told)


def _section(folder: Path, kind: str, seed: int, steps: int) -> dict[str, Any]:
    data = "shuffled-set" if kind == "shuffled" else "set"
    return think_section(folder, f"{kind}-{seed}", seed, f"warm-{seed}/model", data, steps)


async def _measure(folder: Path, section: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    config = config_of(section)
    assert config.rollouts and isinstance(config.task, ThinkTask)
    probe = ProbeConfig(set=str(folder / "held"), cut_points=HELD)
    rollouts = config.rollouts.model_copy(update={"probe": probe})
    places = places_of(config.model_copy(update={"rollouts": rollouts}))
    models, found = models_of(section, 0), dict[str, Any]()
    for name in names:
        await models.take(folder / name / "model")
        thinker = Thinker(models.engine, config.rollouts, config.task, 0, digits.FILLER)
        found[name] = _measures(places, await thinker(places))
    models.close()
    return found


def _measures(places: Sequence[Place], found: Sequence[PlaceResult]) -> dict[str, Any]:
    """The share of right answers after each kind of thought; a thought of no form is wrong."""
    pairs = [*zip(places, found, strict=True)]
    return {kind: interval([_right(place, one, kind) for place, one in pairs]) for kind in KINDS}


def _right(place: Place, found: PlaceResult, kind: str) -> float:
    true = place.prompt.pool.reference
    text = found.after[kind].text if kind in found.after else None
    return 0.0 if text is None else digits.equal("", true, text)
