"""A tiny policy and a scored set, made out of the sample corpus by the commands that a user has.

SmolLM2-135M rewrites six of its nine documents, and on them the policy of
`evaluation.ablation.tiny` learns from random weights by next-token loss; the last document of each
file is held out. What scores is a function (`evaluation.ablation.known_words` times the shipped
`variety`), so that a run takes seconds a step: on two cores SmolLM2's likelihood takes most of
them.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from prewrite.evaluation.ablation.tiny import MODEL, documents, write_corpus, write_start

CHUNK, CONTEXT = 64, 128  # tokens of the policy
STEPS, RATE = 80, 3e-3
ROLLOUTS = {"samples": 8, "tokens": 48}
JUDGE = {
    "engine": "judge",
    "criteria": ["evaluation/ablation/known_words.yaml", "variety"],
    "combine": "product",
}


def prepare(folder: Path) -> None:
    """A scored set of six documents, and the policy as it is before the phases."""
    write_start(folder / "start", [text for text, _ in documents()["train"]])
    _scored_set(folder)
    _policy(folder)


def _scored_set(folder: Path) -> None:
    write_corpus(folder / "train.jsonl", documents()["train"])
    command(
        "rewrite",
        folder,
        {},
        input={"paths": [str(folder / "train.jsonl")]},
        chunking={"tokenizer": str(folder / "start"), "tokens": CHUNK},
        rewrite={"engine": "judge"},
        judge=JUDGE,
        run={"rows_per_part": 32},
    )


def _policy(folder: Path) -> None:
    """Stopped where it writes words and knows few texts by heart: those it would only repeat."""
    phase = {"name": "base", "objective": "nll", "until": {"step": STEPS}}
    base = train_section(folder, "base", [phase], 0, RATE)
    base["model"] = {"path": str(folder / "start"), "init": "scratch"}
    base["optimizer"] |= {"schedule": "cosine", "warmup_steps": 20}
    del base["rollouts"]
    command("train", folder, base)


def train_section(
    folder: Path, name: str, curriculum: list[dict[str, Any]], seed: int, rate: float
) -> dict[str, Any]:
    """The section `train` of a run that goes to `folder / name`."""
    return {
        "data": [{"set": str(folder / "set")}],
        "output": str(folder / name),
        "model": {"path": str(folder / "base/model")},
        "seed": seed,
        "batch": {
            "samples": 8,
            "sequence_tokens": 640,
            "max_seq_len": 256,
            "context_tokens": CONTEXT,
        },
        "optimizer": {"lr": rate, "schedule": "constant", "warmup_steps": 2},
        "curriculum": curriculum,
        "rollouts": {"engine": "policy", "judge": JUDGE, "tolerance": 1e-3, **ROLLOUTS},
        "checkpoint": {"every": 1000},
    }


def command(name: str, folder: Path, train: dict[str, Any], **sections: Any) -> None:
    """`prewrite NAME` on a recipe; ends the benchmark where it fails."""
    recipe = folder / f"{name}.yaml"
    parts = {"output": str(folder / "set"), "engines": engines(folder), **sections}
    recipe.write_text(yaml.safe_dump(parts | ({"train": train} if train else {})), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "prewrite", name, "--config", str(recipe)], check=True)


def engines(folder: Path) -> dict[str, Any]:
    """The policy, and SmolLM2, which rewrites and judges."""
    one = {"kind": "vllm", "dtype": "float32", "concurrency": 64}
    sizes = {"policy": (str(folder / "base/model"), 512, 2**26), "judge": (MODEL, 2048, 2**28)}
    return {
        name: one
        | {"model": model, "max_model_len": longest, "args": {"kv_cache_memory_bytes": size}}
        for name, (model, longest, size) in sizes.items()
    }


def metrics(run: Path) -> list[dict[str, Any]]:
    """Every step of a run."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
