"""Attention in rows of several trees: a document's trunk once, and every branch that leaves it.

The layout says of each token (tree, branch, position, root), int32. A token q sees k iff both are
of one tree and

    (k.branch == 0 and k.position < q.root) or (k.branch == q.branch and k.position <= q.position).

Branch 0 is the trunk. On it root is position + 1; on a branch it is the cut - 1, because a branch
starts with its own copy of the token before the cut. Padding is tree -1. Trunks start at position
0, and the tokens of a trunk or branch stand next to each other.

`attention_layout` derives from the layout, once a row, what the layers need, and all layers share
it. It travels as Megatron's `packed_seq_params`, the one argument that recompute keeps as the
object it is; so a plan lives exactly as long as something may still compute with it.

On the CPU the plan is a list of calls of scaled_dot_product_attention without any S x S mask: each
trunk is causal, and branches that have tree, cut and length in common are one batch over [trunk up
to the root; own]. On a GPU it is a BlockMask for FlexAttention, which compiles each new length of a
row; there are at most eight.

Shape suffixes: S tokens of a row, 4 fields of the layout, H heads of queries, G heads of keys and
values, D dimensions of a head, R branches that are one batch, L tokens of each.
"""

from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.transformer.module import MegatronModule
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


@dataclass(frozen=True)
class AttentionBatch:
    """Runs of tokens, numbered in the order of the row, that attend alike: to the first `root`
    tokens of run `trunk`, and causally to themselves.
    """

    trunk: int
    root: int
    runs: tuple[int, ...]


@dataclass
class AttentionLayout(PackedSeqParams):  # type: ignore[misc]
    """How a row attends: `sizes` of its runs and the `batches` of them, or `blocks` on a GPU."""

    qkv_format: str = "sbhd"
    sizes: list[int] = field(default_factory=list)
    batches: list[AttentionBatch] = field(default_factory=list)
    blocks: Any = None


def attention_layout(layout_1S4: Tensor) -> AttentionLayout:
    """The plan of a row, for the device that its layout is on."""
    if layout_1S4.is_cuda:
        return AttentionLayout(blocks=block_mask(layout_1S4[0]))
    return _segments(layout_1S4[0])


def block_mask(layout_S4: Tensor) -> Any:
    """The rule as FlexAttention's BlockMask; costs a few S x S booleans of memory while it runs."""
    from torch.nn.attention.flex_attention import create_block_mask

    tree, branch, position, root = (column.contiguous() for column in layout_S4.unbind(1))

    def sees(_b: Tensor, _h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        prefix = (branch[k] == 0) & (position[k] < root[q])
        own = (branch[k] == branch[q]) & (position[k] <= position[q])
        return (tree[k] == tree[q]) & (prefix | own)

    size = len(layout_S4)
    return create_block_mask(sees, None, None, size, size, device=str(layout_S4.device))


def attend(
    q_1HSD: Tensor, k_1GSD: Tensor, v_1GSD: Tensor, layout: AttentionLayout | None
) -> Tensor:
    """What each token takes from those it sees, [1, H, S, D]; without a plan from all before it."""
    gqa = q_1HSD.shape[1] != k_1GSD.shape[1]
    if layout is None:
        return scaled_dot_product_attention(q_1HSD, k_1GSD, v_1GSD, is_causal=True, enable_gqa=gqa)
    if layout.blocks is not None:
        out: Tensor = _flex()(q_1HSD, k_1GSD, v_1GSD, block_mask=layout.blocks, enable_gqa=gqa)
        return out
    # One split and one cat: their backward passes write each gradient once.
    q, k, v = (torch.split(tensor[0], layout.sizes, 1) for tensor in (q_1HSD, k_1GSD, v_1GSD))
    outs: list[Tensor] = [q_1HSD] * len(layout.sizes)
    for batch in layout.batches:
        out_RHLD = _attend_batch(batch, q, k, v)
        for run, out_HLD in zip(batch.runs, out_RHLD, strict=True):
            outs[run] = out_HLD
    return torch.cat(outs, 1)[None]


class TreeAttention(MegatronModule):  # type: ignore[misc]
    """Megatron's core attention: projected queries, keys and values in, heads joined out."""

    def __init__(self, config: Any, **_others: Any) -> None:
        super().__init__(config)

    def forward(
        self,
        q_S1HD: Tensor,
        k_S1GD: Tensor,
        v_S1GD: Tensor,
        attention_mask: None,
        packed_seq_params: AttentionLayout | None = None,
        **_others: Any,
    ) -> Tensor:
        """[S, 1, H * D], by the plan of the row."""
        q, k, v = (tensor.permute(1, 2, 0, 3) for tensor in (q_S1HD, k_S1GD, v_S1GD))
        out_1HSD = attend(q, k, v, packed_seq_params)
        return out_1HSD.permute(2, 0, 1, 3).flatten(2)


def _segments(layout_S4: Tensor) -> AttentionLayout:
    key_S2 = layout_S4[:, :2]
    starts = ((key_S2[1:] != key_S2[:-1]).any(1).nonzero()[:, 0] + 1).tolist()
    sizes = [end - start for start, end in pairwise([0, *starts, len(layout_S4)])]
    trunks: dict[int, int] = {}
    alike: dict[tuple[int, int, int], list[int]] = {}
    for run, start in enumerate([0, *starts]):
        tree, branch, _, root = layout_S4[start].tolist()
        if branch == 0 or tree < 0:
            trunks[tree] = run
            root = 0
        alike.setdefault((trunks.get(tree, run), root, sizes[run]), []).append(run)
    batches = [AttentionBatch(trunk, root, tuple(runs)) for (trunk, root, _), runs in alike.items()]
    return AttentionLayout(sizes=sizes, batches=batches)


def _attend_batch(
    batch: AttentionBatch, q: tuple[Tensor, ...], k: tuple[Tensor, ...], v: tuple[Tensor, ...]
) -> Tensor:
    q_RHLD, k_RGLD, v_RGLD = (torch.stack([t[run] for run in batch.runs]) for t in (q, k, v))
    mask = None
    if batch.root:
        k_RGLD, v_RGLD = (
            torch.cat([t[batch.trunk][None, :, : batch.root].expand(len(own), -1, -1, -1), own], 2)
            for t, own in ((k, k_RGLD), (v, v_RGLD))
        )
        mask = torch.ones(q_RHLD.shape[2], k_RGLD.shape[2], dtype=torch.bool).tril(batch.root)
    gqa = q_RHLD.shape[1] != k_RGLD.shape[1]
    return scaled_dot_product_attention(
        q_RHLD, k_RGLD, v_RGLD, attn_mask=mask, is_causal=mask is None, enable_gqa=gqa
    )


@cache
def _flex() -> Any:
    from torch.nn.attention.flex_attention import flex_attention

    return torch.compile(flex_attention, dynamic=False)
