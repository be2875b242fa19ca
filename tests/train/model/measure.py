"""What a case comes out as under Megatron, as distances from what Hugging Face computed.

Runs in processes made by `tests.train.launch`; every rank returns what it can see.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state as mpu
from megatron.core.distributed import DistributedDataParallel as Ddp
from megatron.core.distributed import DistributedDataParallelConfig, finalize_model_grads
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.tensor_parallel import gather_from_tensor_model_parallel_region as gather
from safetensors.torch import load_file
from torch import Tensor

from prewrite.train import parallel
from prewrite.train.config.sections import ModelConfig, ParallelConfig
from prewrite.train.model.build import build
from prewrite.train.model.export import export
from prewrite.train.model.shape import load_shape
from prewrite.train.model.weights import tensors
from prewrite.train.output import Output
from tests.train.launch import started

Found = dict[str, float]


def measure(work: list[tuple[ParallelConfig, list[Path]]], target: Path) -> list[dict[str, Found]]:
    """For every layout, for every case by its name, the distances."""
    found = []
    for config, folders in work:
        with started(config):
            found.append({folder.name: _case(folder, config, target) for folder in folders})
    return found


def _case(folder: Path, config: ParallelConfig, target: Path) -> Found:
    expected = torch.load(folder / "expected.pt")
    shape = load_shape(str(folder))
    model = build(shape, ModelConfig(path=str(folder)), config, seed=0)
    found = _logits(model, expected["rows"], shape.vocabulary)
    found["export"] = float(_exports(model, shape, folder, target))
    found |= _gradients(model, expected, shape)
    model = build(shape, ModelConfig(path=str(folder), dtype="bfloat16"), config, seed=0)
    source = load_file(folder / "model.safetensors")
    pairs = list(tensors(model, shape))
    found["bfloat16"] = float(all(torch.equal(source[key].bfloat16(), new) for key, new in pairs))
    model = build(shape, ModelConfig(path="unused", init="scratch"), config, seed=3)
    found["scratch"] = sum(float(new.double().sin().sum()) for _, new in tensors(model, shape))
    return found


def _logits(model: Any, rows: list[dict[str, Tensor]], vocabulary: int) -> Found:
    """Largest differences of logits, of rows of trees and of the same tokens without a layout."""

    def keep(out: Tensor, non_loss_data: bool) -> Tensor:
        return out

    def forward(batches: Iterator[tuple[Tensor, ...]], model: Any) -> Any:
        return model(*next(batches)), keep

    trees = [(row["tokens"], row["positions"], row["layout"]) for row in rows]
    wrong = [
        (tokens, positions + (layout[..., 1] > 0), layout) for tokens, positions, layout in trees
    ]
    plain = [(row["tokens"], torch.arange(row["tokens"].shape[1])[None]) for row in rows]
    found = {}
    for name, key, batches in (
        ("logits", "logits", trees),
        ("plain", "plain", plain),
        ("wrong positions", "logits", wrong),
    ):
        logits = _schedule(forward, batches, model, forward_only=True, collect_non_loss_data=True)
        if not parallel.is_last_stage():
            continue
        pairs = [
            (gather(out)[0], row[key], key == "plain" or row["layout"][0, :, 0] >= 0)
            for out, row in zip(logits, rows, strict=True)
        ]
        found[name] = max(
            float((out[:, :vocabulary] - wanted)[used].abs().max()) for out, wanted, used in pairs
        )
        assert all(torch.all(out[:, vocabulary:] == -torch.inf) for out, _, _ in pairs)
    return found


def _gradients(model: Any, expected: Any, shape: Any) -> Found:
    """Largest difference of a loss, and of a gradient relative to the norm of its tensor."""
    nlls = []

    def loss(row: dict[str, Tensor], nll: Tensor) -> Any:
        nlls.append(float(((nll[0] - row["nll"]) * (row["weights"] > 0)).abs().max()))
        return (nll[0] * row["weights"]).sum(), torch.tensor(1, dtype=torch.int), {}

    def forward(batches: Iterator[dict[str, Tensor]], model: Any) -> Any:
        row = next(batches)
        out = model(row["tokens"], row["positions"], row["layout"], labels=row["labels"])
        return out, partial(loss, row)

    model.config.finalize_model_grads_func = finalize_model_grads
    ddp = Ddp(model.config, DistributedDataParallelConfig(grad_reduce_in_fp32=True), model)
    ddp.zero_grad_buffer()
    _schedule(forward, expected["rows"], ddp, forward_only=False)
    for parameter in model.parameters():
        # mcore divides by the number of tokens: 1 for each row.
        parameter.data = parameter.main_grad * len(expected["rows"])
    worst = 0.0
    for key, found in tensors(model, shape):
        wanted = expected["gradients"][key]
        worst = max(worst, float((found - wanted).norm() / wanted.norm()))
    seen = {"gradient": worst} if parallel.is_main() else {}
    return seen | ({"nll": max(nlls)} if parallel.is_last_stage() else {})


def _schedule(forward: Any, batches: list[Any], model: Any, **options: Any) -> Any:
    return get_forward_backward_func()(
        forward_step_func=forward,
        data_iterator=iter(batches),
        model=model,
        num_microbatches=len(batches),
        seq_length=1,  # of no meaning where rows may differ in length
        micro_batch_size=1,
        **options,
    )


def _exports(model: Any, shape: Any, folder: Path, target: Path) -> bool:
    """Whether the exported weights are, to the bit, those that were loaded."""
    place = target / f"{folder.name}-{mpu.get_tensor_model_parallel_world_size()}"
    export(model, shape, Output(target, target), place.name)
    old, new = (load_file(part / "model.safetensors") for part in (folder, place))
    return old.keys() == new.keys() and all(torch.equal(old[key], new[key]) for key in old)
