"""What a step of the online phase costs: its parts, overlap, the prefix cache, and TRL beside it.

The policy and the scored set are those of `benchmarks.tiny_policy`; every run is `prewrite train`,
with one thread for the trainer and one for the engines. The judge is a function, and costs next to
nothing. The first steps, in which everything warms up, do not count.

TRL's trainer (`benchmarks/trl_rival.py`) gets the same model, prompts in the same order, judge,
learning rate, two rollouts a prompt (it takes no other number) of the same length. It runs in the
Python that PREWRITE_TRL_PYTHON names, for TRL is no dependency; without it that part is left out.
It has one process with as many threads as there are cores.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.tiny_policy import (
    CONTEXT,
    JUDGE,
    ROLLOUTS,
    command,
    engines,
    metrics,
    prepare,
    train_section,
)

LIKELIHOOD = {"engine": "judge", "criteria": ["likelihood"], "max_context_tokens": CONTEXT}
QUALITY = {"engine": "judge", "criteria": ["quality"], "max_context_tokens": 512}
PARTS = ("train", "wait", "sync", "rollout", "judge")
WARM = 2
RIVAL = {"rate": 1e-4, "beta": 0.1, "tokens": 48}


def main(output: str) -> None:
    """Measure, and write the figures as JSON."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of the commands; each rank has two processes
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        result = measure(folder)
    Path(output).write_text(json.dumps(result), encoding="utf-8")


def measure(folder: Path) -> dict[str, Any]:
    """All of it, with what `prepare` has left in `folder`."""
    small = str(folder / "base/model")
    rival = os.environ.get("PREWRITE_TRL_PYTHON")
    return {
        "rollouts": ROLLOUTS,
        "overlap": _overlap(folder, small, JUDGE, steps=14),
        "cache": {
            name: _cache(folder, small, judge, samples)
            for name, judge, samples in (("likelihood", LIKELIHOOD, 8), ("quality", QUALITY, 2))
        },
        "trl": _against_trl(folder, rival, small, 12, 8) if rival else None,
    }


def _overlap(folder: Path, model: str, judge: dict[str, Any], steps: int) -> dict[str, Any]:
    """Seconds of a step and of its parts, without overlap and with it."""
    samples, found = 8, {}
    for staleness in (0, 1):
        run = _run(folder, f"staleness-{staleness}", model, judge, steps, samples, staleness)
        found[str(staleness)] = _seconds(run[WARM:])
    ratio = found["0"]["step"] / found["1"]["step"]
    return {"steps": steps - WARM, "samples": samples, "staleness": found, "gain": round(ratio, 3)}


def _seconds(steps: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means over steps."""
    parts = {part: round(fmean(step[f"time/{part}"] for step in steps), 3) for part in PARTS}
    return {"step": round(fmean(step["seconds"] for step in steps), 3)} | parts


def _cache(folder: Path, model: str, judge: dict[str, Any], samples: int) -> dict[str, Any]:
    """Requests and prefilled tokens a step, with the prefix caches of both engines and without."""
    found = {}
    for name, cached in (("with", True), ("without", False)):

        def switched(recipe: dict[str, Any], cached: bool = cached) -> None:
            for engine in recipe.values():
                engine["args"]["enable_prefix_caching"] = cached

        run = _run(folder, f"cache-{name}", model, judge, 2, samples, change=switched)
        found[name] = {
            part: {
                "requests": fmean(step[f"work/{part}_requests"] for step in run),
                "prompt_tokens": fmean(step[f"work/{part}_prompt_tokens"] for step in run),
                "prefill_tokens": fmean(
                    step[f"work/{part}_prompt_tokens"] - (step[f"work/{part}_cached_tokens"] or 0)
                    for step in run
                ),
            }
            for part in ("rollout", "judge")
        }
    return {"samples": samples} | found


def _run(
    folder: Path,
    name: str,
    model: str,
    judge: dict[str, Any],
    steps: int,
    batch: int,
    staleness: int = 0,
    change: Callable[[dict[str, Any]], None] = lambda _: None,
    **rollouts: Any,
) -> list[dict[str, Any]]:
    """The steps of a run of one online phase."""
    train = _section(folder, name, model, judge, steps, batch, **rollouts)
    train["rollouts"]["max_staleness"] = staleness
    both = engines(folder)
    both["policy"]["model"] = model
    change(both)
    command("train", folder, train, engines=both)
    return metrics(Path(train["output"]))


def _section(
    folder: Path, name: str, model: str, judge: dict[str, Any], steps: int, batch: int,
    candidates: Sequence[str] = ("original", "rewrite", "rollout"), **rollouts: Any,
) -> dict[str, Any]:  # fmt: skip
    phase = {"name": "late", "objective": "dpo", "until": {"step": steps}}
    number = len(list(folder.glob("speed-*")))
    phase["candidates"] = list(candidates)
    train = train_section(folder, f"speed-{number}-{name}", [phase], 0, RIVAL["rate"])
    train["model"] = {"path": model}
    train["batch"]["samples"] = batch
    train["optimizer"]["warmup_steps"] = 0
    train["rollouts"] |= {"judge": judge, **rollouts}
    return train


def _against_trl(folder: Path, rival: str, model: str, steps: int, samples: int) -> dict[str, Any]:
    """Seconds of all steps but the first ones, for the same prompts in the same order."""
    settings: dict[str, Any] = {"samples": 2, "candidates": ["rollout"]}
    train = _section(folder, "prompts", model, JUDGE, steps, samples, **settings)
    prompts = _prompts(folder, train)
    ours = {}
    for staleness in (0, 1):
        run = _run(folder, f"trl-{staleness}", model, JUDGE, steps, samples, staleness, **settings)
        ours[str(staleness)] = [step["seconds"] for step in run]
    theirs = _rival(folder, rival, model, steps, samples, prompts)
    told = {name: round(sum(some[WARM:]), 2) for name, some in ours.items()}
    told["trl"] = round(sum(theirs["seconds"][WARM:]), 2)
    return {
        "steps": steps - WARM,
        "samples": samples,
        "seconds": told,
        "first": {"0": ours["0"][0], "1": ours["1"][0], "trl": theirs["seconds"][0]},
        "version": theirs["version"],
        "ratios": {name: round(told["trl"] / told[name], 3) for name in ours},
    }


def _prompts(folder: Path, train: dict[str, Any]) -> list[str]:
    """The prefixes that the prompts of the run have, as text."""
    from prewrite.engine.tokenizer import load_tokenizer
    from prewrite.train.config.sections import TrainConfig
    from prewrite.train.feed import open_loader
    from prewrite.train.model.shape import load_shape
    from prewrite.train.online.prompts import prompt_batch

    config = TrainConfig.model_validate(train)
    tokenizer, phase = load_tokenizer(config.model.path), config.curriculum[0]
    with open_loader(config, load_shape(config.model.path)) as loader:
        firsts = range(0, config.steps * config.batch.samples, config.batch.samples)
        asked = [prompt_batch(loader, first, phase, config) for first in firsts]
    return [tokenizer.decode(prompt.tokens) for one in asked for prompt in one.prompts]


def _rival(
    folder: Path, python: str, model: str, steps: int, samples: int, prompts: Sequence[str]
) -> dict[str, Any]:
    """TRL's seconds of each step, and its version."""
    settings = RIVAL | {"model": model, "output": str(folder / "trl"), "samples": samples}
    settings |= {"steps": steps, "prompts": prompts, "longest": 512}
    file = folder / "trl.json"
    file.write_text(json.dumps(settings), encoding="utf-8")
    env = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    done = subprocess.run(
        [python, "benchmarks/trl_rival.py", str(file)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=env | {"PYTHONPATH": "."},
    )
    found = json.loads(done.stdout.splitlines()[-1])
    return dict(found)


if __name__ == "__main__":
    main(sys.argv[1])
