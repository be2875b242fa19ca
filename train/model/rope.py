"""Rotary position embedding at explicit positions, as Hugging Face computes it.

Pair i of a head's D dimensions turns by position * theta ** (-2i / D). With Llama 3.1's scaling,
pairs whose wave is longer than original / low turn `factor` times slower, those shorter than
original / high as before, and between the two the speed is interpolated.

Shape suffixes: B rows, S tokens of a row, D dimensions of a head.
"""

from math import pi

import torch
from torch import Tensor

from prewrite.train.model.shape import ModelShape, Scaling


def speeds(shape: ModelShape) -> Tensor:
    """Radians a position of each pair of dimensions, float32 [D / 2]."""
    exponent = torch.arange(0, shape.head, 2, dtype=torch.float32) / shape.head
    speed = 1.0 / shape.theta**exponent
    return speed if shape.scaling is None else _scaled(speed, shape.scaling)


def angles(positions_BS: Tensor, speed: Tensor) -> Tensor:
    """Angle of every dimension, float32 [S, B, 1, D]: what Megatron takes as `rotary_pos_emb`."""
    angle = positions_BS.T[..., None].float() * speed
    return torch.cat((angle, angle), -1)[:, :, None]


def _scaled(speed: Tensor, scaling: Scaling) -> Tensor:
    # Term by term as Hugging Face, so that the last bit is the same.
    waves = scaling.original / (2 * pi / speed)  # in the original context
    kept = ((waves - scaling.low) / (scaling.high - scaling.low)).clamp(0, 1)
    return (1 - kept) * speed / scaling.factor + kept * speed
