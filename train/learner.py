"""The model that learns: forward and backward over the rows of a batch, then one AdamW step.

The loss of a step is Σ_n weight_n · (Σ_rows sum_n) / max(1, Σ_rows count_n) over the rows of all
ranks and the components n. The counts follow from the data alone, so they are summed over the ranks
before the first forward pass, and gradients are plain sums: it makes no difference which rank has
which row, nor how many rows a rank has. A step in which no rank has a cut point to learn from
(`train.learnt`) moves nothing.

Shapes: a micro-batch is 1 row of S tokens with T trained tokens and C candidates; N components of
the loss, M reported sums.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite, nan
from typing import Any

import torch
from megatron.core.distributed import (
    DistributedDataParallel,
    DistributedDataParallelConfig,
    finalize_model_grads,
)
from megatron.core.optimizer import OptimizerConfig as MegatronOptimizerConfig
from megatron.core.optimizer import get_megatron_optimizer, get_standard_config_overrides
from megatron.core.pipeline_parallel import get_forward_backward_func
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_

from prewrite.train import parallel
from prewrite.train.advantages import with_advantages
from prewrite.train.config.phases import Grpo, Phase
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.rows import PackedSequence
from prewrite.train.learnt import POINTS, cut_points
from prewrite.train.model.build import build
from prewrite.train.model.shape import ModelShape
from prewrite.train.objectives import Loss, Sums, report, sum_tokens

OfRow = Callable[[PackedSequence, Tensor], tuple[Tensor, Sums]]


@dataclass(frozen=True)
class StepResult:
    """One step: its values over all ranks, the gradient norm, and, where the loss or the gradient
    was not finite and the model did not move, what was found. points: `train.learnt.POINTS` over
    all ranks; with nothing to learn from the step is `empty`, and the model did not move either.
    """

    values: dict[str, float]
    grad_norm: float
    fault: str | None
    points: dict[str, int]

    @property
    def empty(self) -> bool:
        """Whether there was nothing to learn from."""
        return self.points["learnt"] == 0


class Learner:
    """This rank's stage of the model with its optimizer and, where asked for, frozen reference."""

    def __init__(self, config: TrainConfig, shape: ModelShape) -> None:
        self.config = config
        self.model = build(shape, config.model, config.parallel, config.seed)
        frozen = any(phase.reference == "frozen" for phase in config.curriculum)
        self.reference = frozen_model(config, shape) if frozen else None
        self._ddp = DistributedDataParallel(
            self.model.config,
            DistributedDataParallelConfig(
                grad_reduce_in_fp32=True,
                use_distributed_optimizer=config.parallel.distributed_optimizer,
            ),
            self.model,
        )
        self.optimizer = _optimizer(config, self._ddp)
        self.model.config.finalize_model_grads_func = _add_up_gradients

    def step(self, rows: Sequence[PackedSequence], phase: Phase, rate: float) -> StepResult:
        """Learn from this rank's rows of a batch at learning rate `rate`; every rank calls."""
        loss = Loss(phase.objective, phase.online)
        for row in rows:  # not on the device, which each of these would wait for
            loss.check(row.candidates)
        grpo = next((part for part in phase.objective if isinstance(part, Grpo)), None)
        rows = with_advantages(rows, grpo) if grpo else rows
        counts_N, points_P = _counts(loss, rows)
        rows = [row.to(parallel.device()) for row in rows]
        if phase.reference == "frozen":
            rows = with_reference(self.reference, rows)
            rows = with_advantages(rows, grpo) if grpo and grpo.kl else rows
        self._ddp.zero_grad_buffer()
        self.optimizer.zero_grad()
        sums = forward_backward(self._ddp, rows, partial(_loss_of_row, loss, counts_N))
        values = _over_ranks(sums)
        self.optimizer.prepare_grads()
        norm = float(self.optimizer.get_grad_norm())
        points = dict(zip(POINTS, points_P.tolist(), strict=True))
        outcome = StepResult(report(values), norm, _fault(values, norm, sums, rows), points)
        if outcome.fault is None and not outcome.empty:
            self._move(rate, norm)
        if outcome.fault is None:
            outcome.values.update(_nothing(phase, counts_N.tolist(), outcome.empty))
        return outcome

    def _move(self, rate: float, norm: float) -> None:
        settings = self.config.optimizer
        if 0 < settings.clip_grad < norm:
            parameters = self.optimizer.get_parameters()
            clip_grads_with_norm_(parameters, settings.clip_grad, torch.tensor(norm))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
            group["weight_decay"] = settings.weight_decay * group["wd_mult"]
        self.optimizer.step_with_ready_grads()


def frozen_model(config: TrainConfig, shape: ModelShape) -> Any:
    """The configured model as it is before any step: the reference."""
    model = build(shape, config.model, config.parallel, config.seed)
    return model.requires_grad_(False).eval()


def forward_backward(
    model: Any, rows: Sequence[PackedSequence], of_row: OfRow, forward_only: bool = False
) -> list[Sums]:
    """Run `model` over rows, one a micro-batch; what `of_row` says of each, on the last stage.

    of_row: (row, its log-probabilities logp_T) → (loss to differentiate, detached sums).
    """

    def forward(
        rows: Iterator[PackedSequence], stage: Any
    ) -> tuple[Tensor, Callable[[Tensor], Any]]:
        row = next(rows)
        nll_1T = stage(
            row.tokens_S[None],
            row.positions_S[None],
            row.layout_S4[None],
            labels=row.labels_S[None, row.at_T],
            at_T=row.at_T,
        )

        def finish(nll_1T: Tensor) -> tuple[Tensor, Tensor, Sums]:
            loss, sums = of_row(row, -nll_1T[0].float())
            return loss, torch.ones((), dtype=torch.int, device=loss.device), sums

        return nll_1T, finish

    # Lengths are those of the rows themselves: the model has variable_seq_lengths.
    reports: list[Sums] = get_forward_backward_func()(
        forward_step_func=forward,
        data_iterator=iter(rows),
        model=model,
        num_microbatches=len(rows),
        seq_length=max(len(row.tokens_S) for row in rows),
        micro_batch_size=1,
        forward_only=forward_only,
    )
    return reports


def with_reference(model: Any, rows: Sequence[PackedSequence]) -> list[PackedSequence]:
    """The rows with the log-probabilities that `model` gives their candidates."""
    reports = forward_backward(model, rows, _candidates_of_row, forward_only=True)
    if not reports:
        return list(rows)  # only the last stage has log-probabilities, and only it needs them
    return [
        replace(row, candidates=replace(row.candidates, reference_C=found["logp_C"]))
        for row, found in zip(rows, reports, strict=True)
    ]


def _counts(loss: Loss, rows: Sequence[PackedSequence]) -> tuple[Tensor, Tensor]:
    """What divides the components, and `POINTS`, over the rows of all ranks."""
    parts = loss.components
    counts = torch.stack([loss.counts(row.candidates) for row in rows]).sum(0)
    sums = torch.cat([counts, cut_points(parts, rows)]).to(parallel.device())
    torch.distributed.all_reduce(sums, group=parallel.data_group())
    return sums[: len(parts)], sums[len(parts) :]


def _nothing(phase: Phase, counts: Sequence[int], empty: bool) -> dict[str, float]:
    """The losses that are means over nothing, which is NaN: 0 would be a measurement."""
    parts = zip(phase.objective, counts, strict=True)
    found = {f"loss/{part.name}": nan for part, count in parts if not count}
    return found | ({"loss": nan} if empty else {})


def _loss_of_row(
    loss: Loss, counts_N: Tensor, row: PackedSequence, logp_T: Tensor
) -> tuple[Tensor, Sums]:
    return loss(logp_T, row.candidates, counts_N)


def _candidates_of_row(row: PackedSequence, logp_T: Tensor) -> tuple[Tensor, Sums]:
    # What a pipeline stage receives asks for a gradient, whatever it is used for.
    return logp_T.sum(), {"logp_C": sum_tokens(logp_T, row.candidates).detach()}


def _add_up_gradients(model: Any, _tokens: Tensor | None, **groups: Any) -> None:
    # Losses are divided already, see the module: nothing is left to divide gradients by.
    finalize_model_grads(model, None, **groups)


def _over_ranks(reports: list[Sums]) -> dict[str, float]:
    """The sums over the rows of all ranks, known to every stage."""
    if not reports:
        return parallel.from_last_stage(None)
    sums = {name: sum(float(found[name]) for found in reports) for name in reports[0]}
    return parallel.from_last_stage(parallel.all_reduce_sum(sums))


def _fault(
    values: dict[str, float], norm: float, reports: list[Sums], rows: Sequence[PackedSequence]
) -> str | None:
    """What is not finite, and the samples it came from; None when all is well."""
    if isfinite(values["loss"]) and isfinite(norm):
        return None
    bad = [
        sample
        for found, row in zip(reports, rows, strict=False)  # only the last stage has reports
        if not isfinite(found["loss"])
        for sample in row.samples
    ]
    samples = parallel.gather(bad)
    what = "gradient norm" if isfinite(values["loss"]) else "loss"
    where = f"in the rows of samples {', '.join(map(str, samples))}" if samples else "in no one row"
    return f"the {what} is not finite, {where}"


def _optimizer(config: TrainConfig, model: DistributedDataParallel) -> Any:
    dtype = getattr(torch, config.model.dtype)
    settings = MegatronOptimizerConfig(
        optimizer="adam",
        lr=config.optimizer.lr,
        min_lr=config.optimizer.min_lr,
        weight_decay=config.optimizer.weight_decay,
        adam_beta1=config.optimizer.betas[0],
        adam_beta2=config.optimizer.betas[1],
        adam_eps=config.optimizer.eps,
        bf16=dtype is torch.bfloat16,
        params_dtype=dtype,
        use_distributed_optimizer=config.parallel.distributed_optimizer,
        clip_grad=0.0,  # clipped here, once the norm is known to be finite
    )
    overrides = get_standard_config_overrides(settings)
    return get_megatron_optimizer(settings, [model], config_overrides=overrides)
