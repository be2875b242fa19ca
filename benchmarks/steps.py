"""Steps of plain next-token training against Hugging Face transformers: tokens per CPU-second.

Ours is `Learner.step` whole (forward, backward, gradient norm, clipping, AdamW). The rival is the
plain loop over transformers' own model with scaled_dot_product_attention, cross entropy on float32
logits, clipping and torch's AdamW with the same settings. Both are SmolLM2-135M with its weights,
in one process, see the same tokens (a step is `ROWS` documents of `LENGTH` tokens, one a
micro-batch), and take turns; who begins alternates. That both losses agree in the first step is
checked. In bfloat16 ours keeps float32 weights, gradients and optimizer state beside the weights,
as mcore does; the rival has all of them in bfloat16, which is less work. Each dtype has a process
and one thread of its own.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

MODEL = "models/smollm2-135m-instruct"
ROWS, LENGTH, PAIRS = 2, 1024, 5
RATE, CLIP, ADAM = 5e-6, 1.0, {"betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
# oneDNN takes AMX where the processor reports it; some virtual machines report it and trap it.
NO_AMX = "AVX512_CORE_BF16"

Tokens = NDArray[np.int32]
StepFunction = Callable[[Tokens], float]
"""Learns from documents, [ROWS, LENGTH + 1]; returns the loss in nats a token."""


def _ours(dtype: str) -> StepFunction:
    from prewrite.train import parallel
    from prewrite.train.config.sections import TrainConfig
    from prewrite.train.data.rows import build_row
    from prewrite.train.data.trees import ORIGINAL, Candidate, Tree
    from prewrite.train.learner import Learner
    from prewrite.train.model.shape import load_shape

    phase = {"name": "imitate", "objective": "nll", "until": {"step": 1}}
    optimizer = {"lr": RATE, "clip_grad": CLIP, "warmup_steps": 0, **ADAM}
    config = TrainConfig.model_validate(
        {
            "data": [{"set": "no set"}],
            "output": "no folder",
            "model": {"path": MODEL, "dtype": dtype},
            "optimizer": optimizer | {"betas": list(ADAM["betas"])},  # type: ignore[call-overload]
            "curriculum": [phase],
        }
    )
    parallel.start(config.parallel, 0)
    learner = Learner(config, load_shape(MODEL))

    def step(tokens: Tokens) -> float:
        rows = []
        for document in tokens:
            text = Candidate(id="", kind=ORIGINAL, cut=1, tokens=document[1:], on_trunk=True)
            rows.append(build_row([Tree(0, document, (text,))], LENGTH))
        return learner.step(rows, config.curriculum[0], RATE).values["loss"]

    return step


def _theirs(dtype: str) -> StepFunction:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        MODEL, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )
    model.train()
    adam = torch.optim.AdamW(model.parameters(), lr=RATE, **ADAM)  # type: ignore[arg-type]

    def step(tokens: Tokens) -> float:
        total = 0.0
        for ids_S in torch.from_numpy(tokens).long():
            logits_SV = model(input_ids=ids_S[None, :-1], use_cache=False).logits.flatten(0, 1)
            loss = torch.nn.functional.cross_entropy(logits_SV.float(), ids_S[1:]) / ROWS
            torch.autograd.backward(loss)
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        adam.step()
        adam.zero_grad()
        return total

    return step


def _speed(step: StepFunction, tokens: Tokens) -> tuple[float, float]:
    """Tokens per CPU-second, and the loss."""
    begun = time.process_time()
    loss = step(tokens)
    return ROWS * LENGTH / (time.process_time() - begun), loss


def _measure(dtype: str) -> dict[str, Any]:
    """All pairs, in this process; the first, which warms everything up, does not count."""
    steps = [_ours(dtype), _theirs(dtype)]
    draw = np.random.default_rng(0)
    pairs = []
    for number in range(PAIRS + 1):
        tokens = draw.integers(3, 49152, (ROWS, LENGTH + 1)).astype(np.int32)
        turns = (0, 1) if number % 2 else (1, 0)
        found = {turn: _speed(steps[turn], tokens) for turn in turns}
        (ours, our_loss), (theirs, their_loss) = found[0], found[1]
        assert number or abs(our_loss - their_loss) < 0.01, (our_loss, their_loss)
        pairs.append((ours, theirs))
    ratios = [ours / theirs for ours, theirs in pairs[1:]]
    return {
        "tokens_per_cpu_s": [round(ours, 1) for ours, _ in pairs[1:]],
        "rival_tokens_per_cpu_s": [round(theirs, 1) for _, theirs in pairs[1:]],
        "ratios": [round(ratio, 3) for ratio in ratios],
        "median_ratio": round(statistics.median(ratios), 3),
    }


def _settings(dtype: str) -> dict[str, str]:
    """Environment variables of the process for `dtype`."""
    isa = {"ONEDNN_MAX_CPU_ISA": NO_AMX} if dtype == "bfloat16" else {}
    return {"OMP_NUM_THREADS": "1"} | isa


def main(output: str) -> None:
    """Measure each dtype in a fresh process, and write the figures as JSON."""
    dtypes = ["float32"]
    if "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8"):
        dtypes.append("bfloat16")
    result: dict[str, Any] = {"rows": ROWS, "length": LENGTH, "dtypes": {}}
    for dtype in dtypes:
        command, settings = [sys.executable, "-m", "benchmarks.steps", "one"], _settings(dtype)
        done = subprocess.run(
            [*command, dtype],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | settings,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        result["dtypes"][dtype] = found | {"settings": settings}
    Path(output).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1] == "one":
        print(json.dumps(_measure(sys.argv[2])))
    else:
        main(sys.argv[1])
