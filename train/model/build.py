"""The one function that makes a Megatron-Core model.

Everything about mcore's own configuration and module specs stands here, so that a move to another
of its model classes changes one file.
"""

from math import lcm
from typing import Any

import torch
from megatron.core import parallel_state as mpu
from megatron.core.fusions.fused_bias_dropout import get_bias_dropout_add
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
from megatron.core.transformer.attention import SelfAttention, SelfAttentionSubmodules
from megatron.core.transformer.enums import AttnMaskType
from megatron.core.transformer.identity_op import IdentityOp
from megatron.core.transformer.mlp import MLP, MLPSubmodules
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules
from megatron.core.transformer.transformer_config import TransformerConfig
from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules

from prewrite.base.errors import ConfigError
from prewrite.train.config.sections import ModelConfig, ParallelConfig
from prewrite.train.model.attention import TreeAttention
from prewrite.train.model.gpt import TreeModel
from prewrite.train.model.shape import ModelShape
from prewrite.train.model.weights import load, pretrained, scratch
from prewrite.train.parallel import device

_RECOMPUTE: dict[str, dict[str, Any]] = {
    "none": {},
    "selective": {"recompute_granularity": "selective", "recompute_modules": ["core_attn"]},
    "full": {
        "recompute_granularity": "full",
        "recompute_method": "uniform",
        "recompute_num_layers": 1,
    },
}


def build(shape: ModelShape, model: ModelConfig, parallel: ParallelConfig, seed: int) -> TreeModel:
    """This rank's part of the model, with its weights, on its device.

    `seed` is that of random weights, which are the same for every parallel layout. Needs
    `train.parallel.start`. Raises ConfigError where `parallel` does not divide `shape`.
    """
    _check(shape, parallel)
    config = _config(shape, model, parallel)
    layers = [_layer(shape)] * (shape.layers // parallel.pp)
    built = TreeModel(
        shape,
        config=config,
        transformer_layer_spec=TransformerBlockSubmodules(layers, layer_norm=Norm),
        vocab_size=padded(shape.vocabulary, parallel.tp),
        max_sequence_length=shape.positions,
        pre_process=mpu.is_pipeline_first_stage(),
        post_process=mpu.is_pipeline_last_stage(),
        share_embeddings_and_output_weights=shape.tied,
    )
    load(built, shape, pretrained(shape) if model.init == "pretrained" else scratch(shape, seed))
    return built


def padded(vocabulary: int, tp: int) -> int:
    """Rows of the embedding: the vocabulary, rounded up to a multiple of 128 and of `tp`.

    As long as `tp` divides 128 that is the same for every `tp`, and checkpoints fit all of them.
    """
    multiple = lcm(128, tp)
    return -(-vocabulary // multiple) * multiple


class Norm(torch.nn.RMSNorm):
    """RMSNorm that also works on a part of the sequence: mcore sums its gradient over the parts."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float) -> None:
        super().__init__(hidden_size, eps, device=device(), dtype=config.params_dtype)
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]


def _config(shape: ModelShape, model: ModelConfig, parallel: ParallelConfig) -> TransformerConfig:
    dtype = getattr(torch, model.dtype)
    return TransformerConfig(
        num_layers=shape.layers,
        hidden_size=shape.hidden,
        ffn_hidden_size=shape.feed_forward,
        num_attention_heads=shape.heads,
        num_query_groups=shape.kv_heads,
        kv_channels=shape.head,
        normalization="RMSNorm",
        layernorm_epsilon=shape.epsilon,
        gated_linear_unit=True,
        activation_func=torch.nn.functional.silu,
        add_bias_linear=False,
        add_qkv_bias=shape.qkv_bias,
        qk_layernorm=shape.qk_norm,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        # Weights come later. Still these must be called: mcore marks what tensor parallel ranks
        # share on the way, and without the marks the gradient norm is wrong.
        init_method=_leave,
        output_layer_init_method=_leave,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        bf16=dtype == torch.bfloat16,
        tensor_model_parallel_size=parallel.tp,
        pipeline_model_parallel_size=parallel.pp,
        sequence_parallel=parallel.sequence,
        # Rows need not be of one length; mcore then refuses its default expert dispatcher, although
        # there are no experts.
        variable_seq_lengths=True,
        moe_token_dispatcher_type="alltoall",
        # Objectives divide by themselves, whatever they count.
        calculate_per_token_loss=True,
        **_RECOMPUTE[parallel.recompute],
    )


def _leave(weight: torch.Tensor) -> None: ...


def _layer(shape: ModelShape) -> ModuleSpec:
    qk_norm = Norm if shape.qk_norm else IdentityOp
    attention = SelfAttentionSubmodules(
        linear_qkv=ColumnParallelLinear,
        core_attention=TreeAttention,
        linear_proj=RowParallelLinear,
        q_layernorm=qk_norm,
        k_layernorm=qk_norm,
    )
    feed_forward = MLPSubmodules(linear_fc1=ColumnParallelLinear, linear_fc2=RowParallelLinear)
    return ModuleSpec(
        module=TransformerLayer,
        submodules=TransformerLayerSubmodules(
            input_layernorm=Norm,
            self_attention=ModuleSpec(
                module=SelfAttention,
                params={"attn_mask_type": AttnMaskType.causal},
                submodules=attention,
            ),
            self_attn_bda=get_bias_dropout_add,
            pre_mlp_layernorm=Norm,
            mlp=ModuleSpec(module=MLP, submodules=feed_forward),
            mlp_bda=get_bias_dropout_add,
        ),
    )


def _check(shape: ModelShape, parallel: ParallelConfig) -> None:
    for key, size, name, count in (
        ("pp", parallel.pp, "layers", shape.layers),
        ("tp", parallel.tp, "attention heads", shape.heads),
        ("tp", parallel.tp, "key and value heads", shape.kv_heads),
        ("tp", parallel.tp, "feed-forward units", shape.feed_forward),
    ):
        if count % size:
            raise ConfigError(
                f"train.parallel.{key}: found {size}; accepted: what divides the {count} {name} of "
                f"{shape.folder}"
            )
