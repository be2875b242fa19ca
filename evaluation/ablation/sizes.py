"""What the tiny scale of the ablations changes in the recipes of configs/ablations, key by key.

Sizes, where things lie, and who judges: a model that a laptop runs cannot tell good text from bad,
so a function scores the rollouts (`evaluation.ablation.known_words` times `variety`), and SmolLM2
stands where an evaluation has a large judge. Nothing here says what a variant learns, from which
texts, or how many rollouts it samples.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prewrite.base.config import load
from prewrite.evaluation.ablation.tiny import MODEL
from prewrite.evaluation.command_steps import Plain

FOLDER = Path("configs/ablations")
SHARED = str(FOLDER / "paper.yaml")
EVALUATION = str(FOLDER / "evaluation.yaml")
BASE = "scratch-next-token"  # the variant that makes the base model out of nothing
JUDGE = {
    "criteria": [str(Path(__file__).with_name("known_words.yaml")), "variety"],
    "combine": "product",
}
STEPS = {"base": 80, "continued": 20, "scratch": 40}
_RATES = {"continued": 3e-4, "scratch": 3e-3}
_WARMUP = {"continued": 2, "scratch": 10}
_LARGE = ("llama-8b", "judge-120b", "judge-70b")  # engines that SmolLM2 stands in for

SizeOverrides = dict[str, Any]
"""Dotted key → value."""


def read(variant: str) -> Plain:
    """The recipe of a variant, at the paper's scale."""
    return load(Plain, str(FOLDER / f"{variant}.yaml"))


def variants() -> list[str]:
    """All variants, as the table has them."""
    evaluate = load(Plain, EVALUATION).evaluate
    return [name for name in evaluate["models"] if name != evaluate["base"]]


def overrides(sizes: Mapping[str, Any]) -> list[str]:
    """The sizes as a command takes them; JSON is YAML."""
    return [f"{key}={json.dumps(value)}" for key, value in sizes.items()]


def _common(folder: Path) -> SizeOverrides:
    """The set, and the engines. folder: where all of it lies."""
    large = _engine(MODEL, longest=2048, concurrency=32, memory=2**28)
    policy = _engine(str(folder / "base/model"), longest=512, concurrency=64, memory=2**26)
    return {
        "output": str(folder / "set"),
        "run": {"max_failed": 1},  # few of SmolLM2's rewrites are usable; the summaries count them
        **{f"engines.{name}": large for name in _LARGE},
        "engines.policy": policy,
    }


def _engine(model: str, longest: int, concurrency: int, memory: int) -> SizeOverrides:
    return {
        "kind": "vllm",
        "model": model,
        "dtype": "float32",
        "max_model_len": longest,
        "concurrency": concurrency,
        "args": {"kv_cache_memory_bytes": memory},
    }


def rewriting(folder: Path, part: str) -> SizeOverrides:
    """Of `prewrite rewrite` on the documents `train` or `held`."""
    sizes = _common(folder) | {
        "input.paths": [str(folder / f"{part}.jsonl")],
        "input.layout": "auto",
        "input.filter": None,
        "input.share": None,
        "input.limit": None,
        "chunking.tokenizer": str(folder / "start"),
        "chunking.tokens": 64,
        "chunking.exact": False,  # the documents are too short for two full chunks
    }
    if part == "train":
        return sizes | {f"judge.{key}": value for key, value in JUDGE.items()}
    # Few documents: they are continued at every chunk, not at the one that is drawn. Nobody needs
    # rewrites of them.
    return sizes | {
        "output": str(folder / part),
        "chunking.cuts": "every",
        "rewrite": None,
        "judge": None,
    }


def training(folder: Path, variant: str) -> SizeOverrides:
    """Of `prewrite train` on a variant."""
    recipe = read(variant).train
    kind = "scratch" if recipe["model"].get("init") == "scratch" else "continued"
    rate = _RATES[kind]
    sizes = _common(folder) | {
        "train.data.0.set": str(folder / "set"),
        "train.output": str(folder / variant),
        "train.model.path": str(folder / "base/model"),
        "train.model.dtype": "float32",
        "train.batch": {
            "samples": 8, "sequence_tokens": 1024, "max_seq_len": 256, "context_tokens": 128
        },
        "train.optimizer.lr": rate,
        "train.optimizer.min_lr": rate / 10,
        "train.optimizer.warmup_steps": _WARMUP[kind],
        "train.curriculum.0.until.step": STEPS[kind],
        "train.rollouts.tokens": 48,
    }  # fmt: skip
    if recipe["rollouts"]["judge"]:
        sizes |= {f"train.rollouts.judge.{key}": value for key, value in JUDGE.items()}
    return sizes


def base(folder: Path) -> SizeOverrides:
    """Of `prewrite train` on `BASE`, for the model that the others start from: all that there is
    of the documents, stopped where it writes words and knows few texts by heart.
    """
    start = str(folder / "start")
    return training(folder, BASE) | {
        "train.data.0.filter": None,
        "train.output": str(folder / "base"),
        "train.model.path": start,
        "engines.policy.model": start,
        "train.optimizer.warmup_steps": min(20, STEPS["base"]),
        "train.curriculum.0.until.step": STEPS["base"],
    }


def evaluating(folder: Path, names: list[str]) -> SizeOverrides:
    """Of `prewrite evaluate` on the base and the variants `names`."""
    criteria = ["quality", "coherence", "likelihood"]
    return _common(folder) | {
        "evaluate.models": {name: str(folder / name / "model") for name in ["base", *names]},
        "evaluate.judge.criteria": criteria,
        "evaluate.judge.readout": "distribution",
        "evaluate.judge.sampling": {},
        "evaluate.judge.sampling_by_criterion": {},
        "evaluate.prefixes": {"ordinary": {"set": str(folder / "held"), "cut_points": 16}},
        "evaluate.tokens": 48,
        "evaluate.context_tokens": 128,
        "evaluate.sampled.continuations": 0,
        "evaluate.output": str(folder / "evaluation"),
        "evaluate.leaderboard": str(folder / "leaderboard.jsonl"),
    }
