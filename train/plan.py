"""What a run would cost, found without starting it: `python -m train --dry-run`.

Parameters, steps and the layout are exact, the latter measured on the first samples of each phase.
Memory is an estimate: weights, gradients and optimizer state by their sizes (AdamW: two float32
numbers a parameter, and the weight itself once more under bfloat16), activations by the count of
Korthikanti et al., arXiv 2205.05198, for attention that materialises no scores.
"""

from collections.abc import Iterator, Sequence

from train.config import Phase, TrainConfig, end_step
from train.loader import Loader
from train.model.shape import Shape, load_shape
from train.model.weights import parameters
from train.rows import Row

_TRIED = 64  # samples whose layout is measured


def plan(config: TrainConfig) -> str:
    """The plan in lines for a person."""
    shape = load_shape(config.model.path, config.model.revision)
    lines = [f"model      {shape.family}, {parameters(shape):,} parameters"]
    lines.append(f"memory     {_memory(config, shape)}")
    with Loader(config, shape, 0, 1) as loader:
        first = 0
        for phase in config.curriculum:
            last = end_step(phase, config.batch.samples)
            lines.append(f"phase      {phase.name}: steps {first + 1} to {last}, {_layout(config, loader, phase, first)}")
            first = last
    return "\n".join(lines)
