"""Weights between Megatron-Core and Hugging Face, for any tensor and pipeline parallel layout.

mcore joins tensors that Hugging Face keeps apart (queries, keys and values group by group, the two
halves of the gated feed-forward), splits each over tensor parallel ranks, and pads the vocabulary.
One table, `_rules`, says how; it is read forwards to load and backwards to export, so that loading
and exporting gives the same bits. Costs: one tensor at a time in memory, on top of the model.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from math import prod
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state as mpu
from safetensors import SafetensorError, safe_open
from torch import Tensor

from prewrite.base.errors import EngineError
from prewrite.train.model.headers import held
from prewrite.train.model.shape import ModelShape
from prewrite.train.parallel import device

_EMBEDDING, _OUTPUT = "embedding.word_embeddings.weight", "output_layer.weight"
EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"

Sizes = tuple[int, ...]
TensorSource = Callable[[str, Sizes], Tensor]
"""The full tensor with a Hugging Face name, of exactly these sizes."""


@dataclass(frozen=True)
class _Rule:
    """How one mcore parameter is made.

    parts: name, sizes in Hugging Face, and sizes as which it is viewed. The views are joined along
    dimension `join`; of that each tensor parallel rank has an equal slice along `split` (None: all
    of it), which mcore holds in its own, flatter, shape.
    """

    parts: tuple[tuple[str, Sizes, Sizes], ...]
    split: int | None = None
    join: int = 0

    @property
    def joined(self) -> Sizes:
        """Sizes of the joined tensor."""
        size = list(self.parts[0][2])
        size[self.join] = sum(view[self.join] for _, _, view in self.parts)
        return tuple(size)


def sizes(shape: ModelShape) -> dict[str, Sizes]:
    """Name and sizes of every tensor of the model in Hugging Face, in the order of export."""
    rules = _rules(shape).values()
    return {name: size for rule in rules for name, size, _ in rule.parts}


def parameters(shape: ModelShape) -> int:
    """How many numbers the model has."""
    return sum(map(prod, sizes(shape).values()))


def pretrained(shape: ModelShape) -> TensorSource:
    """The weights in the model's folder; EngineError where one is missing or odd."""
    found = held(shape.folder)

    def read(name: str, size: Sizes) -> Tensor:
        if name not in found:
            raise EngineError(f"{shape.folder}: the weights hold no tensor {name}")
        file = found[name].file
        try:
            with safe_open(shape.folder / file, framework="pt") as stream:
                tensor: Tensor = stream.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise EngineError(
                f"{shape.folder}: cannot read tensor {name} from {file}: {error}"
            ) from None
        refuse_odd(shape, name, tuple(tensor.shape), size)
        return tensor

    return read


def refuse_odd(shape: ModelShape, name: str, found: Sizes, size: Sizes) -> None:
    """EngineError where a tensor has other sizes than `size`."""
    if found != size:
        raise EngineError(
            f"{shape.folder}: tensor {name}: found the sizes {list(found)}; accepted (by "
            f"config.json): {list(size)}"
        )


def scratch(shape: ModelShape, seed: int) -> TensorSource:
    """Random weights as Hugging Face draws them: norms 1, biases 0, all else normal with the
    model's `std`. Each tensor depends on `seed` and its name alone.
    """

    def draw(name: str, size: Sizes) -> Tensor:
        if name.endswith("norm.weight"):
            return torch.ones(size)
        if name.endswith(".bias"):
            return torch.zeros(size)
        digest = sha256(f"{seed} {name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
        return torch.randn(size, generator=generator) * shape.std

    return draw


@torch.no_grad()
def load(model: Any, shape: ModelShape, source: TensorSource) -> None:
    """Fill this rank's parameters from `source`."""
    own = _own(model)
    tp, rank = mpu.get_tensor_model_parallel_world_size(), mpu.get_tensor_model_parallel_rank()
    for name, rule in _rules(shape).items():
        if name not in own:
            continue
        parts = [source(part, size).view(view) for part, size, view in rule.parts]
        full = torch.cat(parts, rule.join)
        if name in (_EMBEDDING, _OUTPUT):
            rows = own[name].shape[0] * tp
            full = torch.cat([full, full.new_zeros(rows - len(full), full.shape[1])])
        local = full if rule.split is None else full.chunk(tp, rule.split)[rank]
        own[name].copy_(local.reshape(own[name].shape))


@torch.no_grad()
def tensors(model: Any, shape: ModelShape) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the model as Hugging Face names and shapes it, in the order of `sizes`.

    All processes must exhaust it; only the main one is given any.
    """
    if mpu.get_data_parallel_rank():
        return
    own, first = _own(model), mpu.get_tensor_model_parallel_rank() == 0
    pipeline = mpu.get_pipeline_model_parallel_group()
    stages: list[Any] = [None] * pipeline.size()
    dist.all_gather_object(stages, set(own), group=pipeline)
    for name, rule in _rules(shape).items():
        if name == _OUTPUT and shape.tied:
            continue
        stage = next(number for number, names in enumerate(stages) if name in names)
        full = _gather(own[name], rule) if name in own else None
        if first and stage:
            full = _to_first_stage(full, rule, stage, model)
        if dist.get_rank() == 0:
            assert full is not None
            at = 0
            for part, size, view in rule.parts:
                yield part, full.narrow(rule.join, at, view[rule.join]).reshape(size)
                at += view[rule.join]


def _rules(shape: ModelShape) -> dict[str, _Rule]:
    """Every mcore parameter of the whole model, layers numbered through all stages."""
    hidden, wide = shape.hidden, (shape.vocabulary, shape.hidden)
    rules = {_EMBEDDING: _plain(EMBEDDING, *wide, split=0)}
    for number in range(shape.layers):
        here, there = f"decoder.layers.{number}.", f"model.layers.{number}."
        rules |= {here + name: rule for name, rule in _layer(shape, there).items()}
    rules["decoder.final_layernorm.weight"] = _plain("model.norm.weight", hidden)
    rules[_OUTPUT] = _plain(EMBEDDING if shape.tied else HEAD, *wide, split=0)
    return rules


def _layer(shape: ModelShape, prefix: str) -> dict[str, _Rule]:
    hidden, ffn, head = shape.hidden, shape.feed_forward, shape.head
    attention = prefix + "self_attn."
    rules = {
        "input_layernorm.weight": _plain(prefix + "input_layernorm.weight", hidden),
        "self_attention.linear_qkv.weight": _qkv(shape, attention, "weight", (hidden,)),
        "self_attention.linear_proj.weight": _plain(
            attention + "o_proj.weight", hidden, shape.heads * head, split=1
        ),
        "pre_mlp_layernorm.weight": _plain(prefix + "post_attention_layernorm.weight", hidden),
        "mlp.linear_fc1.weight": _Rule(
            tuple(
                (f"{prefix}mlp.{half}_proj.weight", (ffn, hidden), (1, ffn, hidden))
                for half in ("gate", "up")
            ),
            split=1,
        ),
        "mlp.linear_fc2.weight": _plain(prefix + "mlp.down_proj.weight", hidden, ffn, split=1),
    }
    if shape.qkv_bias:
        rules["self_attention.linear_qkv.bias"] = _qkv(shape, attention, "bias", ())
    if shape.qk_norm:
        rules["self_attention.q_layernorm.weight"] = _plain(attention + "q_norm.weight", head)
        rules["self_attention.k_layernorm.weight"] = _plain(attention + "k_norm.weight", head)
    return rules


def _plain(name: str, *size: int, split: int | None = None) -> _Rule:
    return _Rule(((name, size, size),), split)


def _qkv(shape: ModelShape, prefix: str, kind: str, inputs: Sizes) -> _Rule:
    """Group by group: the queries that share a key and value head, that key, that value."""
    rows = {"q": shape.heads * shape.head, "k": shape.kv_heads * shape.head}
    rows["v"] = rows["k"]
    groups = shape.kv_heads
    parts = tuple(
        (f"{prefix}{letter}_proj.{kind}", (count, *inputs), (groups, count // groups, *inputs))
        for letter, count in rows.items()
    )
    return _Rule(parts, split=0, join=1)


def _own(model: Any) -> dict[str, Tensor]:
    """This rank's parameters, layers numbered through all stages."""
    while hasattr(model, "module"):
        model = model.module
    offset, own = model.decoder.layers[0].layer_number - 1, {}
    for name, parameter in model.named_parameters():
        words = name.split(".")
        if words[:2] == ["decoder", "layers"]:
            words[2] = str(int(words[2]) + offset)
        own[".".join(words)] = parameter
    return own


def _gather(local: Tensor, rule: _Rule) -> Tensor:
    """The joined tensor of all tensor parallel ranks, without padding of the vocabulary."""
    if rule.split is None:
        return local
    group = mpu.get_tensor_model_parallel_group()
    view = list(rule.joined)
    view[rule.split] = -1
    local = local.view(view)
    slices = [torch.empty_like(local) for _ in range(group.size())]
    dist.all_gather(slices, local, group=group)
    return torch.cat(slices, rule.split).narrow(rule.split, 0, rule.joined[rule.split])


def _to_first_stage(full: Tensor | None, rule: _Rule, stage: int, model: Any) -> Tensor | None:
    """`full` of `stage` on the first stage, too."""
    group = mpu.get_pipeline_model_parallel_group()
    if group.rank() == stage:
        assert full is not None
        dist.send(full.contiguous(), group=group, group_dst=0)
    elif group.rank() == 0:
        full = torch.empty(rule.joined, dtype=model.config.params_dtype, device=device())
        dist.recv(full, group=group, group_src=stage)
    return full
