"""The training loop: samples in their order, phase after phase, from a checkpoint if there is one.

Guarantees: the same configuration gives the same losses on any number of processes, up to rounding;
a run that was killed goes on from its newest checkpoint as if nothing had happened; SIGTERM and
SIGINT end it after the step in hand, with a checkpoint.
"""

import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, nullcontext
from itertools import pairwise
from math import nan

import torch

from prewrite.base.cli import console
from prewrite.base.errors import Interrupted, PrewriteError, ShardError
from prewrite.engine.config import EngineConfig
from prewrite.train import alerts, parallel
from prewrite.train.checkpoint import Checkpoints
from prewrite.train.config.phases import Phase, end_step
from prewrite.train.config.sections import TrainConfig
from prewrite.train.curriculum import Curriculum
from prewrite.train.data.loader import Batch, Loader
from prewrite.train.flops import model_flops, peak_flops
from prewrite.train.learner import Learner, StepResult
from prewrite.train.log import Metrics, RunLog
from prewrite.train.model.shape import ModelShape, base_digest
from prewrite.train.online.online_phase import OnlinePhase
from prewrite.train.output import Output
from prewrite.train.schedule import differing, learning_rate
from prewrite.train.state import State, settings
from prewrite.train.tally import LearningTally
from prewrite.train.tasks.watched import all_failed

COUNTED = (
    "cut_points",
    "no_candidate",
    "no_rewrite",
    "no_tokens",
    "too_long",
    "no_room",
    "no_label",
    "context_only",
    "split",
)
"""What is logged of a batch's samples; `train.data.samples` says what each means."""


class Trainer:
    """One run, up to its end; every process makes one and calls the same methods."""

    def __init__(
        self,
        config: TrainConfig,
        shape: ModelShape,
        loader: Loader,
        output: Output,
        engines: Mapping[str, EngineConfig] | None = None,
    ) -> None:
        self.config, self.shape, self.loader, self.output = config, shape, loader, output
        self._base = parallel.by_main(lambda: base_digest(shape))
        self.online = OnlinePhase(config, engines or {}, shape, loader, output)
        self.checkpoints = Checkpoints(output, config.checkpoint)
        self.curriculum = Curriculum(config.curriculum)
        self.skipped = self.empty = 0
        self.tally, self.alerts = LearningTally(), alerts.AlertState()
        self._found = self.checkpoints.find()
        if self._found:
            self._go_on_from(self._found)

    def tell_complete(self) -> None:
        """Say that there is nothing to do."""
        self._tell_phases()
        if self._found:
            self.checkpoints.tell(self._found)
        if parallel.is_main():
            print(f"{self.config.output}: the run is complete; nothing to do")

    def train(self) -> Learner:
        """Make the steps that are left, and a checkpoint of the last; returns what has learnt.

        Raises Interrupted after a signal; PrewriteError at a loss or gradient that is not finite,
        or an alert, where the configuration says `stop`, and at the end of a phase, or of the run,
        in which no step moved the model.
        """
        learner = self._begun()
        if self.config.rollouts and (told := self.config.rollouts.sharpened):
            _say(f"train.rollouts: {told}")
        with (
            closing(self.checkpoints),
            closing(self.online),
            self._log() as log,
            _signals() as caught,
        ):
            if not self.curriculum.step:
                self._measure_start(learner, log)
            while not self.curriculum.over:
                self._step(learner, log)
                self.checkpoints.poll()
                stop = parallel.any_of(bool(caught))
                due = self.curriculum.step % self.config.checkpoint.every == 0
                if due or stop or self.curriculum.over:
                    self.online.drain()
                    self.checkpoints.save(learner, self._state(log))
                    self.online.saved(self.checkpoints.oldest())
                if stop and not self.curriculum.over:
                    break
            self.checkpoints.finish()
            if self.curriculum.over:
                self.online.done()
        if not self.curriculum.over:
            step = self.curriculum.step
            raise Interrupted(f"stopped after step {step}; the same command continues")
        return learner

    def _begun(self) -> Learner:
        """What learns, as the newest whole checkpoint has it."""
        whole = self.checkpoints.whole(self._found)
        if whole and whole is not self._found:
            self._go_on_from(whole)
        self._found = whole
        self._tell_phases()
        self.checkpoints.clean(whole)
        self.online.begin(self.curriculum.step, self.curriculum.samples)
        learner = Learner(self.config, self.shape)
        if self._found:
            self.checkpoints.load(learner, self._found)
        return learner

    def _go_on_from(self, found: State) -> None:
        root, data = self.checkpoints.root, self.loader.identity()
        curriculum = Curriculum(self.config.curriculum)
        try:
            curriculum.load_state_dict(found.curriculum)
            over = len(curriculum.starts) - 1
            found.refuse_others(str(root), self.config, data, self._base, over)
            found.phases()
        except (LookupError, TypeError, ValueError, AttributeError) as error:  # made by hand
            reason = " ".join(str(error).split())[:200]
            raise ShardError(
                f"{root}: the state of step {found.step} is not one that a run leaves: "
                f"{type(error).__name__}: {reason}"
            ) from None
        self.curriculum = curriculum
        self.skipped, self.empty = found.skipped, found.empty
        self.tally, self.alerts = found.tally, found.alerts

    def _tell_phases(self) -> None:
        """Say in what the run that goes on is not the one that its phases of now would make from
        the start: phases that come too late for a step, and other learning rates.
        """
        if not (self._found and parallel.is_main()):
            return
        for phase, (begin, end) in zip(
            self.config.curriculum, pairwise(self.curriculum.starts), strict=False
        ):
            if begin.step == end.step:
                console.print(
                    f"train.curriculum: the phase {phase.name} ends before step {end.step}, which "
                    "is made; no step is left of it",
                    soft_wrap=True,
                )
        starts, step = self.curriculum.starts, self.curriculum.step
        ran = self.config.curriculum[len(self._found.curriculum["starts"]) - 1]
        if (last := end_step(ran, self.config.batch.samples)) < step:
            console.print(
                f"train.curriculum: the phase {ran.name} ends at step {last} by now; step {step} "
                "is made, and the model is that of this step",
                soft_wrap=True,
            )
        if other := differing(self.config, self._found.phases(), starts, step):
            made, was, now = other
            console.print(
                f"train.curriculum: steps up to {step} were made with other phases, so learning "
                f"rates differ from those of a run that had these from the start (step {made}: "
                f"{was:.3g} in place of {now:.3g})",
                soft_wrap=True,
            )

    def _measure_start(self, learner: Learner, log: RunLog | None) -> None:
        """The probe of the model that the run begins with, where the first phase has one."""
        phase = self.curriculum.current
        values = self.online.probed(0, phase, learner.model)
        if log and values:
            log.record_start(phase.name, values)

    def _step(self, learner: Learner, log: RunLog | None) -> None:
        begun = time.monotonic()
        curriculum, phase = self.curriculum, self.curriculum.current
        step = curriculum.step
        rate = learning_rate(self.config, step, curriculum.starts)
        if phase.online:
            batch = self.online.batch(curriculum, learner.model)
        else:
            batch = self.loader.batch(curriculum.samples, phase)
        ready = time.monotonic()
        outcome = learner.step(batch.rows, phase, rate)
        trained = time.monotonic()
        if outcome.fault:
            self._fault(step + 1, batch, outcome.fault)
        values = {**outcome.values, "learning_rate": rate, "grad_norm": outcome.grad_norm}
        values |= self.online.watched(step + 1, trained - ready)
        values |= self.online.probed(step + 1, phase, learner.model)
        curriculum.after_step(
            step + 1,
            batch.stop,
            outcome.values["loss"],
            values.get("probe/win_rate"),
            values.get("probe/reward"),
        )
        self.empty += outcome.empty and not outcome.fault
        values |= self._measured(batch, ready - begun, trained - begun)
        values |= _shares(phase, outcome, values)
        if log:
            log.record(step + 1, phase.name, values)
        self._watch(phase, outcome, values)
        if curriculum.current is not phase or curriculum.over:
            self._end(phase)
        if curriculum.current is not phase:
            self.online.forget()

    def _watch(self, phase: Phase, outcome: StepResult, values: Metrics) -> None:
        """Count a step, and sound the alerts that it raises."""
        if self.tally.phase != phase.name:
            self.tally = LearningTally(phase=phase.name)
        moved = not (outcome.empty or outcome.fault)
        empty = outcome.empty and not outcome.fault
        self.tally = self.tally.after(moved, empty, values["data/cut_points"], outcome.points)
        before, config = self.alerts, self.config.alerts
        self.alerts = alerts.after(before, values | {"empty": float(empty)}, config)
        for sentence in alerts.sound(before, self.alerts, config):
            _say(sentence)
        if reason := all_failed(values):
            _say(
                f"step {self.curriculum.step}: every rollout earns nothing, for one reason: "
                f"{reason}"
            )

    def _end(self, phase: Phase) -> None:
        """A phase is over; PrewriteError when none of its steps moved the model, unless scores were
        there and equal; in any case when none of the run did.
        """
        tally, self.alerts = self.tally, alerts.AlertState()
        told = []
        if tally.empty:
            told.append(f"{tally.empty} had nothing to learn from ({tally.why})")
        if tally.skipped:
            told.append(f"{tally.skipped} were not finite")
        never = self.curriculum.over and self.empty + self.skipped == self.curriculum.step
        if never or not (tally.moved or tally.tied):
            self.checkpoints.finish()
            raise PrewriteError(
                f"train.curriculum, phase {phase.name}: found no step of {tally.steps} that moved "
                f"the model: {', '.join(told)}; accepted: at least one"
            )
        if tally.empty:
            _say(f"{phase.name}: of {tally.steps} steps {', '.join(told)}")

    def _fault(self, step: int, batch: Batch, fault: str) -> None:
        sentence = f"step {step} (samples {batch.first} to {batch.stop - 1}): {fault}"
        if self.config.non_finite == "stop":
            self.checkpoints.finish()
            raise PrewriteError(f"{sentence}; train.non_finite: skip would leave such steps out")
        self.skipped += 1
        _say(f"{sentence}; the step is skipped")

    def _measured(self, batch: Batch, wait: float, seconds: float) -> dict[str, float]:
        """Throughput and what was left out, over all ranks; wait: until the batch was there."""
        sums = {
            "tokens": float(batch.used),
            "padding": float(batch.padding),
            "flops": model_flops(self.shape, batch.rows),
        }
        counted = {f"data/{name}": float(batch.counts.get(name, 0)) for name in COUNTED}
        sums = parallel.all_reduce_sum(sums | counted)
        flops, padding = sums.pop("flops"), sums.pop("padding")
        peak = peak_flops(torch.cuda.get_device_name()) if torch.cuda.is_available() else None
        if peak:
            sums["mfu"] = flops / seconds / peak / torch.distributed.get_world_size()
        return {
            **sums,
            "padding": padding / (sums["tokens"] + padding),
            "tokens_per_second": sums["tokens"] / seconds,
            "seconds": seconds,
            "data_wait": wait / seconds,
            "skipped_steps": float(self.skipped),
            "empty_steps": float(self.empty),
            "samples": float(self.curriculum.samples),
        }

    def _state(self, log: RunLog | None) -> State:
        return State(
            step=self.curriculum.step,
            samples=self.curriculum.samples,
            skipped=self.skipped,
            empty=self.empty,
            tally=self.tally,
            curriculum=self.curriculum.state_dict(),
            alerts=self.alerts,
            settings=settings(self.config),
            data=self.loader.identity(),
            base=self._base,
            log=log.written() if log else None,
        )

    def _log(self) -> "RunLog | nullcontext[None]":
        if not parallel.is_main():
            return nullcontext()
        known = self._found.log if self._found else None
        return RunLog(self.output, self.curriculum.step, self.config.steps, known)


def _shares(phase: Phase, outcome: StepResult, values: Metrics) -> Metrics:
    """Which share of the cut points was learnt from, and of the verdicts failed; NaN of none. In a
    phase without rollouts a text that an objective compares and that has no score is a failed one.
    """
    points, cuts = outcome.points, values["data/cut_points"]
    failed = values.get("rollouts/verdicts_failed", nan)
    if phase.needs_scores and not phase.online and points["texts"]:
        failed = points["unscored_texts"] / points["texts"]
    return {
        "learnt_cut_points": points["learnt"] / cuts if cuts else nan,
        "failed_verdicts": failed,
    }


def _say(sentence: str) -> None:
    if parallel.is_main():
        console.print(sentence, soft_wrap=True)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Signals that asked for a stop, as they come in."""
    caught: list[int] = []
    earlier = {
        number: signal.signal(number, lambda found, _frame: caught.append(found))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield caught
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)
