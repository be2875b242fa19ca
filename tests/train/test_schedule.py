"""Learning rates: Megatron-Core's shapes, from each restart to the planned end of its span."""

from typing import Any

import pytest
import torch
from megatron.core.optimizer_param_scheduler import OptimizerParamScheduler

from prewrite.train.config.sections import OptimizerConfig
from prewrite.train.curriculum import PhaseStart
from prewrite.train.schedule import learning_rate, rate
from tests.train.test_curriculum import config

MEGATRON = {"cosine": "cosine", "wsd": "WSD", "constant": "constant"}


def megatron(config: OptimizerConfig, steps: int) -> list[float]:
    """Megatron-Core's rates after 1 … `steps` steps."""
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    scheduler = OptimizerParamScheduler(
        optimizer,
        init_lr=0.0,
        max_lr=config.lr,
        min_lr=config.min_lr,
        lr_warmup_steps=config.warmup_steps,
        lr_decay_steps=steps,
        lr_decay_style=MEGATRON[config.schedule],
        start_wd=0.1,
        end_wd=0.1,
        wd_incr_steps=0,
        wd_incr_style="constant",
        wsd_decay_steps=config.decay_steps,
        lr_wsd_decay_style="minus_sqrt",
    )
    rates = []
    for _ in range(steps):
        scheduler.step(1)
        rates.append(float(optimizer.param_groups[0]["lr"]))
    return rates


@pytest.mark.parametrize("schedule", MEGATRON)
@pytest.mark.parametrize("warmup", [0, 1, 7])
def test_shapes_are_those_of_megatron_core(schedule: str, warmup: int) -> None:
    decay = 5 if schedule == "wsd" else 0
    config = OptimizerConfig.model_validate(
        {"schedule": schedule, "warmup_steps": warmup, "decay_steps": decay, "lr": 1e-3}
    )
    rates = [rate(config, done, 30) for done in range(1, 31)]
    assert rates == pytest.approx(megatron(config, 30), rel=1e-12)


def test_the_published_run() -> None:
    """arXiv 2601.21343, continued training: 2,000 steps, 5e-6, 100 warm-up, cosine to a tenth."""
    run = config([{"until": {"step": 2000}}], warmup_steps=100)
    rates = [learning_rate(run, step, [PhaseStart(0, 0)]) for step in range(2000)]
    assert rates[0] == pytest.approx(5e-8)
    assert rates[99] == max(rates) == 5e-6
    assert rates[1049] == pytest.approx((5e-6 + 5e-7) / 2)
    assert rates[-1] == min(rates[99:]) == pytest.approx(5e-7)


def starts(*steps: int) -> list[PhaseStart]:
    return [PhaseStart(step, 4 * step) for step in steps]


def until(step: int, **more: Any) -> dict[str, Any]:
    return {"until": {"step": step}} | more


def test_phases_share_a_schedule_until_one_restarts_it() -> None:
    run = config(
        [until(10), until(20), until(30, learning_rate="restart"), until(40)],
        warmup_steps=4,
        lr=1.0,
        min_lr=0.1,
    )
    begun = {range(10): [0], range(10, 20): [0, 10], range(20, 30): [0, 10, 20]}
    begun |= {range(30, 40): [0, 10, 20, 30]}
    rates = [learning_rate(run, step, starts(*begun[r])) for r in begun for step in r]
    assert rates[:20] == rates[20:]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[9] > rates[10] > rates[19] == pytest.approx(0.1)


def test_a_phase_that_ended_early_leaves_its_time_to_the_next() -> None:
    early = config([until(100), until(200, learning_rate="restart")], warmup_steps=4)
    rates = [learning_rate(early, step, starts(0, 30)) for step in range(30, 200)]
    assert rates == [rate(early.optimizer, done, 170) for done in range(1, 171)]
    assert rates[-1] == pytest.approx(early.optimizer.min_lr)

    going_on = config([until(100), until(200)], warmup_steps=4)
    assert learning_rate(going_on, 30, starts(0, 30)) == learning_rate(going_on, 30, starts(0))


def test_ends_in_samples_are_counted_in_steps() -> None:
    by_samples = config([{"until": {"samples": 398}}], warmup_steps=4)
    by_steps = config([until(100)], warmup_steps=4)
    for step in (0, 50, 99):
        assert learning_rate(by_samples, step, starts(0)) == learning_rate(
            by_steps, step, starts(0)
        )
