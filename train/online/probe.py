"""The probe: on fixed held-out prompts, how often a rollout beats the best stored text, or what the
rollouts of a prompted task earn.

It decides when a phase ends, and watches it. One rollout a prompt, with the same seeds every time;
a tie counts half, a prompt where one of the two has no score counts for nothing.
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
from prewrite.train.config.task import PromptedTask
from prewrite.train.data.texts import TextTokens
from prewrite.train.feed import open_loader
from prewrite.train.messages import (
    Metrics,
    RolloutGroup,
    RolloutPrompt,
    RolloutResponse,
    rollout_name,
)
from prewrite.train.model.shape import ModelShape
from prewrite.train.online.batches import OnlineBatches
from prewrite.train.online.prompts import PromptBatch, prompt_batch
from prewrite.train.online.store import by_key
from prewrite.train.tasks import probed

_EXAMPLES = 16

_PHASE = {"name": "probe", "until": {"step": 1}}


class Probe:
    """The prompts of this rank, read at the first use. examples: the first of them at the last
    probe, with what was answered.
    """

    def __init__(
        self, config: TrainConfig, engines: Mapping[str, EngineConfig], shape: ModelShape
    ) -> None:
        self._config, self._engines, self._shape = config, engines, shape
        self._prompts: tuple[RolloutPrompt, ...] | None = None
        self._texts: TextTokens | None = None
        self.examples: list[tuple[RolloutPrompt, RolloutGroup]] = []

    def __call__(self, online: OnlineBatches, step: int, model: Any) -> Metrics:
        """What the weights of now, after `step` steps, are worth; every process calls."""
        if self._prompts is None:
            self._prompts = self._read()
        online.sync(step, model)
        answer = online.ask(-1 - step, self._prompts, rollouts=1)
        self.examples = [*zip(self._prompts, answer.groups, strict=True)][:_EXAMPLES]
        if self._config.prompted:
            return self._rewarded(answer)
        results = [result for group in answer.groups if (result := _result(group)) is not None]
        won = {"won": sum(results), "judged": float(len(results))}
        sums = parallel.all_reduce_sum(
            won | {"cut_points": float(len(self._prompts))} | answer.values
        )
        found = {"win_rate": sums.pop("won") / max(1.0, sums["judged"])}
        return {f"probe/{name}": value for name, value in (found | sums).items()}

    def _rewarded(self, answer: RolloutResponse) -> Metrics:
        """Of a prompted task: the mean reward, and what else is known of its rollouts."""
        assert self._prompts is not None and self._texts
        task, groups = self._config.task, by_key(answer.groups)
        assert isinstance(task, PromptedTask)
        own = probed.tally(task, self._prompts, groups, self._texts)
        asked = {"cut_points": float(len(self._prompts))}
        sums = parallel.all_reduce_sum(own | asked | answer.values)
        told = {name: value for name, value in sums.items() if name not in own}
        return {f"probe/{name}": value for name, value in (probed.means(sums) | told).items()}

    def _read(self) -> tuple[RolloutPrompt, ...]:
        rollouts = self._config.rollouts
        assert rollouts and rollouts.probe
        config = held_out(self._config, rollouts.probe)
        rank, ranks = parallel.data_rank(), parallel.data_size()
        with parallel.main_first():
            loader = open_loader(config, self._shape, rank, ranks, engines=self._engines)
        with loader:
            asked = prompt_batch(loader, 0, config.curriculum[0], config)
            self._texts = loader.texts
        return asked.prompts if config.prompted else tuple(_against_the_best(asked))


def held_out(config: TrainConfig, probe: ProbeConfig) -> TrainConfig:
    """A recipe whose first batch is the probe's prompts."""
    rollouts = config.rollouts
    assert rollouts
    held = ShardSet(probe.set).manifest.texts
    candidates = [*(kind for kind in BASE if kind in held and not config.prompted), "rollout"]
    objective = "grpo" if config.prompted else "rf_nll"
    phase = {**_PHASE, "objective": objective, "candidates": candidates}
    data = DataConfig(set=probe.set, filter=probe.filter, criterion=probe.criterion, weight=1.0)
    return config.model_copy(
        update={
            "data": [data],
            "batch": config.batch.model_copy(update={"samples": probe.cut_points}),
            "rollouts": rollouts.model_copy(update={"cut_points": 1, "samples": 1}),
            "curriculum": [Phase.model_validate(phase)],
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
