"""Megatron-Core trains on the CPU: steps, checkpoints, and checkpoints under another layout."""

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncCallsQueue
from megatron.core.distributed import DistributedDataParallel as Ddp
from megatron.core.distributed import DistributedDataParallelConfig, finalize_model_grads
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.pipeline_parallel import get_forward_backward_func
from torch import Tensor

from prewrite.train import cpu, parallel
from prewrite.train.config.sections import ModelConfig, ParallelConfig
from prewrite.train.model.build import build
from prewrite.train.model.shape import load_shape
from prewrite.train.model.weights import tensors
from prewrite.train.unpickle import guarded
from tests.train.launch import launch, started
from tests.train.model.cases import make

METADATA = {"distrib_optim_sharding_type": "fully_reshardable"}
SPLIT = ParallelConfig(distributed_optimizer=True)
WHOLE = ParallelConfig(distributed_optimizer=False)
# Saved under one, loaded under the other; with tp 2 the vocabulary of 300 is padded further.
MOVES = {
    "data to tensor parallel": (SPLIT, ParallelConfig(tp=2), False),
    "tensor to pipeline parallel": (ParallelConfig(tp=2), ParallelConfig(pp=2), True),
    "pipeline to data parallel": (ParallelConfig(pp=2), SPLIT, False),
    "without distributed optimizer": (WHOLE, WHOLE, True),
}


class Run:
    """A model with its optimizer, as a trainer holds them."""

    def __init__(self, folder: Path, config: ParallelConfig, seed: int) -> None:
        self.shape = load_shape(str(folder))
        self.model = build(self.shape, ModelConfig(path="unused", init="scratch"), config, seed)
        split = config.distributed_optimizer
        settings = DistributedDataParallelConfig(
            grad_reduce_in_fp32=True, use_distributed_optimizer=split
        )
        self.ddp = Ddp(self.model.config, settings, self.model)
        adam = OptimizerConfig(lr=1e-2, min_lr=0.0, use_distributed_optimizer=split, clip_grad=1.0)
        self.optimizer = get_megatron_optimizer(adam, [self.ddp])
        self.model.config.finalize_model_grads_func = finalize_model_grads

    def step(self, number: int) -> None:
        """One step on two micro-batches, shared by data parallel ranks."""
        generator = torch.Generator().manual_seed(number)
        rows = torch.randint(self.shape.vocabulary, (2, 1, 10), generator=generator)
        mine = list(rows[parallel.data_rank() :: parallel.data_size()])

        def loss(nll: Tensor) -> Any:
            return nll.sum(), torch.tensor(nll.numel(), dtype=torch.int), {}

        def forward(batches: Any, model: Any) -> Any:
            tokens = next(batches)
            positions = torch.arange(tokens.shape[1])[None]
            return model(tokens, positions, labels=tokens.flip(1)), loss

        self.ddp.zero_grad_buffer()
        get_forward_backward_func()(
            forward_step_func=forward,
            data_iterator=iter(mine),
            model=self.ddp,
            num_microbatches=len(mine),
            seq_length=10,
            micro_batch_size=1,
            forward_only=False,
        )
        assert self.optimizer.step()[0]

    def state(self, loading: bool) -> dict[str, Any]:
        model = self.model.sharded_state_dict()
        describe = partial(self.optimizer.sharded_state_dict, model, is_loading=loading)
        return {"model": model, "optimizer": describe(metadata=METADATA)}

    def save(self, folder: Path, asynchronous: bool) -> None:
        if parallel.is_main():
            folder.mkdir()
        torch.distributed.barrier()
        if not asynchronous:
            dist_checkpointing.save(self.state(False), folder)
            return
        queue = AsyncCallsQueue()
        request = dist_checkpointing.save(self.state(False), folder, async_sharded_save=True)
        queue.schedule_async_request(request)
        self.step(99)  # what is written must not follow
        queue.maybe_finalize_async_calls(blocking=True)
        queue.close()

    def load(self, folder: Path) -> None:
        with guarded(path.name for path in folder.iterdir()):
            loaded = dist_checkpointing.load(self.state(True), folder)
        self.model.load_state_dict(loaded["model"])
        self.optimizer.load_state_dict(loaded["optimizer"])

    def weights(self) -> dict[str, Tensor]:
        return {name: tensor.clone() for name, tensor in tensors(self.model, self.shape)}


def resume(case: Path, folder: Path) -> dict[str, float]:
    """For each move, how far a resumed run is from one that was never stopped."""
    found = {}
    for number, (name, (before, after, asynchronous)) in enumerate(MOVES.items()):
        with started(before):
            run = Run(case, before, seed=0)
            run.step(0)
            run.step(1)
            run.save(folder / str(number), asynchronous)
            if asynchronous:
                run.load(folder / str(number))
            run.step(2)
            run.step(3)
            expected = run.weights()
        with started(after):
            run = Run(case, after, seed=1)
            run.load(folder / str(number))
            run.step(2)
            run.step(3)
            weights = run.weights()
            assert weights.keys() == expected.keys()
            pairs = ((weights[key], expected[key]) for key in weights)
            found[name] = max((float((a - b).abs().max()) for a, b in pairs), default=0.0)
    return found


def test_a_checkpoint_continues_under_any_layout(tmp_path: Path) -> None:
    make(tmp_path / "case", "llama2")
    found = launch(resume, 2, tmp_path / "case", tmp_path)[0]
    assert found == dict.fromkeys(MOVES, pytest.approx(0, abs=1e-4))


def test_where_cuda_is_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: vars(module).get("torch") for name, module in sys.modules.items()}
    kept = torch.Tensor.cuda, torch.Tensor.type
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not cpu.enable()
    assert before == {name: vars(module).get("torch") for name, module in sys.modules.items()}
    assert kept == (torch.Tensor.cuda, torch.Tensor.type)
