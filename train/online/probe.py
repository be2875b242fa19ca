"""The probe: on fixed held-out prompts, how often a rollout beats the best stored text.

It decides when a run goes online, and watches it afterwards. One rollout a prompt, with the same
seeds every time; a tie counts half, a prompt where one of the two has no score counts for nothing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain
from typing import Any

from prewrite.engine.config import EngineConfig
from prewrite.shards.reader import ShardSet
from prewrite.train import parallel
from prewrite.train.config.phases import BASE, KINDS, Phase
from prewrite.train.config.rollouts import ProbeConfig
from prewrite.train.config.sections import DataConfig, TrainConfig
from prewrite.train.data.feed import open_loader
from prewrite.train.model.shape import ModelShape
from prewrite.train.online.batches import OnlineBatches
from prewrite.train.online.messages import Metrics, RolloutGroup, RolloutPrompt, rollout_name
from prewrite.train.online.prompts import PromptBatch, prompt_batch

_PHASE = {"name": "probe", "objective": "rf_nll", "until": {"step": 1}}


class Probe:
    """The prompts of this rank, read at the first use."""

    def __init__(
        self, config: TrainConfig, engines: Mapping[str, EngineConfig], shape: ModelShape
    ) -> None:
        self._config, self._engines, self._shape = config, engines, shape
        self._prompts: tuple[RolloutPrompt, ...] | None = None

    def __call__(self, online: OnlineBatches, step: int, model: Any) -> Metrics:
        """What the weights of now, after `step` steps, are worth; every process calls."""
        if self._prompts is None:
            self._prompts = self._read()
        online.sync(step, model)
        answer = online.ask(-1 - step, self._prompts, rollouts=1)
        results = [result for group in answer.groups if (result := _result(group)) is not None]
        won = {"won": sum(results), "judged": float(len(results))}
        sums = parallel.all_reduce_sum(
            won | {"cut_points": float(len(self._prompts))} | answer.values
        )
        found = {"win_rate": sums.pop("won") / max(1.0, sums["judged"])}
        return {f"probe/{name}": value for name, value in (found | sums).items()}

    def _read(self) -> tuple[RolloutPrompt, ...]:
        rollouts = self._config.rollouts
        assert rollouts and rollouts.probe
        config = held_out(self._config, rollouts.probe)
        rank, ranks = parallel.data_rank(), parallel.data_size()
        with parallel.main_first():
            loader = open_loader(config, self._shape, rank, ranks, engines=self._engines)
        with loader:
            asked = prompt_batch(loader, 0, config.curriculum[0], config)
        return tuple(_against_the_best(asked))


def held_out(config: TrainConfig, probe: ProbeConfig) -> TrainConfig:
    """A recipe whose first batch is the probe's prompts."""
    rollouts = config.rollouts
    assert rollouts
    held = ShardSet(probe.set).manifest.texts
    candidates = [*(kind for kind in BASE if kind in held), "rollout"]
    return config.model_copy(
        update={
            "data": [DataConfig(set=probe.set, filter=probe.filter, weight=1.0)],
            "batch": config.batch.model_copy(update={"samples": probe.cut_points}),
            "rollouts": rollouts.model_copy(update={"cut_points": 1, "samples": 1}),
            "curriculum": [Phase.model_validate(_PHASE | {"candidates": candidates})],
        }
    )


def _against_the_best(asked: PromptBatch) -> Iterator[RolloutPrompt]:
    """Each prompt with its better stored text alone, as the set's judge saw it."""
    scores = {
        (tree.sample, c.id, KINDS[c.kind]): c.score
        for tree in chain.from_iterable(asked.laid.trees)
        for c in tree.candidates
    }
    for prompt in asked.prompts:
        texts = prompt.pool.candidates
        known = {name: scores[prompt.sample, prompt.id, name] for name in texts}
        best = max(known, key=lambda name: (known[name] == known[name], known[name]))
        yield replace(prompt, pool=replace(prompt.pool, candidates={best: texts[best]}))


def _result(group: RolloutGroup) -> float | None:
    """1 where the rollout won, 0.5 for a tie; None where one of the two could not be judged."""
    own = group.scores.get(rollout_name(0))
    others = [score for name, score in group.scores.items() if name != rollout_name(0)]
    if own is None or not others:
        return None
    return (own > others[0]) + 0.5 * (own == others[0])
