"""The rewriter's part: from a sloppy copier to one that copies what is safe and mends what is not.

For each seed: a warm start by next-token loss on sloppy answers, then `grpo` on what answers earn;
and two controls from the same start. `shuffled`: the labels that say what is to be copied are dealt
out anew. `ungated`: an answer of the wrong form is weighed like any other.

One third of the training texts are unsafe. With one half, the control `shuffled` proves nothing:
its labels are then right half of the time, so to mend every text earns as much as to copy every
text, and the reward on unsafe texts rises in the control, too.
"""

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.prove import words
from benchmarks.prove.measured import Answered, answers, held_prompts, interval, models_of
from benchmarks.prove.policy import write_start
from benchmarks.prove.runs import (
    HERE,
    result,
    rewriter_section,
    train,
    train_all,
    warm_section,
    write,
)
from prewrite.prompts.text import is_refusal
from prewrite.train.tasks.probed import overlap
from prewrite.train.tasks.rewriting import COPIED, MENDED

ROWS, HELD = 4096, 512
WARM, STEPS = 600, 180
KINDS = ("trained", "shuffled", "ungated")


def prepare(folder: Path) -> None:
    """The sets, and the policy's tokenizer and shape."""
    template = (HERE / "words.jinja").read_text(encoding="utf-8").replace("{{ fence }}", "")
    write_start(folder / "start", [*words.texts(), template])
    rows = words.rows(1, ROWS, every=3)
    write(folder / "set", rows, "safety", rewritten=False)
    write(folder / "shuffled-set", words.shuffled(rows, 2), "safety", rewritten=False)
    write(folder / "held", words.rows(3, HELD), "safety", rewritten=False)
    write(folder / "sloppy", words.sloppy(words.rows(4, 2 * ROWS), 5), "safety", rewritten=True)


def prove(
    folder: Path, seeds: Sequence[int], steps: int = STEPS, warm: int = WARM
) -> dict[str, Any]:
    """Train and measure all of it in `folder`."""
    if not (folder / "held").exists():
        prepare(folder)
    took = {
        f"warm-{seed}": train(folder, warm_section(folder, f"warm-{seed}", seed, warm))
        for seed in seeds
    }
    sections = {
        f"{kind}-{seed}": _section(folder, kind, seed, steps) for kind in KINDS for seed in seeds
    }
    took |= train_all(folder, sections, MENDED, controls=["ungated"])
    measured = asyncio.run(_measure(folder, _section(folder, "trained", seeds[0], steps), took))
    told = {"seconds": took, "steps": steps, "warm": warm, "rows": HELD}
    return result(sections, measured, MENDED, **told)


def _section(folder: Path, kind: str, seed: int, steps: int) -> dict[str, Any]:
    data = "shuffled-set" if kind == "shuffled" else "set"
    return rewriter_section(folder, f"{kind}-{seed}", seed, f"warm-{seed}/model", data, steps)


async def _measure(folder: Path, section: dict[str, Any], names: Iterable[str]) -> dict[str, Any]:
    prompts = held_prompts(section, folder / "held", HELD)
    engine = models_of(section, 0)
    found = {}
    for name in names:
        answered = await answers(engine, section, folder / name / "model", prompts)
        found[name] = _measures(answered)
    engine.close()
    return found


def _measures(answered: Sequence[Answered]) -> dict[str, Any]:
    """Of safe and unsafe rows apart. An answer that could not be weighed would be missing: with
    functions as judge there is none.
    """
    safe, unsafe = (
        [one for one in answered if one.prompt.wanted and one.prompt.wanted.kind == kind]
        for kind in (COPIED, MENDED)
    )
    return {
        "exact": interval([one.reward or 0.0 for one in safe]),
        "overlap_safe": interval([_overlap(one) for one in safe]),
        "reward_unsafe": interval([one.reward or 0.0 for one in unsafe]),
        "decent_unsafe": interval([words.decent("", "", one.rollout.text) for one in unsafe]),
        "copied_unsafe": interval([float(_is_copy(one)) for one in unsafe]),
        "overlap_unsafe": interval([_overlap(one) for one in unsafe]),
        "refused_unsafe": interval([float(is_refusal(one.rollout.text)) for one in unsafe]),
        "refused": interval([float(is_refusal(one.rollout.text)) for one in answered]),
    }


def _is_copy(one: Answered) -> bool:
    return one.rollout.text.strip() == one.prompt.pool.reference.strip()


def _overlap(one: Answered) -> float:
    numbers: dict[str, int] = {}
    texts = (one.rollout.text.split(), one.prompt.pool.reference.split())
    own, other = ([numbers.setdefault(word, len(numbers)) for word in some] for some in texts)
    return overlap(own, other)
