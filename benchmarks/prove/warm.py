"""The judge before it is trained: it knows how texts count and what a verdict looks like, and says
"first" nine times of ten.

The task `judge` learns no stored texts, so this is plain torch: next-token loss on the prompts
that the task itself makes, each with a verdict. A verdict is right only by so much that there is
something to build on: without any such signal no run learnt.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prove.runs import COUNTS
from prewrite.engine.encoding import PromptEncoder
from prewrite.shards.schema import Row
from prewrite.train.config.task import JudgeTask
from prewrite.train.data.samples import AskedRow
from prewrite.train.tasks.judging import JudgeAsker

KNOWN, FIRST = 0.25, 0.98
"""How often a verdict is the label; and how often it says "first" where it is not asked to be."""
SIZE, RATE = 64, 3e-3


def warm(
    start: Path, to: Path, rows: Sequence[Row], seed: int, steps: int, criterion: str = COUNTS
) -> None:
    """Train the shape in `start` from random weights; the model goes to `to`."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    config = AutoConfig.from_pretrained(start)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    texts = _texts(start, rows, seed, criterion)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, steps, pct_start=0.05)
    draw = np.random.default_rng(seed)
    for _ in range(steps):
        some = [texts[number] for number in draw.integers(0, len(texts), SIZE)]
        _loss(model, *_batch(some)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.save_pretrained(to)
    for file in start.glob("*token*"):
        shutil.copy(file, to)
    for file in start.glob("*.jinja"):
        shutil.copy(file, to)


def _texts(
    start: Path, rows: Sequence[Row], seed: int, criterion: str
) -> list[tuple[list[int], int]]:
    """Token ids of prompts with their verdicts, and how many are the prompt's."""
    encoder, draw = PromptEncoder(str(start), {}), np.random.default_rng([seed, 1])
    assert encoder.end is not None
    asker = JudgeAsker(JudgeTask(kind="judge"), encoder, encoder.end)
    found = []
    for row in rows:
        for one in asker(AskedRow(row, [row], ("original", "rewrite"), False, criterion)):
            first = one.wanted.label if draw.random() < KNOWN else float(draw.random() < FIRST)
            verdict = encoder.words(f"Verdict: ({1 if first else 2})")
            found.append(([*one.tokens, *verdict, encoder.end], len(one.tokens)))
    return found


def _batch(texts: Sequence[tuple[list[int], int]]) -> tuple[Any, Any, Any]:
    """Token ids, filled up at the right, and which of them belong to prompts and to verdicts."""
    import torch

    longest = max(len(text) for text, _ in texts)
    tokens = torch.tensor([[*text, *[0] * (longest - len(text))] for text, _ in texts])
    place = torch.arange(longest)[None]
    cut = torch.tensor([cut for _, cut in texts])[:, None]
    end = torch.tensor([len(text) for text, _ in texts])[:, None]
    return tokens, place < cut, (place >= cut) & (place < end)


def _loss(model: Any, tokens: Any, prompts: Any, verdicts: Any) -> Any:
    """Mean loss on the tokens of prompts, and as much of it on those of verdicts."""
    logits = model(input_ids=tokens).logits[:, :-1].log_softmax(-1)
    lost = -logits.gather(-1, tokens[:, 1:, None])[..., 0]
    return lost[prompts[:, 1:]].mean() + lost[verdicts[:, 1:]].mean()
