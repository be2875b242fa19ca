"""Batches of an online phase: asks the rollout worker ahead of time, waits, and packs.

A step's samples, its prompts, their seeds and the weights that sample (`staleness`) follow from the
configuration, so what is asked for does too. Every data parallel rank asks for its own share, and
for nothing that is in the store. Guarantee: after `drain` all that was asked for is in the store,
so a checkpoint that is written then goes on with the same groups, on any number of ranks.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from prewrite.base.cli import console
from prewrite.base.errors import ShardError
from prewrite.engine.config import EngineConfig
from prewrite.train import parallel
from prewrite.train.config.phases import Phase
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.loader import Batch, Loader
from prewrite.train.messages import (
    Metrics,
    PromptKey,
    RolloutGroup,
    RolloutPrompt,
    RolloutRequest,
    RolloutResponse,
    WeightSync,
)
from prewrite.train.model.shape import ModelShape
from prewrite.train.online import kept_pools
from prewrite.train.online.client import WorkerClient
from prewrite.train.online.prompts import PromptBatch, batch_with_rollouts, prompt_batch
from prewrite.train.online.staleness import StalenessSchedule
from prewrite.train.online.store import RolloutStore, adopt, by_key, store_of
from prewrite.train.online.weights import probe_logprobs, publish
from prewrite.train.output import Output

_PROOF = 64  # tokens on which new weights are proved


@dataclass
class _Step:
    """A step that was asked for. groups: those known so far. open: whether the worker still has to
    answer. work: what the answer took.
    """

    asked: PromptBatch
    groups: dict[PromptKey, RolloutGroup]
    open: bool = False
    work: Metrics = field(default_factory=dict)


@dataclass(frozen=True)
class Fresh:
    """A batch with rollouts, what it was made of, and the worker's part in it as metrics."""

    batch: Batch
    asked: PromptBatch
    groups: dict[PromptKey, RolloutGroup]
    work: Metrics


class OnlineBatches:
    """Rollouts for this rank; every process makes one, and those that share a copy of the model
    hold the same groups. No engine is started before it is needed.

    identity: all that groups depend on beside the weights. seconds: of waiting and of loading
    weights since they were last taken.
    """

    def __init__(
        self,
        config: TrainConfig,
        engines: Mapping[str, EngineConfig],
        shape: ModelShape,
        loader: Loader,
        identity: Any,
        output: Output,
    ) -> None:
        assert config.rollouts, "the configuration of a run with online phases has them"
        self.config, self.rollouts = config, config.rollouts
        self._engines, self._shape, self._loader = engines, shape, loader
        self._output, self._weights = output, output.scratch / "weights"
        self._store = RolloutStore(output.folder(store_of(output)), identity)
        self._known: dict[PromptKey, RolloutGroup] = {}
        self._steps: dict[int, _Step] = {}
        self._client: WorkerClient | None = None
        self._version = -1
        self._beside = 0  # the number of the last ask beside the steps
        self.seconds = {"wait": 0.0, "sync": 0.0}

    def resume(self, samples: int) -> None:
        """Find what an earlier process has left for the samples from number `samples` on."""
        if self.rollouts.replay:
            self._known = kept_pools.load(self.rollouts.replay)
            return
        with parallel.main_first():
            if parallel.is_main():
                adopt(self._output)
                self._store.claim()
            self._known, damaged = self._store.read(samples)
        if damaged and parallel.is_main():
            console.print(
                f"{self._store.folder}: {damaged} records are torn, damaged or of another run; "
                "those prompts are sampled again",
                soft_wrap=True,
            )

    def prepare(
        self,
        step: int,
        samples: int,
        phase: Phase,
        staleness: StalenessSchedule,
        end: int,
        model: Any,
    ) -> None:
        """Ask for every step before `end` that the weights of now, after `step` steps, or older
        ones sample; every process calls. samples: consumed so far.
        """
        size = self.config.batch.samples
        fresh = [s for s in staleness.due(step) if s < end and s not in self._steps]
        wanted = dict[int, tuple[RolloutPrompt, ...]]()
        for number in fresh:
            asked = prompt_batch(self._loader, samples + (number - step) * size, phase, self.config)
            keys = {prompt.key: prompt for prompt in asked.prompts}
            known = {key: self._known.pop(key) for key in keys if key in self._known}
            self._steps[number] = _Step(asked, known)
            wanted[number] = tuple(prompt for key, prompt in keys.items() if key not in known)
            if self.rollouts.replay:
                self._check_replay(self.rollouts.replay, keys, known)
        if self.rollouts.replay or not parallel.any_of(any(wanted.values())):
            return
        self.sync(step, model)
        for number, prompts in wanted.items():
            if prompts:
                self._ask(number, prompts, self.rollouts.samples, keep=True)
                self._steps[number].open = True

    def batch(self, step: int, phase: Phase) -> Fresh:
        """The batch of a step that was asked for, once its groups are there."""
        with self._timed("wait"):
            self._settle(step)
        state = self._steps.pop(step)
        batch = batch_with_rollouts(self._loader, state.asked, state.groups, phase)
        return Fresh(batch, state.asked, state.groups, state.work)

    def drain(self) -> None:
        """Wait until the store has all that was asked for; every process calls."""
        with self._timed("wait"):
            for step in sorted(self._steps):
                self._settle(step)

    def forget(self) -> None:
        """Drop what was asked for: the phase has ended before."""
        self.drain()
        self._steps = {}

    def saved(self, step: int) -> None:
        """The oldest checkpoint that stays is that of `step`: older groups are not needed."""
        if parallel.is_main() and not self.rollouts.replay:
            self._store.trim(step)

    def ask(self, prompts: Sequence[RolloutPrompt], rollouts: int) -> RolloutResponse:
        """The groups of these prompts under the weights that were loaded last, beside the store;
        every process calls.
        """
        self._beside -= 1
        if parallel.is_leader():
            self._ask(self._beside, prompts, rollouts, keep=False)
        with self._timed("wait"):
            return parallel.broadcast(self._answer(self._beside))

    def sync(self, step: int, model: Any) -> None:
        """Give the engines the weights of now, after `step` steps; every process calls."""
        if self._version == step:
            return
        with self._timed("sync"):
            folder = self._weights / f"{step:08d}"
            publish(model, self._shape, folder)
            tokens = self._proof()
            logprobs = probe_logprobs(model, tokens)
            if parallel.is_leader():
                self._worker.send(WeightSync(step, str(folder), tokens, logprobs))
        self._version = step

    def done(self) -> None:
        """The run is over: nothing of what was kept for it is needed. The main process calls."""
        if not self.rollouts.replay:
            self._store.clear()

    def close(self) -> None:
        """End the worker."""
        if self._client:
            self._client.close()
            self._client = None

    @property
    def difference(self) -> float:
        """How far trainer and engine were apart when weights were loaded last, in nats a token."""
        return self._client.difference if self._client else 0.0

    @property
    def load_seconds(self) -> float:
        """How long the engine took to load and prove the weights that it loaded last."""
        return self._client.load_seconds if self._client else 0.0

    @property
    def _worker(self) -> WorkerClient:
        if not self._client:
            asker = self._loader.asker
            end = asker.end if asker else self._shape.eos[0]
            self._client = WorkerClient(
                self.config, self._engines, end, self._store.folder, parallel.data_rank()
            )
        return self._client

    def _ask(
        self, number: int, prompts: Sequence[RolloutPrompt], rollouts: int, keep: bool
    ) -> None:
        if parallel.is_leader():
            self._worker.send(RolloutRequest(number, self._version, tuple(prompts), rollouts, keep))

    def _check_replay(
        self,
        folder: str,
        prompts: Mapping[PromptKey, RolloutPrompt],
        groups: Mapping[PromptKey, RolloutGroup],
    ) -> None:
        """ShardError for a group of another prompt; a prompt without one is counted as skipped."""
        for key, group in groups.items():
            if group.prompt != prompts[key].digest:
                raise ShardError(
                    f"{folder}: sample {key[0]}, row {key[1]}: found a pool of another prefix or "
                    "original; accepted: pools of a run with the same data, seed, batch, tokenizer "
                    "and `rollouts.tokens`"
                )

    def _settle(self, step: int) -> None:
        state = self._steps[step]
        if state.open:
            answer = parallel.broadcast(self._answer(step))
            state.groups |= by_key(answer.groups)
            state.work, state.open = answer.values, False

    def _answer(self, number: int) -> RolloutResponse | None:
        return self._worker.answer(number) if parallel.is_leader() else None

    def _proof(self) -> tuple[int, ...]:
        """Tokens that any two weights tell apart: the beginning of a prefix, or any tokens."""
        prompts = (prompt.tokens for step in self._steps.values() for prompt in step.asked.prompts)
        found = next((prompt for prompt in prompts if len(prompt) > 1), None)
        longest = min(_PROOF, self.config.batch.max_seq_len - 1)  # the engine adds a token
        return (found or tuple(range(1, 1 + _PROOF)))[:longest]

    @contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        begun = time.monotonic()
        yield
        self.seconds[what] += time.monotonic() - begun
