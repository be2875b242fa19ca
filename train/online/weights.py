"""What a sync needs of the trainer: its weights in a folder, and what they say of some tokens.

A folder of weights is not kept, so nothing is flushed to the disk; it goes when the workers of all
data parallel ranks have marked it as loaded. Costs: a copy of the weights on the disk for each
version that is on its way, and the forward pass of one short row.
"""

from collections.abc import Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prewrite.train import parallel
from prewrite.train.data.rows import PackedSequence, build_row
from prewrite.train.data.trees import ORIGINAL, Candidate, Tree
from prewrite.train.learner import forward_backward
from prewrite.train.model.export import save
from prewrite.train.model.shape import ModelShape
from prewrite.train.model.weights import tensors
from prewrite.train.objectives import Sums

LOADED = "loaded-*"
"""What a worker leaves in a folder of weights that it has loaded: one file a data parallel rank."""


def publish(model: torch.nn.Module, shape: ModelShape, folder: Path) -> None:
    """Write the weights of `model` to `folder`, whole or not at all, and remove those folders
    beside it that every worker has loaded. All processes must call it.
    """
    pairs = tensors(model, shape)
    if parallel.is_main():
        _remove_loaded(folder.parent)
        part = folder.with_name(f".{folder.name}.new")
        for old in (part, folder):  # of an earlier process
            rmtree(old, ignore_errors=True)
        folder.parent.mkdir(exist_ok=True)
        part.mkdir()
        save(pairs, part)
        part.rename(folder)
    else:
        list(pairs)
    parallel.barrier()


def probe_logprobs(model: Any, tokens: Sequence[int]) -> tuple[float, ...]:
    """The log-probability, in nats, that `model` gives each of `tokens` but the first after those
    before it; all processes must call it with the same tokens, and all are told.
    """
    row = _row(tokens).to(parallel.device())
    with torch.no_grad():
        reports = forward_backward(model, [row], _tokens_of_row, forward_only=True)
    found = enumerate(reports[0]["logp_T"].tolist()) if reports else None
    named = {str(number): float(value) for number, value in found} if found else None
    return tuple(parallel.from_last_stage(named).values())


def _row(tokens: Sequence[int]) -> PackedSequence:
    """The tokens as one text, in a row that tensor parallel ranks can share."""
    trunk = np.array(tokens, np.int32)
    text = Candidate("", ORIGINAL, 1, trunk[1:], on_trunk=True)
    return build_row([Tree(0, trunk, (text,))], -(-len(tokens) // 16) * 16)


def _tokens_of_row(_row: PackedSequence, logp_T: Tensor) -> tuple[Tensor, Sums]:
    return logp_T.sum(), {"logp_T": logp_T}


def _remove_loaded(folder: Path) -> None:
    for weights in folder.glob("*"):
        if len(list(weights.glob(LOADED))) >= parallel.data_size():
            rmtree(weights)
