"""Arithmetic of a step, for model FLOPs utilisation (PaLM, arXiv 2204.02311, appendix B).

Each token costs 6 operations a parameter of the layers (forward and backward), and 12 a layer, head
dimension and token it attends to; each trained token 6 a parameter of the output layer, which sees
no others. With trees a token at position p attends to p + 1 tokens, on the trunk and on a branch
alike, so recomputed or shared work is not counted twice.
"""

from collections.abc import Sequence

from prewrite.train.data.rows import PackedSequence
from prewrite.train.model.shape import ModelShape
from prewrite.train.model.weights import parameters

PEAK = {"A100": 312e12, "H100": 989e12, "H200": 989e12, "B200": 2250e12}
"""Dense bfloat16 operations a second, by NVIDIA's data sheets."""


def model_flops(shape: ModelShape, rows: Sequence[PackedSequence]) -> float:
    """Operations of one forward and backward pass over `rows`, padding left out."""
    width = shape.heads * shape.head
    output, total = shape.vocabulary * shape.hidden, 0.0
    layers = parameters(shape) - output * (1 if shape.tied else 2)  # without the embedding
    for row in rows:
        attended = int((row.positions_S[row.layout_S4[:, 0] >= 0] + 1).sum())
        total += 6.0 * (layers * row.used + output * len(row.at_T))
        total += 12.0 * shape.layers * width * attended
    return total


def peak_flops(device: str) -> float | None:
    """The peak of the GPU named `device`, None for one that is not in `PEAK`."""
    return next((peak for name, peak in PEAK.items() if name in device), None)
