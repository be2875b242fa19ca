"""Trees packed in rows and the unshared computation, and how far they are apart.

Gradients are what `Learner.step` leaves in `main_grad` at learning rate 0, which moves nothing.
The unshared computation is made once, on one process, and kept in the model's folder; every layout
is compared with it. A row of `unshared` has one candidate, but an objective needs all of a cut:
so the loss is differentiated by the log-probabilities of all rows, and those of each row are then
weighted with the result, which is the chain rule.

Runs in processes made by `tests.train.launch`; every rank returns what it can see.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import hypot, nan
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prewrite.train import parallel
from prewrite.train.advantages import advantages
from prewrite.train.config.phases import Grpo
from prewrite.train.config.sections import ParallelConfig, TrainConfig
from prewrite.train.data.rows import PackedSequence, build_row, pack, unshared
from prewrite.train.data.trees import ORIGINAL, REWRITE, ROLLOUT, Candidate, Tree
from prewrite.train.learner import Learner, forward_backward
from prewrite.train.model.shape import ModelShape, load_shape
from prewrite.train.model.weights import tensors
from prewrite.train.objectives import Loss, Sums
from tests.train.launch import started

Found = dict[str, float]
OBJECTIVES: dict[str, Any] = {
    "nll": [{"kind": "nll"}, {"kind": "nll", "text": "rewrite", "weight": 0.5}],
    "dpo": {"kind": "dpo", "beta": 0.3, "reference": "stored"},
    "grpo": {"kind": "grpo", "tokens": 7},
}
ROW_TOKENS, VOCABULARY = 128, 250


@dataclass(frozen=True)
class Result:
    """What came out: log-probabilities of each candidate's tokens by its id, and by objective the
    loss and the gradients of the tensors as Hugging Face has them (on the main process only).
    """

    logps: dict[str, Tensor]
    losses: dict[str, float] = field(default_factory=dict)
    gradients: dict[str, dict[str, Tensor]] = field(default_factory=dict)


def measure(work: list[tuple[ParallelConfig, list[Path]]]) -> list[dict[str, Found]]:
    """For every layout, for every model by its folder's name, the distances."""
    found = []
    for config, folders in work:
        with started(config):
            found.append({folder.name: _measure(folder, config) for folder in folders})
    return found


def forest() -> list[Tree]:
    """Trees of every form: a branch at every cut, originals that overlap, the first cut, a branch
    of one token, a large group, a trunk alone, texts without a score.
    """
    return [
        _tree(0, 40, [(cut, cut + 8, [9 - cut // 8]) for cut in range(8, 40, 8)]),
        _tree(1, 30, [(cut, 30, [5, 5]) for cut in (1, 2, 13, 29)]),
        _tree(2, 33, [(26, 33, [1, 3, 5, 5, 7, 9, 9, 11])]),
        _tree(3, 17, [(9, 17, [])]),
        _tree(4, 20, [(10, 18, [8]), (18, 20, [6])]),
    ]


def _tree(sample: int, size: int, cuts: list[tuple[int, int, list[int]]]) -> Tree:
    """cuts: where each is, where its original ends, and the lengths of its branches."""
    random = np.random.default_rng(sample)
    trunk, *texts = (
        random.integers(VOCABULARY, size=length).astype(np.int32)
        for length in [size, *(length for _, _, branches in cuts for length in branches)]
    )
    candidates: list[Candidate] = []
    for cut, end, branches in cuts:
        kinds = [ORIGINAL, REWRITE, *[ROLLOUT] * len(branches)][: len(branches) + 1]
        for kind in kinds:
            tokens = texts.pop(0) if kind else trunk[cut:end]
            candidates.append(
                Candidate(
                    id=f"{sample}.{len(candidates)}",
                    kind=kind,
                    cut=cut,
                    tokens=tokens,
                    on_trunk=kind == ORIGINAL,
                    score=nan if len(candidates) == 4 else random.choice([0.0, 0.5, 0.75, 2.0]),
                    reference=random.normal(-6 * len(tokens), 3),
                    sampled=_sampled(random, kind, len(tokens)),
                )
            )
    return Tree(sample, trunk, tuple(candidates))


def _sampled(random: np.random.Generator, kind: int, size: int) -> tuple[float, ...]:
    return tuple(random.normal(-5, 1, size).tolist()) if kind == ROLLOUT else ()


def _later_branches(row: PackedSequence) -> PackedSequence:
    """Branches one position too far on."""
    return replace(row, positions_S=row.positions_S + (row.layout_S4[:, 1] > 0))


def _short_prefixes(row: PackedSequence) -> PackedSequence:
    """Branches that do not see the last token of their prefix."""
    layout_S4 = row.layout_S4.clone()
    layout_S4[:, 3] -= ((layout_S4[:, 1] > 0) & (layout_S4[:, 3] > 0)).int()
    return replace(row, layout_S4=layout_S4)


def _plain(row: PackedSequence) -> PackedSequence:
    """Every token sees all before it, as in packing without a mask."""
    place_S, zero_S = torch.arange(len(row.tokens_S)).int(), torch.zeros(len(row.tokens_S)).int()
    return replace(row, layout_S4=torch.stack([zero_S, zero_S, place_S, place_S + 1], 1))


def _correct(row: PackedSequence) -> PackedSequence:
    return row


BROKEN: dict[str, Callable[[PackedSequence], PackedSequence]] = {
    "later branches": _later_branches,
    "short prefixes": _short_prefixes,
    "plain": _plain,
}
_VARIANTS = {"": _correct} | BROKEN


def _measure(folder: Path, config: ParallelConfig) -> Found:
    recipe, shape = _recipe(folder, config), load_shape(str(folder))
    learner, place = Learner(recipe, shape), folder / "unshared.pt"
    if not place.exists():
        torch.save(vars(_apart(learner, recipe, shape)), place)
    truth = Result(**torch.load(place))
    # A row of nothing but padding is what a rank gets whose share of the samples is empty.
    rows = [*pack(forest(), ROW_TOKENS), *pack([], ROW_TOKENS)]
    mine = rows[parallel.data_rank() :: parallel.data_size()]
    found: Found = {}
    # That a broken row shows does not depend on what is computed twice.
    variants = _VARIANTS if config.recompute == "none" else {"": _correct}
    for name, change in variants.items():
        result = _together(learner, recipe, shape, [change(row) for row in mine])
        found |= {f"{name} {key}".strip(): value for key, value in _compare(result, truth).items()}
    return found


def _recipe(folder: Path, config: ParallelConfig) -> TrainConfig:
    phases = [
        {"name": name, "objective": objective, "until": {"step": step}}
        for step, (name, objective) in enumerate(OBJECTIVES.items(), 1)
    ]
    return TrainConfig.model_validate(
        {
            "data": [{"set": "no set"}],
            "output": "no folder",
            "model": {"path": str(folder)},
            "parallel": config,
            "optimizer": {"warmup_steps": 0, "clip_grad": 0.0},
            "curriculum": phases,
        }
    )


def _together(
    learner: Learner, recipe: TrainConfig, shape: ModelShape, rows: Sequence[PackedSequence]
) -> Result:
    """The rows as they are, through `Learner.step`."""
    result = Result(_logps(learner, rows))
    for phase in recipe.curriculum:
        result.losses[phase.name] = learner.step(rows, phase, rate=0.0).values["loss"]
        result.gradients[phase.name] = _gradients(learner, shape)
    return result


def _apart(learner: Learner, recipe: TrainConfig, shape: ModelShape) -> Result:
    """The forest without sharing, on one process."""
    trees = forest()
    rows, whole = unshared(trees), build_row(trees, sum(tree.cost for tree in trees)).candidates
    result = Result(_logps(learner, rows))
    for phase in recipe.curriculum:
        logp_T = torch.cat([result.logps[key] for key in whole.ids]).requires_grad_()
        loss, known = Loss(phase.objective), whole
        for part in phase.objective:
            if isinstance(part, Grpo):
                (known,) = advantages([whole], part)
        total, _ = loss(logp_T, known, loss.counts(known))
        (weight_T,) = torch.autograd.grad(total, logp_T)
        split = torch.split(weight_T, [len(row.at_T) for row in rows])
        weights = dict(zip(whole.ids, split, strict=True))
        learner._ddp.zero_grad_buffer()
        forward_backward(learner._ddp, rows, partial(_weighted, weights))
        result.losses[phase.name] = float(total)
        result.gradients[phase.name] = _gradients(learner, shape)
    return result


def _weighted(
    weights: dict[str, Tensor], row: PackedSequence, logp_T: Tensor
) -> tuple[Tensor, Sums]:
    (key,) = row.candidates.ids
    return (logp_T * weights[key]).sum(), {}


def _logps(learner: Learner, rows: Sequence[PackedSequence]) -> dict[str, Tensor]:
    """Log-probabilities of the tokens of each candidate, on the last stage."""
    reports = forward_backward(
        learner.model, rows, lambda row, logp_T: (logp_T.sum(), {"logp_T": logp_T}), True
    )
    logps = {}
    for row, report in zip(rows, reports, strict=False):
        for number, key in enumerate(row.candidates.ids):
            logps[key] = report["logp_T"][row.candidates.candidate_T == number]
    return logps


@torch.no_grad()
def _gradients(learner: Learner, shape: ModelShape) -> dict[str, Tensor]:
    """`main_grad` of the whole model, read as if it were the weights; those come back."""
    parameters = list(learner.model.parameters())
    weights = [parameter.clone() for parameter in parameters]
    for parameter in parameters:
        parameter.copy_(parameter.main_grad)
    gradients = {key: tensor.clone() for key, tensor in tensors(learner.model, shape)}
    for parameter, weight in zip(parameters, weights, strict=True):
        parameter.copy_(weight)
    return gradients


def _compare(found: Result, truth: Result) -> Found:
    """Largest differences, in nats; gradients relative to their norm, whole and tensor by tensor.

    That of a candidate is absolute up to 10 nats and relative, times 10, above: there float32
    rounding grows with it.
    """
    distances: Found = {}
    if found.logps:
        apart = {key: found.logps[key].double() - truth.logps[key] for key in found.logps}
        sums = {key: float(truth.logps[key].double().sum()) for key in apart}
        distances["token"] = max(float(one_T.abs().max()) for one_T in apart.values())
        distances["candidate"] = max(
            abs(float(one_T.sum())) / max(1, -sums[key] / 10) for key, one_T in apart.items()
        )
    for name, gradients in found.gradients.items():
        distances[f"{name} loss"] = abs(found.losses[name] - truth.losses[name])
        if not parallel.is_main():
            continue
        wanted = truth.gradients[name]
        sizes = {key: float(tensor.norm()) for key, tensor in wanted.items()}
        errors = {key: float((gradients[key] - wanted[key]).norm()) for key in wanted}
        distances[f"{name} gradient"] = hypot(*errors.values()) / hypot(*sizes.values())
        distances[f"{name} tensor"] = max(errors[key] / sizes[key] for key in errors)
    return distances
