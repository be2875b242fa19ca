"""Recipes of the proof, and the commands that run them: `prewrite train`, as a user has it.

With one thread for the trainer and one for the engine, which works a step ahead.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml

from prewrite.engine.config import VllmConfig
from prewrite.shards.manifest import PassInfo
from prewrite.shards.schema import Row
from prewrite.train.config.sections import TrainConfig
from tests.shards.making import write_set

HERE = Path(__file__).parent
WORDS = {"kind": "rewrite", "template": str(HERE / "words.jinja")}
COPIES = {"copies": "original_safety == 1"}
JUDGE = {
    "engine": "policy",
    "criteria": [str(HERE / "decent.yaml"), str(HERE / "tidy.yaml")],
    "combine": "mean",
}
COUNTS = str(HERE / "counting.yaml")
POLITER = str(HERE / "politer.yaml")
BASE = ("original",)

_PART = 512  # rows
_MADE = PassInfo(name="rewrite", fingerprint="", config={"chunking": {"tokens": 16}})


def write(folder: Path, rows: Sequence[Row], criterion: str | None, rewritten: bool) -> None:
    """A finished set of `rows`, with the columns of `criterion`."""
    parts = [rows[at : at + _PART] for at in range(0, len(rows), _PART)]
    given: dict[str, Any] = {} if rewritten else {"rewrites": None}
    write_set(
        str(folder), parts, criteria=[criterion] if criterion else [], passes=[_MADE], **given
    )


def warm_section(folder: Path, name: str, seed: int, steps: int) -> dict[str, Any]:
    """A run that learns the answers of a set from random weights, by next-token loss."""
    return _section(folder, name, seed, "start", "sloppy", 64, 3e-3, steps) | {
        "model": {"path": str(folder / "start"), "init": "scratch"},
        "task": WORDS,
        "curriculum": [
            {
                "name": "warm",
                "objective": {"kind": "nll", "text": "rewrite"},
                "until": {"step": steps},
            }
        ],
    }


def rewriter_section(
    folder: Path, name: str, seed: int, start: str, data: str, steps: int
) -> dict[str, Any]:
    """A run by what rewrites earn."""
    section = _section(folder, name, seed, start, data, 24, 7e-4, steps)
    return section | {"task": WORDS | COPIES} | _online(steps, 14, JUDGE)


def judge_section(
    folder: Path,
    name: str,
    seed: int,
    start: str,
    data: str,
    steps: int,
    criterion: str = COUNTS,
) -> dict[str, Any]:
    """A run by what verdicts earn."""
    section = _section(folder, name, seed, start, data, 16, 4e-4, steps)
    section["data"][0]["criterion"] = criterion
    return section | {"task": {"kind": "judge"}} | _online(steps, 8, None)


def think_warm_section(folder: Path, name: str, seed: int, steps: int) -> dict[str, Any]:
    """A run that learns augmented texts from random weights, all tokens, by next-token loss. First
    those with useful thoughts alone: among fillers some seeds do not learn to sum.
    """
    section = warm_section(folder, name, seed, steps)
    (phase,) = section["curriculum"]
    first = {"name": "useful", "filter": "source == 'useful'", "until": {"step": steps // 2}}
    return section | {
        "data": [{"set": str(folder / "augmented")}],
        "task": {"kind": "continue"},
        "curriculum": [phase | first, phase],
    }


def think_section(
    folder: Path, name: str, seed: int, start: str, data: str, steps: int
) -> dict[str, Any]:
    """A run by how texts go on after thoughts."""
    section = _section(folder, name, seed, start, data, 24, 7e-4, steps)
    judge = {"engine": "policy", "criteria": [str(HERE / "equal.yaml")]}
    task = {"kind": "think", "suffix": 1}
    return section | {"task": task} | _online(steps, 16, judge)


def next_token_section(
    folder: Path, name: str, start: str, data: str, steps: int, texts: Sequence[str] = BASE
) -> dict[str, Any]:
    """A run by next-token loss on texts of documents, from random weights where it begins at
    `start`.
    """
    section = _section(folder, name, 0, start, data, 64, 3e-3, steps)
    scratch = start == "start"
    phase = {
        "name": "learn",
        "objective": [{"kind": "nll", "text": text} for text in texts],
        "until": {"step": steps},
    }
    model = {"path": str(folder / start), "init": "scratch" if scratch else "pretrained"}
    batch = section["batch"] | {"context_tokens": 40}
    return section | {"model": model, "batch": batch, "curriculum": [phase]}


def engine(model: Path, longest: int = 64) -> dict[str, Any]:
    """The policy in vLLM."""
    return {
        "kind": "vllm",
        "model": str(model),
        "dtype": "float32",
        "max_model_len": longest,
        "concurrency": 256,
        "args": {"kv_cache_memory_bytes": 1 << 27},
    }


def engine_config(model: Path) -> VllmConfig:
    """The same as the project reads it."""
    return VllmConfig.model_validate(engine(model))


def config_of(section: dict[str, Any]) -> TrainConfig:
    """A section as the project reads it."""
    return TrainConfig.model_validate(section)


def train(
    folder: Path, section: dict[str, Any], control: str | None = None, learns: bool = True
) -> float:
    """`prewrite train`, and the seconds it took; control: of `benchmarks.prove.changed`. Ends the
    proof where it fails, with the last of what it said. A run that is done, in a folder that was
    kept, is not made again. learns: whether a run that had nothing to learn from has failed.
    """
    took = Path(section["output"]).with_suffix(".seconds")
    if took.exists():
        return float(took.read_text())
    recipe = Path(section["output"]).with_suffix(".yaml")
    model, longest = Path(section["model"]["path"]), section["batch"]["max_seq_len"]
    engines = {"policy": engine(model, longest)}
    sections = {"output": str(folder / "unused"), "engines": engines, "train": section}
    recipe.write_text(yaml.safe_dump(sections), encoding="utf-8")
    module = ["benchmarks.prove.changed", control] if control else ["prewrite", "train"]
    command = [sys.executable, "-m", *module, "--config", str(recipe)]
    begun = time.monotonic()
    done = subprocess.run(
        command,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    said = done.stdout.decode(errors="replace")
    if done.returncode and (learns or "had nothing to learn from" not in said):
        raise SystemExit(f"{' '.join(command)}: {said[-3000:]}")
    took.write_text(f"{time.monotonic() - begun:.1f}")
    return float(took.read_text())


def train_all(
    folder: Path, sections: dict[str, dict[str, Any]], of: str, controls: Sequence[str] = ()
) -> dict[str, float]:
    """Seconds of each run, which is called `KIND-SEED`. controls: kinds of runs that `train` has as
    a control; of: the kind of row whose reward is printed.
    """
    took = {}
    for name, section in sections.items():
        kind = name.partition("-")[0]
        took[name] = train(folder, section, kind if kind in controls else None)
        print(f"{name}: {took[name]:.0f} s, reward {curve(section, of)}", flush=True)
    return took


def metrics(section: dict[str, Any]) -> list[dict[str, Any]]:
    """Every step of a run."""
    lines = (Path(section["output"]) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def result(
    sections: dict[str, dict[str, Any]], measured: dict[str, Any], of: str, **more: Any
) -> dict[str, Any]:
    """What a proof writes. sections: of the runs, called `KIND-SEED`; the start of a seed is
    `warm-SEED`; of: the kind of row whose reward is drawn.
    """
    kinds: dict[str, dict[str, Any]] = {}
    for name in measured:
        kind, _, seed = name.rpartition("-")
        kinds.setdefault(seed, {})[kind] = measured[name]
    return {
        "seeds": [{"seed": int(seed)} | found for seed, found in kinds.items()],
        "curves": {name: curve(section, of) for name, section in sections.items()},
    } | more


def curve(section: dict[str, Any], kind: str) -> list[float | None]:
    """The mean reward of a kind of row in each tenth of a run."""
    told = [step.get(f"rewards/of_{kind}") for step in metrics(section)]
    size = max(1, len(told) // 10)
    tenths = [
        [x for x in told[at : at + size] if x is not None] for at in range(0, len(told), size)
    ]
    return [round(fmean(some), 3) if some else None for some in tenths]


def _section(
    folder: Path,
    name: str,
    seed: int,
    start: str,
    data: str,
    samples: int,
    rate: float,
    steps: int,
) -> dict[str, Any]:
    return {
        "data": [{"set": str(folder / data)}],
        "output": str(folder / name),
        "model": {"path": str(folder / start)},
        "seed": seed,
        "batch": {
            "samples": samples,
            "sequence_tokens": 1024,
            "max_seq_len": 64,
            "context_tokens": 0,
        },
        "optimizer": {"lr": rate, "min_lr": rate / 10, "warmup_steps": min(10, steps)},
        "checkpoint": {"every": 10_000},
    }


def _online(steps: int, tokens: int, judge: dict[str, Any] | None) -> dict[str, Any]:
    """`grpo` on eight rollouts a prompt."""
    rollouts: dict[str, Any] = {
        "engine": "policy",
        "samples": 8,
        "tokens": tokens,
        "max_staleness": 1,
        "tolerance": 1e-3,
    }
    phase = {
        "name": "learn",
        "objective": {"kind": "grpo", "tokens": tokens},
        "candidates": ["rollout"],
        "until": {"step": steps},
    }
    return {"curriculum": [phase], "rollouts": rollouts | ({"judge": judge} if judge else {})}
