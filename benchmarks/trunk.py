"""A trunk shared by all its candidates against each candidate with a copy of its prefix.

What is timed is forward and backward of `forward_backward`, in CPU-seconds of one thread, float32:
the tree in one row with its DPO loss, then `train.data.rows.unshared`, a row a candidate, each with
the plain sum of its log-probabilities (cheaper than its loss, which needs the other rows). The
output layer sees trained tokens alone on both sides, and of those sharing saves none; and tokens it
does save attend to less than others. So the ratio of the arithmetic that the rows need
(`train.flops`) stands beside that of the tokens.
SmolLM2-135M itself is measured where that takes a minute, `SMALL` everywhere.
"""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prewrite.train import parallel
from prewrite.train.config.sections import ParallelConfig, TrainConfig
from prewrite.train.data.rows import PackedSequence, build_row, unshared
from prewrite.train.data.trees import ORIGINAL, REWRITE, Candidate, Tree
from prewrite.train.flops import model_flops
from prewrite.train.learner import Learner, OfRow, forward_backward
from prewrite.train.model.shape import ModelShape, load_shape
from prewrite.train.objectives import Loss, Sums

MODEL = "models/smollm2-135m-instruct"
CHUNK = 128
SMALL: dict[str, Any] = {
    "hidden": 512,
    "feed_forward": 1408,
    "layers": 2,
    "heads": 8,
    "kv_heads": 4,
    "vocabulary": 512,
}
"""4 % of its parameters are the output layer, as in models of 5 to 10 billion; in SmolLM2-135M it
is 21 %."""
CASES: dict[str, tuple[int, list[int], int]] = {
    "one cut at 896, 2 candidates": (1024, [896], 2),
    "every cut of 1,024 tokens, 2 candidates": (1024, list(range(CHUNK, 1024, CHUNK)), 2),
    "one cut at 896, 16 candidates": (1024, [896], 16),
    "every cut of 1,024 tokens, 6 candidates": (1024, list(range(CHUNK, 1024, CHUNK)), 6),
    "every cut of 2,048 tokens, 2 candidates": (2048, list(range(CHUNK, 2048, CHUNK)), 2),
    "every cut of 4,096 tokens, 2 candidates": (4096, list(range(CHUNK, 4096, CHUNK)), 2),
}
"""Tokens of the document, its cuts, candidates at each of them (the original is one)."""
WHOLE = 2
"""How many of the cases the 135M model computes."""


def _tree(size: int, cuts: Sequence[int], candidates: int, vocabulary: int) -> Tree:
    draw = np.random.default_rng(0)
    trunk = draw.integers(vocabulary, size=size).astype(np.int32)
    every = []
    for cut in cuts:
        for number in range(candidates):
            branch = draw.integers(vocabulary, size=CHUNK).astype(np.int32)
            every.append(
                Candidate(
                    id="",
                    kind=REWRITE if number else ORIGINAL,
                    cut=cut,
                    tokens=branch if number else trunk[cut : cut + CHUNK],
                    on_trunk=not number,
                    score=float(number),
                    reference=-CHUNK * np.log(vocabulary),
                )
            )
    return Tree(0, trunk, tuple(every))


def _learner(shape: ModelShape, pretrained: bool) -> Learner:
    phase = {
        "name": "prefer",
        "objective": {"kind": "dpo", "reference": "stored"},
        "until": {"step": 1},
    }
    config = TrainConfig.model_validate(
        {
            "data": [{"set": "no set"}],
            "output": "no folder",
            "model": {"path": MODEL, "init": "pretrained" if pretrained else "scratch"},
            "optimizer": {"warmup_steps": 0},
            "curriculum": [phase],
        }
    )
    return Learner(config, shape)


def _seconds(learner: Learner, rows: Sequence[PackedSequence], of_row: OfRow) -> float:
    """CPU-seconds of a forward and backward pass over the rows."""
    learner._ddp.zero_grad_buffer()
    begun = time.process_time()
    forward_backward(learner._ddp, rows, of_row)
    return time.process_time() - begun


def _sum(_row: PackedSequence, logp_T: Tensor) -> tuple[Tensor, Sums]:
    return logp_T.sum(), {}


def _dpo(loss: Loss, row: PackedSequence, logp_T: Tensor) -> tuple[Tensor, Sums]:
    return loss(logp_T, row.candidates, loss.counts(row.candidates))


def _case(learner: Learner, shape: ModelShape, name: str, size: int) -> dict[str, Any]:
    tree = _tree(*CASES[name], shape.vocabulary)
    shared, apart = [build_row([tree], -(-tree.cost // 8) * 8)], unshared([tree])
    dpo = partial(_dpo, Loss(learner.config.curriculum[0].objective))
    times = min(3, max(1, size // sum(row.used for row in apart)))
    turns = [(_seconds(learner, shared, dpo), _seconds(learner, apart, _sum)) for _ in range(times)]
    ours, theirs = (float(np.median(side)) for side in zip(*turns, strict=True))
    tokens = [sum(row.used for row in rows) for rows in (shared, apart)]
    arithmetic = model_flops(shape, apart) / model_flops(shape, shared)
    return {
        "case": name,
        "tokens": tokens,
        "seconds": [round(ours, 2), round(theirs, 2)],
        "turns": times,
        "token_ratio": round(tokens[1] / tokens[0], 2),
        "arithmetic_ratio": round(arithmetic, 2),
        "time_ratio": round(theirs / ours, 2),
        "time_by_tokens": round(theirs / ours * tokens[0] / tokens[1], 2),
    }


def _model(
    shape: ModelShape, names: Sequence[str], pretrained: bool, size: int
) -> list[dict[str, Any]]:
    """The cases, each as often as `size` unshared tokens allow, at least once."""
    learner = _learner(shape, pretrained)
    warm = [build_row([_tree(256, [128], 2, shape.vocabulary)], 384)]
    _seconds(learner, warm, _sum)
    return [_case(learner, shape, name, size) for name in names]


def main(output: str) -> None:
    """Measure, and write the figures as JSON."""
    torch.set_num_threads(1)
    whole = load_shape(MODEL)
    small = replace(whole, **SMALL)
    names = list(CASES)
    with parallel.processes(ParallelConfig(), 0):
        result: dict[str, Any] = {
            "small": SMALL,
            "models": {
                "small": _model(small, names, False, 60_000),
                "135M": _model(whole, names[:WHOLE], True, 6_000),
            },
        }
    Path(output).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
