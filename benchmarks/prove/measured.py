"""What models answer to held-out prompts, and what the project's own code says of the answers.

Every model gets the same prompts and seeds, one answer each at temperature 1, in one engine that
takes their weights one after the other. Intervals: 95 %, a bootstrap over rows.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prove.runs import config_of, engine_config
from prewrite.engine.vllm_engine import VllmEngine
from prewrite.train.config.rollouts import ProbeSetConfig
from prewrite.train.feed import open_loader
from prewrite.train.messages import Rollout, RolloutPrompt, rollout_name
from prewrite.train.model.shape import load_shape
from prewrite.train.online.earnings import earnings_of
from prewrite.train.online.policy import Policy
from prewrite.train.online.probe import held_out
from prewrite.train.online.prompts import prompt_batch

DRAWS = 5_000


@dataclass(frozen=True)
class Answered:
    """One answer. value: the verdict's for the text that stands first, None where there is none."""

    prompt: RolloutPrompt
    rollout: Rollout
    reward: float | None
    value: float | None = None


class Models(Policy):
    """The policy with the weights of any folder."""

    @property
    def engine(self) -> VllmEngine:
        """What answers."""
        return self._engine

    async def take(self, folder: Path) -> None:
        """Load weights."""
        await self._engine.reload(str(folder))


def held_prompts(section: dict[str, Any], held: Path, count: int) -> tuple[RolloutPrompt, ...]:
    """The prompts of all rows of a set of `count` rows, as the run's probe asks them."""
    criterion = section["data"][0].get("criterion")
    sample = ProbeSetConfig(set=str(held), cut_points=count, criterion=criterion)
    config = held_out(config_of(section), sample)
    with open_loader(config, load_shape(config.model.path)) as loader:
        return prompt_batch(loader, 0, config.curriculum[0], config).prompts


def models_of(section: dict[str, Any], end: int) -> Models:
    """An engine for the models of a run's shape."""
    rollouts = config_of(section).rollouts
    assert rollouts
    return Models(engine_config(Path(section["model"]["path"])), rollouts, end)


async def answers(
    models: Models, section: dict[str, Any], model: Path, prompts: Sequence[RolloutPrompt]
) -> list[Answered]:
    """One answer of `model` to each prompt, weighed as in training."""
    config = config_of(section)
    assert config.rollouts
    await models.take(model)
    told = await asyncio.gather(*(models.sample(prompt, 1) for prompt in prompts))
    engines = {config.rollouts.engine: engine_config(Path(config.model.path))}
    earnings = earnings_of(config.task, config.rollouts, engines)
    pairs = [(prompt, one[0]) for prompt, one in zip(prompts, told, strict=True)]
    earned = await earnings(pairs)
    name = rollout_name(0)
    return [
        Answered(prompt, rollouts[0], one.scores.get(name), _value(one.values, name))
        for (prompt, rollouts), one in zip(pairs, earned, strict=True)
    ]


def interval(values: Sequence[float]) -> dict[str, float]:
    """The mean with its percentiles over draws of the values."""
    some = np.asarray(values, float)
    draw = np.random.default_rng(0).integers(0, len(some), (DRAWS, len(some)))
    low, high = np.percentile(some[draw].mean(1), (2.5, 97.5))
    found = {"mean": some.mean(), "low": low, "high": high}
    return {name: round(float(value), 4) for name, value in found.items()} | {"n": len(some)}


def _value(values: Mapping[str, Mapping[str, float]], name: str) -> float | None:
    return next((found[name] for found in values.values() if name in found), None)
