"""The section `train`: data, model, parallelism, batches, curriculum.

Impossible combinations are refused here, before anything is loaded.
"""

from itertools import combinations, pairwise, product
from typing import Literal, Self

from pydantic import Field, model_validator

from prewrite.base.apart import lies_in
from prewrite.base.config import Location, Section, WrittenLocation, refuse
from prewrite.train.config.phases import KINDS, Phase, end_step, twice
from prewrite.train.config.rollouts import ProbeSetConfig, RolloutsConfig
from prewrite.train.config.task import ContinueTask, JudgeTask, RewriteTask, Task, ThinkTask


class DataConfig(Section):
    """One shard set to train on."""

    set: Location = Field(description="a finished shard set, at any fsspec URL; each set once")
    weight: float = Field(
        1.0, gt=0, description="its share of the samples, relative to the other sets"
    )
    filter: str | None = Field(
        None,
        description="only chunks for which this condition holds are trained on: `rewrite_score > "
        "1.5 and source == 'c4'`",
    )
    criterion: str | None = Field(
        None,
        description="for the task `judge`: a shipped name, or the path of a criterion file; its "
        "columns in the set are the labels",
    )


class ModelConfig(Section):
    """The model that is trained."""

    path: Location = Field(
        description="a Hugging Face folder or id: architecture, tokenizer, weights"
    )
    revision: str | None = Field(None, description="commit, tag or branch of an id")
    init: Literal["pretrained", "scratch"] = Field(
        "pretrained", description="start from its weights, or from random ones"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="type of weights and activations; gradients are summed in float32"
    )


class ParallelConfig(Section):
    """How the processes of torchrun share the work; data parallel is what is left over."""

    tp: int = Field(1, ge=1, description="tensor parallel size")
    pp: int = Field(1, ge=1, description="pipeline parallel size")
    sequence: bool = Field(
        False, description="split norms over tensor parallel ranks too; for `tp` of 2, 4, 8 or 16"
    )
    distributed_optimizer: bool = Field(
        True, description="split the optimizer state over data parallel ranks"
    )
    recompute: Literal["none", "selective", "full"] = Field(
        "none",
        description="activations computed again in the backward pass: none, those of attention, "
        "or all",
    )

    @model_validator(mode="after")
    def _splits(self) -> Self:
        # A row has a multiple of 16 tokens (an eighth of `sequence_tokens`), a rank an equal share.
        if self.sequence and (self.tp == 1 or 16 % self.tp):
            raise refuse(f"tp: found {self.tp}; accepted with sequence: 2, 4, 8, 16")
        return self


class BatchConfig(Section):
    """How many samples a step has, and how they are packed."""

    samples: int = Field(256, ge=1, le=1 << 20, description="samples in a step, all ranks together")
    sequence_tokens: int = Field(
        8192,
        ge=128,
        description="length of a packed sequence, one micro-batch; a multiple of 128, at least "
        "`max_seq_len`",
    )
    max_seq_len: int = Field(
        2048,
        ge=16,
        description="longest prefix and text that the model sees, in tokens; at most its "
        "`max_position_embeddings`",
    )
    context_tokens: int = Field(
        512, ge=0, description="tokens of prefix that a sample in mid-document starts with, at most"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.sequence_tokens < self.max_seq_len:
            raise refuse(
                f"sequence_tokens: found {self.sequence_tokens}; accepted: at least max_seq_len, "
                f"{self.max_seq_len}"
            )
        if self.sequence_tokens % 128:
            raise refuse(
                f"sequence_tokens: found {self.sequence_tokens}; accepted: a multiple of 128"
            )
        if self.context_tokens >= self.max_seq_len:
            raise refuse(
                f"context_tokens: found {self.context_tokens}; accepted: less than max_seq_len, "
                f"{self.max_seq_len}"
            )
        return self


class OptimizerConfig(Section):
    """AdamW and its learning rate; rate, shape and warm-up by default as in continued training of
    arXiv 2601.21343.
    """

    lr: float = Field(5e-6, gt=0, description="peak learning rate")
    min_lr: float = Field(
        5e-7, ge=0, description="learning rate at the end; not read by `constant`"
    )
    schedule: Literal["cosine", "wsd", "constant"] = Field(
        "cosine", description="shape after the warm-up; `wsd` is warm-up, stable, decay"
    )
    warmup_steps: int = Field(100, ge=0, description="steps of linear warm-up")
    decay_steps: int = Field(0, ge=0, description="steps of the decay at the end; for `wsd` only")
    betas: list[float] = Field([0.9, 0.95], description="AdamW's two betas")
    eps: float = Field(1e-8, gt=0, description="AdamW's epsilon")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's decay, not on norms and biases")
    clip_grad: float = Field(1.0, ge=0, description="largest norm of the gradient; 0: no clipping")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_lr > self.lr and self.schedule != "constant":
            raise refuse(f"min_lr: found {self.min_lr:g}; accepted: at most lr, {self.lr:g}")
        if self.schedule == "wsd" and not self.decay_steps:
            raise refuse("decay_steps: found 0; accepted with schedule wsd: at least 1")
        if self.schedule != "wsd" and self.decay_steps:
            raise refuse(
                f"decay_steps: found {self.decay_steps}; accepted with schedule {self.schedule}: 0"
            )
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise refuse(
                f"betas: found {self.betas}; accepted: two numbers, each at least 0 and below 1"
            )
        return self


class AlertsConfig(Section):
    """Alerts, each on a mean over the last `window` steps of a phase."""

    window: int = Field(20, ge=1, description="steps in the mean")
    action: Literal["warn", "stop"] = Field("warn", description="what an alert does")
    max_failed_verdicts: float = Field(
        0.5, ge=0, le=1, description="largest share of the verdicts that failed; 1: never"
    )
    max_empty_steps: float = Field(
        0.5,
        ge=0,
        le=1,
        description="largest share of the steps with nothing to learn from; 1: never",
    )
    min_spread: float = Field(
        0.0,
        ge=0,
        description="of rollouts: smallest difference between best and worst score of a pool",
    )
    max_repetition: float = Field(
        1.0, ge=0, le=1, description="largest share of a rollout's 4-grams that came before"
    )
    max_unread: float = Field(
        1.0,
        ge=0,
        le=1,
        description="of rollouts: largest share of the pools in which fewer than two texts have a "
        "score; more ends the run, whatever `action` is; 1: never",
    )
    max_length_drift: float = Field(
        4.0,
        ge=1,
        description="how many times longer or shorter than the originals rollouts may get",
    )


class CheckpointConfig(Section):
    """Saved states of a run."""

    every: int = Field(500, ge=1, description="steps between two checkpoints")
    keep: int = Field(2, ge=1, description="how many of the newest are kept")
    asynchronous: bool = Field(True, description="write them while training goes on")


class TrainConfig(Section):
    """A training run."""

    data: list[DataConfig] = Field(min_length=1, description="the sets that are trained on")
    output: WrittenLocation = Field(
        description="folder of the run, on a disk that every process sees; no URL"
    )
    model: ModelConfig
    task: Task = Field(ContinueTask(), description="what the policy is asked")
    seed: int = Field(
        0, ge=0, le=(1 << 32) - 1, description="seed of the order of samples and of random weights"
    )
    parallel: ParallelConfig = ParallelConfig()
    batch: BatchConfig = BatchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    curriculum: list[Phase] = Field(min_length=1, description="phases, one after the other")
    rollouts: RolloutsConfig | None = Field(
        None,
        description="what the online phases sample; required with a phase that has `rollout` "
        "among its `candidates`",
    )
    alerts: AlertsConfig = AlertsConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    non_finite: Literal["stop", "skip"] = Field(
        "stop", description="at a loss or gradient that is not finite: stop, or skip the step"
    )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of candidates by their numbers: those of every recipe, then the further
        rewrites, in the order in which phases name them.
        """
        named = (kind for phase in self.curriculum for kind in phase.candidates)
        return (*KINDS, *dict.fromkeys(kind for kind in named if kind not in KINDS))

    @property
    def stored_kinds(self) -> tuple[str, ...]:
        """Those that sets hold."""
        return tuple(kind for kind in self.kinds if kind != "rollout")

    @model_validator(mode="after")
    def _apart(self) -> Self:
        if "://" in self.output:
            raise refuse(f"output: found '{self.output}'; accepted: a folder, no URL")
        sets = [part.set.rstrip("/") for part in self.data]
        for one, other in combinations(sets, 2):
            if is_one(one, other):
                raise refuse(f"data: found the set '{other}' twice; accepted: once, with a weight")
        if self.output.rstrip("/") in sets:
            raise refuse(f"output: found '{self.output}', a set under data; accepted: another one")
        return self

    @property
    def probes(self) -> dict[str, ProbeSetConfig]:
        """The samples that are probed by their keys: the first may end a phase."""
        probe = self.rollouts and self.rollouts.probe
        if not probe:
            return {}
        others = {f"rollouts.probe.also.{name}": one for name, one in probe.also.items()}
        return {"rollouts.probe": probe, **others}

    @property
    def prompted(self) -> bool:
        """Whether a row is a prompt of its own, which the policy answers."""
        return not isinstance(self.task, ContinueTask)

    @model_validator(mode="after")
    def _task_fits(self) -> Self:
        """What a prompted task learns from, and whom it asks."""
        for number, part in enumerate(self.data):
            self._criterion_fits(f"data.{number}.criterion", part.criterion)
        for key, sample in self.probes.items():
            self._criterion_fits(f"{key}.criterion", sample.criterion)
        probe = self.rollouts and self.rollouts.probe
        if probe and probe.canaries and not isinstance(self.task, JudgeTask):
            raise refuse(
                f"rollouts.probe.canaries: found true with task.kind {self.task.kind}; accepted: "
                "false, for they are put to a judge"
            )
        for number, phase in enumerate(self.curriculum if self.prompted else ()):
            self._answers_fit(f"curriculum.{number}", phase)
        return self

    def _criterion_fits(self, key: str, criterion: str | None) -> None:
        asked = isinstance(self.task, JudgeTask)
        if asked and criterion is None:
            raise refuse(f"{key}: this key is required with task.kind judge")
        if criterion is not None and not asked:
            raise refuse(
                f"{key}: found '{criterion}'; accepted with task.kind {self.task.kind}: no such key"
            )

    def _answers_fit(self, key: str, phase: Phase) -> None:
        """Refuse what a prompted task has no answers for."""
        names, kind = [part.kind for part in phase.objective], self.task.kind
        learnt = ["nll"] if isinstance(self.task, RewriteTask) else []
        if phase.online and (names != ["grpo"] or phase.stored):
            raise refuse(
                f"{key}: found the objective {', '.join(names)} on {', '.join(phase.candidates)}; "
                f"accepted with task.kind {kind}: grpo on rollout"
            )
        if not phase.online and names != learnt:
            accepted = "grpo on rollout" + ", nll on a stored text" * bool(learnt)
            raise refuse(
                f"{key}.objective: found {', '.join(names)} without rollouts; accepted with "
                f"task.kind {kind}: {accepted}"
            )

    @model_validator(mode="after")
    def _phases_follow(self) -> Self:
        for name in twice(phase.name for phase in self.curriculum):
            raise refuse(f"curriculum: found the name '{name}' twice")
        planned = earliest = 0
        for number, phase in enumerate(self.curriculum):
            key, end = f"curriculum.{number}.until", end_step(phase, self.batch.samples)
            if end <= planned:
                raise refuse(
                    f"{key}: ends at step {end}, the phase before it at step {planned}; accepted: "
                    "a later end (steps and samples are those of the whole run)"
                )
            planned, plateau = end, phase.until.plateau
            if plateau and earliest + 2 * plateau.steps >= end:
                raise refuse(
                    f"{key}.plateau.steps: found {plateau.steps}; accepted: less than half of the "
                    f"phase's {end - earliest} steps"
                )
            earliest = earliest + 2 * plateau.steps if plateau else end
        return self

    @model_validator(mode="after")
    def _rollouts_fit(self) -> Self:
        for number, phase in enumerate(self.curriculum):
            probe = self.rollouts and self.rollouts.probe
            if phase.online and not self.rollouts:
                raise refuse(f"rollouts: this key is required for the phase {phase.name}")
            if phase.online and self.rollouts:
                self._one_says_what_is_better(self.rollouts)
            preferred = self.rollouts and self.rollouts.prefer
            for kind in phase.candidates if phase.online and preferred else ():
                if preferred and kind not in preferred:
                    raise refuse(
                        f"rollouts.prefer: found {', '.join(preferred)}; accepted: with {kind}, "
                        f"a candidate of the phase {phase.name}"
                    )
            for name in ("win_rate", "reward"):
                if getattr(phase.until, name) and not probe:
                    raise refuse(f"rollouts.probe: required by curriculum.{number}.until.{name}")
            other = "win_rate" if self.prompted else "reward"
            if getattr(phase.until, other):
                raise refuse(
                    f"curriculum.{number}.until.{other}: found with task.kind {self.task.kind}; "
                    f"accepted: {'reward' if self.prompted else 'win_rate'}"
                )
        if self.rollouts:
            self._room(self.rollouts)
            self._held_out()
        return self

    def _one_says_what_is_better(self, rollouts: RolloutsConfig) -> None:
        """Refuse rollouts that nobody weighs, or two do."""
        found = [name for name in ("judge", "prefer") if getattr(rollouts, name) is not None]
        task, accepted = self.task, ["judge"] if self.prompted else ["judge", "prefer"]
        gains = isinstance(task, ThinkTask) and task.reward == "gain"
        if isinstance(task, JudgeTask) or gains:
            if found:
                told, why = ("task.reward gain", "the likelihood of the text is the reward")
                if not gains:
                    told, why = ("task.kind judge", "the set's scores are the labels")
                raise refuse(
                    f"rollouts.{found[0]}: found with {told}; accepted: no such key, for {why}"
                )
        elif len(found) != 1 or found[0] not in accepted:
            told = " and ".join(found) or "neither judge nor prefer"
            raise refuse(
                f"rollouts.judge: found {told}; accepted with task.kind {task.kind}: "
                f"{' or '.join(accepted)}"
            )

    def _held_out(self) -> None:
        """Refuse a probe on what is trained on, as far as places tell."""
        for data, (key, sample) in product(self.data, self.probes.items()):
            split = data.filter and sample.filter and data.filter != sample.filter
            if is_one(data.set, sample.set) and not split:
                raise refuse(
                    f"{key}.set: found '{sample.set}', a set under data; accepted: another one, or "
                    "filters that split it"
                )

    def _room(self, rollouts: RolloutsConfig) -> None:
        """Refuse rollouts for which a row has no room beside the longest trunk."""
        batch = self.batch
        if isinstance(self.task, ThinkTask) and self.task.suffix + 2 > rollouts.tokens:
            raise refuse(
                f"rollouts.tokens: found {rollouts.tokens}; accepted: more than task.suffix, "
                f"{self.task.suffix}, for a thought and its marker come first"
            )
        if rollouts.tokens > batch.max_seq_len - batch.context_tokens:
            raise refuse(
                f"rollouts.tokens: found {rollouts.tokens}; accepted: at most max_seq_len without"
                f" context_tokens, {batch.max_seq_len - batch.context_tokens}"
            )
        if self.prompted:  # a group may lie in several packed sequences
            return
        needed = batch.max_seq_len + rollouts.samples * rollouts.tokens
        if needed > batch.sequence_tokens:
            raise refuse(
                f"batch.sequence_tokens: found {batch.sequence_tokens}; accepted with "
                f"{rollouts.samples} rollouts of {rollouts.tokens} tokens: at least "
                f"{-(-needed // 128) * 128}"
            )

    @model_validator(mode="after")
    def _schedule_fits(self) -> Self:
        ends = [end_step(phase, self.batch.samples) for phase in self.curriculum]
        restarts = [
            ends[number - 1]
            for number, phase in enumerate(self.curriculum)
            if number and phase.learning_rate == "restart"
        ]
        borders = [0, *restarts, ends[-1]]
        room = min(end - begin for begin, end in pairwise(borders))
        warmup, decay = self.optimizer.warmup_steps, self.optimizer.decay_steps
        if warmup + decay > room:
            key = "warmup_steps" if warmup > room else "decay_steps"
            raise refuse(
                f"optimizer.{key}: warm-up and decay take {warmup + decay} steps; accepted: at "
                f"most {room}, the shortest time from a start of the learning rate to its end"
            )
        return self

    @property
    def steps(self) -> int:
        """Steps of the whole run, at most."""
        return end_step(self.curriculum[-1], self.batch.samples)


def is_one(one: str, other: str) -> bool:
    """Whether two places are the same, however they are spelt."""
    return lies_in(one, other) and lies_in(other, one)
