"""SmolLM2-135M for two steps of each task through the shipped templates: a check of the machinery,
and no claim that it learns.

What the policy was asked is compared, id for id, with what the rewrite pass and the judge pass ask
about the same rows; and the rewards are read.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.prove.passes import CONTEXT, rewrites_asked, verdicts_asked
from benchmarks.prove.runs import config_of, metrics, train, write
from prewrite.evaluation.ablation.tiny import MODEL, documents
from prewrite.shards.schema import Row
from prewrite.train.feed import open_loader
from prewrite.train.messages import RolloutGroup, RolloutPrompt
from prewrite.train.model.shape import load_shape
from prewrite.train.online import kept_pools
from prewrite.train.online.prompts import prompt_batch

STEPS, SAMPLES, ROLLOUTS, TOKENS = 2, 2, 2, 32
TEMPLATE, CRITERION = "safety", "quality"
WORDS = 18  # of a chunk


def prove(folder: Path) -> dict[str, Any]:
    """Run both tasks, and compare; AssertionError where prompts differ or no reward was read."""
    rows = _rows()
    write(folder / "set", rows, CRITERION, rewritten=True)
    asked = {
        "rewrite": asyncio.run(rewrites_asked(MODEL, rows, TEMPLATE)),
        "judge": asyncio.run(verdicts_asked(MODEL, rows, CRITERION)),
    }
    found = {}
    for kind, ids in asked.items():
        section = _section(folder, kind)
        seconds = train(folder, section, learns=False)  # all its verdicts may be unreadable
        prompts = _prompts(section)
        groups = kept_pools.load(str(folder / kind / "rollouts/pools"))
        assert {one.digest for one in prompts} == {one.prompt for one in groups.values()}
        assert {one.tokens for one in prompts} <= ids, "prompts differ from those of the pass"
        found[kind] = _told(prompts, [*groups.values()], seconds, section)
    return found


def _told(
    prompts: Sequence[RolloutPrompt],
    groups: Sequence[RolloutGroup],
    seconds: float,
    section: dict[str, Any],
) -> dict[str, Any]:
    scores = [score for one in groups for score in one.scores.values()]
    forms = sum((Counter(one.counts) for one in groups), Counter[str]())
    assert scores, "no reward was read"
    return {
        "prompts": len(prompts),
        "longest": max(len(one.tokens) for one in prompts),
        "rollouts": sum(len(one.rollouts) for one in groups),
        "rewards": len(scores),
        "unreadable": forms["form:unparsable"],
        "mean": round(sum(scores) / len(scores), 3),
        "steps": len(metrics(section)),
        "seconds": round(seconds, 1),
    }


def _rows() -> list[Row]:
    """Documents of two chunks with a spoilt twin each: the words of the chunk turned round."""
    found = []
    for number, (text, source) in enumerate(documents()["train"]):
        words = text.split()
        chunks = [" ".join(words[at : at + WORDS]) + " " for at in (0, WORDS)]
        for chunk, original in enumerate(chunks):
            found.append(
                {
                    "id": f"{number}-{chunk}",
                    "doc_id": str(number),
                    "source": source,
                    "chunk": chunk,
                    "chunks": len(chunks),
                    "original": original,
                    "original_tokens": 2 * WORDS,
                    "rewrite": " ".join(original.split()[::-1]) + " ",
                    "rewrite_status": "ok",
                    "meta": json.dumps({}),
                    f"original_{CRITERION}": 1.0 - chunk / 2,
                    f"rewrite_{CRITERION}": 0.0,
                }
            )
    return found


def _section(folder: Path, kind: str) -> dict[str, Any]:
    task: dict[str, Any] = {"kind": kind, "max_context_tokens": CONTEXT}
    data: dict[str, Any] = {"set": str(folder / "set")}
    rollouts: dict[str, Any] = {
        "engine": "policy",
        "samples": ROLLOUTS,
        "tokens": TOKENS,
        "dump_every": 1,
    }
    if kind == "rewrite":
        task |= {"template": TEMPLATE, "copies": f"original_{CRITERION} == 1"}
        rollouts["judge"] = {"engine": "policy", "criteria": ["variety"]}
    else:
        data["criterion"] = CRITERION
    phase = {
        "name": "learn",
        "objective": {"kind": "grpo", "tokens": TOKENS},
        "candidates": ["rollout"],
        "until": {"step": STEPS},
    }
    return {
        "data": [data],
        "output": str(folder / kind),
        "model": {"path": str(Path(MODEL).resolve())},
        "task": task,
        "batch": {
            "samples": SAMPLES,
            "sequence_tokens": 768,
            "max_seq_len": 768,
            "context_tokens": 0,
        },
        "optimizer": {"lr": 1e-6, "schedule": "constant", "warmup_steps": 0},
        "curriculum": [phase],
        "rollouts": rollouts,
        "checkpoint": {"every": 1000},
    }


def _prompts(section: dict[str, Any]) -> list[RolloutPrompt]:
    """What the run has asked in all its steps."""
    config = config_of(section)
    with open_loader(config, load_shape(config.model.path)) as loader:
        batches = [
            prompt_batch(loader, SAMPLES * step, config.curriculum[0], config)
            for step in range(STEPS)
        ]
    return [prompt for one in batches for prompt in one.prompts]
