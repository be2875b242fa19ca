"""The plan of a row against the rule written out, on layouts of every form."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention

from prewrite.train.model.attention import attend, attention_layout, block_mask
from tests.train.model.layouts import Sizes, dense_mask, lay_out

HEADS, GROUPS, DIMENSIONS = 4, 2, 8
Inputs = tuple[Tensor, Tensor, Tensor]


@st.composite
def trees(draw: st.DrawFn) -> Sizes:
    trunk = draw(st.integers(0, 12))
    branch = st.tuples(st.integers(0, trunk), st.integers(1, 7))
    return Sizes(trunk, tuple(draw(st.lists(branch, max_size=5))))


def rows() -> st.SearchStrategy[tuple[list[Sizes], int]]:
    return st.tuples(st.lists(trees(), min_size=1, max_size=4), st.integers(1, 5))


def inputs(size: int) -> Inputs:
    generator = torch.Generator().manual_seed(size)
    q, k, v = (
        torch.randn(1, heads, size, DIMENSIONS, generator=generator).requires_grad_()
        for heads in (HEADS, GROUPS, GROUPS)
    )
    return q, k, v


def result(out_1HSD: Tensor, tensors: Inputs, used: Tensor) -> list[Tensor]:
    """What comes out at used tokens, and the gradients of some function of it."""
    out = out_1HSD[:, :, used]
    weight = torch.arange(out.numel()).view(out.shape).sin()
    return [out, *torch.autograd.grad((out * weight).sum(), tensors, allow_unused=True)]


@settings(max_examples=60)
@given(rows())
def test_segments_are_the_rule(row: tuple[list[Sizes], int]) -> None:
    layout, _ = lay_out(*row)
    used, tensors = layout[:, 0] >= 0, inputs(len(layout))
    mask = dense_mask(layout)
    expected = scaled_dot_product_attention(*tensors, attn_mask=mask, enable_gqa=True)
    found = attend(*tensors, attention_layout(layout[None]))
    for a, b in zip(result(found, tensors, used), result(expected, tensors, used), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_the_block_mask_is_the_rule() -> None:
    layout, _ = lay_out([Sizes(150, ((40, 60), (149, 130))), Sizes(90, ((0, 40), (90, 1)))], 41)
    q, k, v = (tensor.detach() for tensor in inputs(len(layout)))
    mask = dense_mask(layout)
    expected = scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
    blocks = block_mask(layout)
    assert blocks.sparsity() > 25  # percent of blocks of which nothing is seen
    found = flex_attention(q, k, v, block_mask=blocks, enable_gqa=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_one_trunk_is_plain_causal_attention() -> None:
    layout, _ = lay_out([Sizes(9)], 0)
    tensors = inputs(9)
    assert torch.equal(attend(*tensors, attention_layout(layout[None])), attend(*tensors, None))


def test_branches_that_attend_alike_are_one_batch() -> None:
    layout, _ = lay_out([Sizes(9, ((4, 3), (4, 3), (4, 2), (7, 3))), Sizes(9, ((4, 3),))], 3)
    found = [
        (batch.trunk, batch.root, batch.runs) for batch in attention_layout(layout[None]).batches
    ]
    assert found == [
        (0, 0, (0,)),
        (0, 4, (1, 2)),
        (0, 4, (3,)),
        (0, 7, (4,)),
        (5, 0, (5,)),
        (5, 4, (6,)),
        (7, 0, (7,)),
    ]
