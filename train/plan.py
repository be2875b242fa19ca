"""What a run would cost, found without starting it: `prewrite train --dry-run`.

Parameters and steps are exact (of a phase that ends at a plateau: the most it can take); the layout
is measured on the first samples of each phase.
Memory is an estimate: weights, gradients and optimizer state by their sizes (AdamW: two float32
numbers a parameter, and the weight itself once more under bfloat16), activations by the count of
Korthikanti et al., arXiv 2205.05198, for attention that materialises no scores. The engines of a
online phase come on top: they take what `engines` gives them.
"""

import os
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

from prewrite.engine.config import EngineConfig
from prewrite.train.config.phases import Phase, end_step
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.loader import Loader
from prewrite.train.data.rows import PackedSequence
from prewrite.train.feed import open_loader
from prewrite.train.model.shape import ModelShape, load_shape
from prewrite.train.model.weights import parameters
from prewrite.train.online.prompts import prompt_batch
from prewrite.train.owned import refuse_foreign
from prewrite.train.preflight import preflight

_TRIED = 64  # samples whose layout is measured, or one batch
_MOST = 1024  # of one batch


def plan(config: TrainConfig, engines: Mapping[str, EngineConfig] | None = None) -> str:
    """The plan in lines for a person; raises what `preflight` finds."""
    refuse_foreign(Path(config.output))
    shape = load_shape(config.model.path, config.model.revision)
    lines = [
        f"model    {shape.family}, {parameters(shape):,} parameters",
        f"memory   {_memory(config, shape)}",
    ]
    tried = min(config.batch.samples, _MOST)
    batch = config.batch.model_copy(update={"samples": tried})
    measured = config.model_copy(update={"batch": batch})
    with open_loader(measured, shape, references=False, engines=engines) as loader:
        trial = Path(config.output) / f".trial-{os.getpid()}"
        preflight(config, shape, loader, trial, engines)
        lines += [
            f"data     {url}: {size:,} samples an epoch" for url, size in loader.sizes.items()
        ]
        first = 0
        for phase in config.curriculum:
            last = end_step(phase, config.batch.samples)
            steps = f"steps {first + 1} to {last}"
            lines.append(f"phase    {phase.name}: {steps}, {_layout(config, loader, phase, first)}")
            first = last
    return "\n".join(lines)


def _memory(config: TrainConfig, shape: ModelShape) -> str:
    """Bytes a rank, in GB, for one process of each pipeline stage and tensor parallel rank."""
    split = config.parallel.tp * config.parallel.pp
    wide = 4 if config.model.dtype == "float32" else 2
    numbers = parameters(shape) / split
    frozen = any(phase.reference == "frozen" for phase in config.curriculum)
    weights, gradients = numbers * wide * (1 + frozen), numbers * 4
    optimizer = numbers * (8 if wide == 4 else 12)
    parts = {
        "weights": weights,
        "gradients": gradients,
        "optimizer": optimizer,
        "activations": _activations(config, shape, wide),
    }
    shown = ", ".join(f"{name} {size / 1e9:.2f}" for name, size in parts.items())
    shared = config.parallel.distributed_optimizer
    note = "; the optimizer's is split over data parallel" if shared else ""
    return f"about {sum(parts.values()) / 1e9:.2f} GB a rank ({shown}{note})"


def _activations(config: TrainConfig, shape: ModelShape, wide: int) -> float:
    """Of one row; a pipeline holds as many rows as it has stages, each with its share of layers."""
    tokens, tp = config.batch.sequence_tokens, config.parallel.tp
    layer = 2 * shape.hidden + 2 * (shape.heads + shape.kv_heads) * shape.head / tp
    layer += 2 * shape.hidden + 3 * shape.feed_forward / tp
    kept = shape.hidden if config.parallel.recompute == "full" else layer
    logits = 3 * 4 * shape.vocabulary / tp  # float32, their softmax and their gradient
    return tokens * (shape.layers * kept * wide + logits)


def _layout(config: TrainConfig, loader: Loader, phase: Phase, step: int) -> str:
    """Tokens a step and how well the layout uses them, on the phase's first batches."""
    size, tried = config.batch.samples, min(config.batch.samples, _MOST)
    if config.rollouts and phase.online:
        return _online(config, loader, phase, step * size, size / tried)
    batches = max(1, min(_TRIED // size, end_step(phase, size) - step))
    used = padding = plain = long = 0
    for number in range(batches):
        batch = loader.batch((step + number) * size, phase)
        used, padding = used + batch.used, padding + batch.padding
        plain += sum(map(_unshared, batch.rows))
        long += batch.counts.get("too_long", 0)
    shared = f", {plain / used:.2f} times fewer than with a sequence a candidate" if used else ""
    each = used / batches * size / tried
    return (
        f"about {each * (end_step(phase, size) - step):,.0f} tokens, {each:,.0f} a step{shared}, "
        f"padding {padding / (used + padding):.1%}"
        + f", {long} rewrites too long in {batches * tried} samples"
        * bool(long)
    )


def _online(config: TrainConfig, loader: Loader, phase: Phase, first: int, times: float) -> str:
    """What a step samples and learns from, at most, on the phase's first batch. times: how often
    a batch of the loader goes into one of the run.
    """
    rollouts = config.rollouts
    assert rollouts, "the configuration of an online phase has them"
    asked = prompt_batch(loader, first, phase, config)
    trees = chain.from_iterable(asked.laid.trees)
    cut_points, longest = round(len(asked.prompts) * times), rollouts.samples * rollouts.tokens
    tokens = round(sum(tree.cost for tree in trees) * times) + cut_points * longest
    prompts = round(sum(len(one.tokens) for one in asked.prompts) * times)
    what, tokens = ("prompts", tokens + prompts) if config.prompted else ("cut points", tokens)
    return (
        f"{cut_points} {what} and {cut_points * rollouts.samples:,} rollouts a step, at most "
        f"{cut_points * longest:,} tokens after {prompts:,} of prompts, and {tokens:,} to learn "
        "from"
        + _left_out(asked.laid.counts)
        + (f"; {told}" if (told := rollouts.sharpened) else "")
    )


def _left_out(counts: Mapping[str, int]) -> str:
    """Of the rows of a prompted task, those that ask nothing."""
    told = {
        "no_label": "without a label, or a thought",
        "too_long": "whose prompt is too long",
    }
    found = [f"{counts[name]} {words}" for name, words in told.items() if counts.get(name)]
    return f"; of {counts['samples']} rows {', '.join(found)}" if found else ""


def _unshared(row: PackedSequence) -> int:
    """Input tokens of a row's candidates, each in a sequence of its own after its prefix."""
    last_C = row.candidates.candidate_T.new_zeros(len(row.candidates.ids))
    ends_T = row.positions_S[row.at_T] + 1
    last_C.scatter_reduce_(0, row.candidates.candidate_T, ends_T, "amax")
    return int(last_C.sum())
