"""The online phase as the trainer sees it: batches with rollouts, what is watched, and the probe.

It stands between the loop and what makes rollouts, so that the loop reads the same in every phase.
What it needs is made at its first use: a run, or a phase, without rollouts starts no engine.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from prewrite.engine.config import EngineConfig
from prewrite.engine.digest import identity
from prewrite.judge.criteria import load_criterion
from prewrite.shards.manifest import Usage
from prewrite.train import parallel
from prewrite.train.config.phases import Phase, end_step
from prewrite.train.config.rollouts import RolloutsConfig
from prewrite.train.config.sections import TrainConfig
from prewrite.train.config.task import ThinkTask
from prewrite.train.curriculum import Curriculum
from prewrite.train.data.loader import Batch, Loader
from prewrite.train.messages import Metrics
from prewrite.train.model.shape import ModelShape
from prewrite.train.names import ROLLOUTS
from prewrite.train.online import kept_pools, observe
from prewrite.train.online.batches import Fresh, OnlineBatches
from prewrite.train.online.probe import Probe
from prewrite.train.online.staleness import StalenessSchedule
from prewrite.train.output import Output
from prewrite.train.tasks.watched import Watched

POOLS, PROBE = "pools", "probe"
PARTS = ("rollout", "judge")
_WORK = [f"{part}_{name}" for part in PARTS for name in Usage.model_fields]


class OnlinePhase:
    """Rollouts of a run; every process makes one and calls the same methods."""

    def __init__(
        self,
        config: TrainConfig,
        engines: Mapping[str, EngineConfig],
        shape: ModelShape,
        loader: Loader,
        output: Output,
    ) -> None:
        self._config, self._engines, self._shape, self._loader = config, engines, shape, loader
        self._output, self._pools = output, output.folder(f"{ROLLOUTS}/{POOLS}")
        self._first = 0
        self._fresh: Fresh | None = None

    def begin(self, step: int, samples: int) -> None:
        """The run goes on after `step` steps and `samples` samples."""
        self._first = samples
        if self._config.rollouts and parallel.is_main():
            kept_pools.keep_until(self._pools, step)

    def batch(self, curriculum: Curriculum, model: Any) -> Batch:
        """The batch of the next step, of an online phase."""
        phase, start, step = curriculum.current, curriculum.starts[-1], curriculum.step
        staleness = StalenessSchedule(
            start.step, self._rollouts.sync_every, self._rollouts.max_staleness
        )
        end = end_step(phase, self._config.batch.samples)
        self._online.prepare(step, curriculum.samples, phase, staleness, end, model)
        self._fresh = self._online.batch(step, phase)
        return self._fresh.batch

    def watched(self, step: int, seconds: float) -> Metrics:
        """What is logged of the rollouts of step `step`, whose training took `seconds`, where it
        had some. Keeps one pool in n.
        """
        fresh, self._fresh = self._fresh, None
        if fresh is None:
            return {}
        prompts = [prompt for prompt in fresh.asked.prompts if prompt.key in fresh.groups]
        groups = [fresh.groups[prompt.key] for prompt in prompts]
        pools = [
            pair
            for pair in zip(prompts, groups, strict=True)
            if kept_pools.kept(pair[0].sample, self._rollouts.dump_every)
        ]
        if parallel.is_leader():
            kept_pools.write(self._pools, step, parallel.data_rank(), pools)
        lengths = [fresh.asked.lengths[prompt.key] for prompt in prompts]
        values = observe.report(parallel.all_reduce_sum(observe.tally(groups, prompts, lengths)))
        if self._config.prompted:
            earned = self._watched.tally(prompts, fresh.groups)
            values |= self._watched.report(parallel.all_reduce_sum(earned))
        return values | self._costs(fresh, step - 1, seconds)

    def probed(self, step: int, phase: Phase, model: Any) -> Metrics:
        """The probe after `step` steps, where one is due."""
        probe = self._config.rollouts and self._config.rollouts.probe
        if (
            not probe
            or step % probe.every
            or not (phase.online or phase.until.win_rate or phase.until.reward)
        ):
            return {}
        found = self._probe(self._online, step, model)
        if parallel.is_main():
            told = kept_pools.readable(step, self._probe.examples)
            self._output.folder(f"{ROLLOUTS}/{PROBE}").write(f"step-{step:08}.md", told.encode())
        return found

    def drain(self) -> None:
        """Wait until what was asked for is in the store: a checkpoint follows."""
        if self._used:
            self._online.drain()

    def saved(self, step: int) -> None:
        """The oldest checkpoint that stays is that of `step`."""
        if self._used:
            self._online.saved(step)

    def forget(self) -> None:
        """The phase is over."""
        if self._used:
            self._online.forget()

    def close(self) -> None:
        """End the worker, if there is one."""
        if self._used:
            self._online.close()

    def done(self) -> None:
        """The run is over, and its last checkpoint whole."""
        if self._used and parallel.is_main():
            self._online.done()

    @property
    def _used(self) -> bool:
        return "_online" in self.__dict__

    @property
    def _rollouts(self) -> RolloutsConfig:
        assert self._config.rollouts, "the configuration of an online phase has them"
        return self._config.rollouts

    @cached_property
    def _online(self) -> OnlineBatches:
        online = OnlineBatches(
            self._config, self._engines, self._shape, self._loader, self._identity(), self._output
        )
        online.resume(self._first)
        return online

    @cached_property
    def _watched(self) -> Watched:
        return Watched(self._config)

    @cached_property
    def _probe(self) -> Probe:
        return Probe(self._config, self._engines, self._shape)

    def _identity(self) -> dict[str, Any]:
        """All that the groups of the run depend on; the weights follow from it."""
        judge = self._rollouts.judge
        task = self._config.task
        asked = {task.reference} if isinstance(task, ThinkTask) else set()
        asked |= {self._rollouts.engine, *(judge.panel if judge else ())}
        criteria = [load_criterion(name) for name in judge.criteria] if judge else []
        speed = {"output", "parallel", "checkpoint", "non_finite", "alerts"}
        return {
            "settings": self._config.model_dump(mode="json", exclude=speed),
            "data": self._loader.identity(),
            "engines": {n: identity(self._engines[n]) for n in sorted(self._engines) if n in asked},
            "criteria": [c.identity() | judge.calibrated(c) for c in criteria if judge],
        }

    def _costs(self, fresh: Fresh, made: int, seconds: float) -> Metrics:
        """Seconds of a rank, mean over the ranks; requests and tokens of all; how far engine and
        trainer were apart, and how many steps old the weights that sampled were, `made` being made.
        """
        took = self._online.seconds
        self._online.seconds = dict.fromkeys(took, 0.0)
        times = {"train": seconds, **took}
        times |= {name: fresh.work.get(f"{name}_seconds", 0.0) for name in PARTS}
        times["load"] = self._online.load_seconds
        counts = {name: fresh.work.get(name, 0.0) for name in _WORK}
        sums = parallel.all_reduce_sum(
            {f"time/{name}": value / parallel.data_size() for name, value in times.items()}
            | {f"work/{name}": value for name, value in counts.items()}
        )
        ages = [made - group.version for group in fresh.groups.values()]
        age = parallel.all_reduce_sum({"sum": float(sum(ages)), "count": float(len(ages))})
        return sums | {
            "sync/difference": self._online.difference,
            "sync/staleness": age["sum"] / max(1.0, age["count"]),
        }
