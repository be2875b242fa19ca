"""The learning rate of a step: linear warm-up, then cosine, warm-up-stable-decay or constant.

A span of the schedule runs from the start of the run, or of a phase with `learning_rate:
restart`, to the planned end of the last phase before the next restart. Where it starts is what the
run measured (a plateau may have ended the phase before it early), where it ends is what the
configuration says; so the rate is a pure function of the step and of where the phases began, and a
resumed run has the same. A span that a plateau ends early breaks its decay off there.

The shapes are those of Megatron-Core's OptimizerParamScheduler, which is not used: it counts its
own steps beside the curriculum and knows no restart, and gives the first step of a run a rate of 0.
Here step i has the rate that Megatron-Core has after i + 1 steps.
"""

from collections.abc import Sequence
from math import cos, pi, sqrt

from prewrite.train.config.phases import Phase, end_step
from prewrite.train.config.sections import OptimizerConfig, TrainConfig
from prewrite.train.curriculum import PhaseStart


def learning_rate(config: TrainConfig, step: int, starts: Sequence[PhaseStart]) -> float:
    """The rate of optimizer step `step` of the run, counted from 0.

    starts: where each phase up to the current one began (`Curriculum.starts`).
    """
    phases = config.curriculum
    restarts = [i for i, phase in enumerate(phases) if i and phase.learning_rate == "restart"]
    first = max((i for i in restarts if i < len(starts)), default=0)
    last = min((i for i in restarts if i > first), default=len(phases)) - 1
    begin, end = starts[first].step, end_step(phases[last], config.batch.samples)
    return rate(config.optimizer, step - begin + 1, end - begin)


def differing(
    config: TrainConfig, before: Sequence[Phase], starts: Sequence[PhaseStart], step: int
) -> tuple[int, float, float] | None:
    """Of the `step` steps that a run has made with the phases `before`, the last one that would
    have had another rate with those of `config`: its number, from 1, and both rates; None where
    all are the same.

    starts: where each phase began. Cost: some microseconds a step.
    """
    old = config.model_copy(update={"curriculum": list(before)})
    for made in range(step - 1, -1, -1):
        so_far = [start for start in starts if start.step <= made]
        was, now = (learning_rate(one, made, so_far) for one in (old, config))
        if was != now:
            return made + 1, was, now
    return None


def rate(config: OptimizerConfig, done: int, steps: int) -> float:
    """The rate of the last of `done` steps, in a span of `steps`. Units: those of `lr`.

    wsd falls as 1 - sqrt(share of the decay), the best shape of arXiv 2405.18392.
    """
    if done < config.warmup_steps:
        return config.lr * done / config.warmup_steps
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "cosine":
        steps_left = max(1, steps - config.warmup_steps)
        height = (1 + cos(pi * min(1.0, (done - config.warmup_steps) / steps_left))) / 2
    else:
        decayed = done - (steps - config.decay_steps)
        height = 1 - sqrt(min(1.0, max(0.0, decayed / config.decay_steps)))
    return config.min_lr + (config.lr - config.min_lr) * height
