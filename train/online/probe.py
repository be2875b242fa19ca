"""The probe: on fixed held-out prompts, how often a rollout beats the best stored text, or what the
rollouts of a prompted task earn.

It decides when a phase ends, and watches it. One rollout a prompt, with the same seeds every time;
a tie counts half, a prompt where one of the two has no score counts for nothing. Further samples,
and the canaries of a judge, are measured beside it and decide nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

from prewrite.engine.config import EngineConfig
from prewrite.shards.reader import ShardSet
from prewrite.train import parallel
from prewrite.train.config.phases import BASE, KINDS, Phase
from prewrite.train.config.rollouts import ProbeSetConfig
from prewrite.train.config.sections import DataConfig, TrainConfig
from prewrite.train.config.task import PromptedTask
from prewrite.train.data.prompted import Asker
from prewrite.train.data.texts import TextTokens
from prewrite.train.feed import open_loader
from prewrite.train.messages import (
    Metrics,
    RolloutGroup,
    RolloutPrompt,
    rollout_name,
)
from prewrite.train.model.shape import ModelShape
from prewrite.train.online.batches import OnlineBatches
from prewrite.train.online.prompts import PromptBatch, prompt_batch
from prewrite.train.online.store import by_key
from prewrite.train.tasks import probed
from prewrite.train.tasks.canaries import PolicyCanaries
from prewrite.train.tasks.judging import JudgeAsker

_EXAMPLES = 16

_Groups = Sequence[RolloutGroup]

_PHASE = {"name": "probe", "until": {"step": 1}}


class Probe:
    """The prompts of this rank, read at the first use. examples: the first of those that may end a
    phase, at the last probe, with what was answered.
    """

    def __init__(
        self, config: TrainConfig, engines: Mapping[str, EngineConfig], shape: ModelShape
    ) -> None:
        self._config, self._engines, self._shape = config, engines, shape
        self._samples = dict[str, tuple[RolloutPrompt, ...]]()
        self._texts: TextTokens | None = None
        self._canaries: PolicyCanaries | None = None
        self._costs = Metrics()
        self.examples: list[tuple[RolloutPrompt, RolloutGroup]] = []

    def __call__(self, online: OnlineBatches, step: int, model: Any) -> Metrics:
        """What the weights of now, after `step` steps, are worth; every process calls."""
        if not self._samples:
            self._read()
        online.sync(step, model)
        found, self._costs = Metrics(), {}
        for prefix, prompts in self._samples.items():
            groups = self._ask(online, prompts)
            if not found:
                self.examples = [*zip(prompts, groups, strict=True)][:_EXAMPLES]
            values = self._rewarded(prompts, groups) if self._config.prompted else _won(groups)
            values |= parallel.all_reduce_sum({"cut_points": float(len(prompts))})
            found |= {f"{prefix}/{name}": value for name, value in values.items()}
        values = self._attacked(online) | parallel.all_reduce_sum(self._costs)
        return found | {f"probe/{name}": value for name, value in values.items()}

    def _ask(self, online: OnlineBatches, prompts: Sequence[RolloutPrompt]) -> _Groups:
        answer = online.ask(prompts, rollouts=1)
        for name, value in answer.values.items():
            self._costs[name] = self._costs.get(name, 0.0) + value
        return answer.groups

    def _rewarded(self, prompts: Sequence[RolloutPrompt], groups: _Groups) -> Metrics:
        """Of a prompted task: the mean reward, and what else is known of its rollouts."""
        task = self._config.task
        assert isinstance(task, PromptedTask) and self._texts
        own = probed.tally(task, prompts, by_key(groups), self._texts)
        return probed.means(parallel.all_reduce_sum(own))

    def _attacked(self, online: OnlineBatches) -> Metrics:
        """What the canaries say of a judge, where it is asked them."""
        canaries = self._canaries
        if not canaries:
            return {}
        mine = canaries.prompts[parallel.data_rank() :: parallel.data_size()]
        read = parallel.collect(canaries.read(by_key(self._ask(online, mine))))
        return canaries.measures({n: value for one in read for n, value in one.items()})

    def _read(self) -> None:
        rank, ranks = parallel.data_rank(), parallel.data_size()
        for key, sample in self._config.probes.items():
            config = held_out(self._config, sample)
            with parallel.main_first():
                loader = open_loader(config, self._shape, rank, ranks, engines=self._engines)
            with loader:
                asked = prompt_batch(loader, 0, config.curriculum[0], config)
                self._texts = loader.texts
                self._plan_canaries(loader.asker)
            prompts = asked.prompts if config.prompted else tuple(_against_the_best(asked))
            self._samples["/".join(["probe", *key.split(".")[3:]])] = prompts

    def _plan_canaries(self, asker: Asker | None) -> None:
        probe = self._config.rollouts and self._config.rollouts.probe
        if probe and probe.canaries and not self._canaries:
            assert isinstance(asker, JudgeAsker), "the recipe refuses other tasks"
            self._canaries = PolicyCanaries(self._config, asker)


def held_out(config: TrainConfig, sample: ProbeSetConfig) -> TrainConfig:
    """A recipe whose first batch is the prompts of a sample."""
    rollouts = config.rollouts
    assert rollouts
    held = ShardSet(sample.set).manifest.texts
    candidates = [*(kind for kind in BASE if kind in held and not config.prompted), "rollout"]
    objective = "grpo" if config.prompted else "rf_nll"
    phase = {**_PHASE, "objective": objective, "candidates": candidates}
    data = DataConfig(set=sample.set, filter=sample.filter, criterion=sample.criterion, weight=1.0)
    return config.model_copy(
        update={
            "data": [data],
            "batch": config.batch.model_copy(update={"samples": sample.cut_points}),
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


def _won(groups: _Groups) -> Metrics:
    """How often a rollout beats the stored text that it meets."""
    results = [result for group in groups if (result := _result(group)) is not None]
    sums = parallel.all_reduce_sum({"won": sum(results), "judged": float(len(results))})
    return {"win_rate": sums["won"] / max(1.0, sums["judged"]), "judged": sums["judged"]}


def _result(group: RolloutGroup) -> float | None:
    """1 where the rollout won, 0.5 for a tie; None where one of the two could not be judged."""
    own = group.scores.get(rollout_name(0))
    others = [score for name, score in group.scores.items() if name != rollout_name(0)]
    if own is None or not others:
        return None
    return (own > others[0]) + 0.5 * (own == others[0])
