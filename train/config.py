"""The recipe of `python -m train`: data, model, parallelism, batches, curriculum.

Impossible combinations are refused here, before anything is loaded.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from base.config import Recipe, Section, refuse
from train.trees import KINDS

Kind = Literal["original", "rewrite"]
"""The candidates that shards hold; rollouts come with the late phase."""


class DataConfig(Section):
    """One shard set to train on."""

    set: str = Field(description="a finished shard set, any fsspec URL")
    weight: float = Field(1.0, gt=0, description="its share of the samples, relative to the others")
    filter: str | None = Field(
        None, description="which chunks are trained on: `rewrite_score > 1.5 and source == 'c4'`"
    )


class ModelConfig(Section):
    """What is trained."""

    path: str = Field(description="a Hugging Face folder or id: architecture, tokenizer, weights")
    revision: str | None = Field(None, description="commit, tag or branch of an id")
    init: Literal["pretrained", "scratch"] = Field(
        "pretrained", description="start from its weights, or from random ones"
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        "float32", description="of weights and activations; gradients are summed in float32"
    )


class ParallelConfig(Section):
    """How the processes of torchrun share the work; data parallel is what is left over."""

    tp: int = Field(1, ge=1, description="tensor parallel size")
    pp: int = Field(1, ge=1, description="pipeline parallel size")
    sequence: bool = Field(False, description="sequence parallel: norms split over tensor parallel")
    distributed_optimizer: bool = Field(
        True, description="optimizer state split over data parallel"
    )
    recompute: Literal["none", "selective", "full"] = Field(
        "none", description="activations computed again in the backward pass: attention, or all"
    )


class BatchConfig(Section):
    """What one optimizer step sees."""

    samples: int = Field(256, ge=1, description="stretches of documents a step, all ranks together")
    row_tokens: int = Field(8192, ge=128, description="length of a packed row, one micro-batch")
    max_seq_len: int = Field(2048, ge=16, description="longest prefix and text the model sees")
    context_tokens: int = Field(
        512, ge=0, description="tokens of prefix a stretch in mid-document starts with, at most"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.row_tokens < self.max_seq_len:
            raise refuse(
                f"row_tokens: found {self.row_tokens}; accepted: at least max_seq_len, "
                f"{self.max_seq_len}"
            )
        if self.row_tokens % 128:
            raise refuse(f"row_tokens: found {self.row_tokens}; accepted: a multiple of 128")
        if self.context_tokens >= self.max_seq_len:
            raise refuse(
                f"context_tokens: found {self.context_tokens}; accepted: less than max_seq_len, "
                f"{self.max_seq_len}"
            )
        return self


class OptimizerConfig(Section):
    """AdamW and its learning rate. Defaults: continued training of arXiv 2601.21343."""

    lr: float = Field(5e-6, gt=0, description="peak learning rate")
    min_lr: float = Field(5e-7, ge=0, description="learning rate at the end")
    schedule: Literal["cosine", "wsd", "constant"] = Field(
        "cosine", description="cosine, warm-up-stable-decay, or constant, all after warm-up"
    )
    warmup_steps: int = Field(100, ge=0, description="steps of linear warm-up")
    decay_steps: int = Field(0, ge=0, description="`wsd`: steps of the decay at the end")
    betas: list[float] = Field([0.9, 0.95], description="AdamW's two betas")
    eps: float = Field(1e-8, gt=0, description="AdamW's epsilon")
    weight_decay: float = Field(0.1, ge=0, description="AdamW's decay, not on norms and biases")
    clip_grad: float = Field(1.0, ge=0, description="largest gradient norm; 0: no clipping")

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


class _Component(Section):
    kind: str
    weight: float = Field(1.0, gt=0, description="of this component in the loss")

    @property
    def name(self) -> str:
        """What metrics call it."""
        return self.kind


class Nll(_Component):
    """Next-token loss on one kind of candidate."""

    kind: Literal["nll"]
    on: Kind = Field("original", description="which candidate is learnt")

    @property
    def name(self) -> str:
        """What metrics call it: one phase may learn several kinds."""
        return f"nll_{self.on}"


class RfNll(_Component):
    """Next-token loss on the candidate with the highest score."""

    kind: Literal["rf_nll"]


class Dpo(_Component):
    """The highest-scoring candidate against the lowest."""

    kind: Literal["dpo"]
    beta: float = Field(0.1, gt=0, description="strength of the reference")
    normalise: bool = Field(False, description="divide log-probabilities by the number of tokens")
    reference: Literal["frozen", "stored"] = Field(
        "frozen", description="a second model in memory, or what `python -m train reference` kept"
    )


class Grpo(_Component):
    """All candidates of a cut, each by its advantage."""

    kind: Literal["grpo"]
    tokens: int = Field(
        128, ge=1, description="what sums over a candidate's tokens are divided by, at any length"
    )


Objective = Annotated[Nll | RfNll | Dpo | Grpo, Field(discriminator="kind")]


def _components(value: Any) -> Any:
    """`nll`, `{kind: dpo}` and lists of both: a list of mappings."""
    items = value if isinstance(value, list) else [value]
    return [{"kind": item} if isinstance(item, str) else item for item in items]


class Plateau(Section):
    """The loss stands still."""

    steps: int = Field(ge=1, description="steps of the two windows that are compared")
    improvement: float = Field(0.01, ge=0, description="less than this share is standing still")


class Until(Section):
    """When a phase ends: at a step or sample of the whole run, or when the loss stands still."""

    step: int | None = Field(None, ge=1, description="optimizer steps of the run so far")
    samples: int | None = Field(None, ge=1, description="samples of the run so far")
    plateau: Plateau | None = Field(None, description="the loss no longer falls; needs a step too")

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (self.step is None) == (self.samples is None):
            raise refuse("step: found both or neither of step and samples; accepted: one of them")
        return self


class Phase(Section):
    """One phase of the curriculum."""

    name: str = Field(pattern=r"^[a-z0-9_-]+$", description="what logs call it")
    objective: Annotated[list[Objective], BeforeValidator(_components)] = Field(
        min_length=1, description="nll, rf_nll, dpo, grpo, or a list of components with weights"
    )
    candidates: list[Kind] = Field(
        ["original", "rewrite"], min_length=1, description="the texts that are laid out"
    )
    filter: str | None = Field(None, description="in this phase, only chunks for which this holds")
    until: Until
    learning_rate: Literal["continue", "restart"] = Field(
        "continue", description="go on with the schedule, or start it anew with a warm-up"
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if len(set(self.candidates)) < len(self.candidates):
            raise refuse("candidates: found one twice")
        for number, part in enumerate(self.objective):
            if isinstance(part, Nll) and part.on not in self.candidates:
                raise refuse(
                    f"objective.{number}.on: found '{part.on}'; accepted (see candidates): "
                    f"{', '.join(self.candidates)}"
                )
            if not isinstance(part, Nll) and len(self.candidates) < 2:
                raise refuse(
                    f"candidates: found {', '.join(self.candidates)}; {part.kind} compares at "
                    f"least two of {', '.join(KINDS[:2])}"
                )
        return self

    @property
    def needs_scores(self) -> bool:
        """Whether an objective reads scores."""
        return any(not isinstance(part, Nll) for part in self.objective)

    @property
    def reference(self) -> Literal["frozen", "stored"] | None:
        """Where the reference log-probabilities come from, if any are needed."""
        return next((part.reference for part in self.objective if isinstance(part, Dpo)), None)


class CheckpointConfig(Section):
    """Saved states of a run."""

    every: int = Field(500, ge=1, description="steps between two")
    keep: int = Field(2, ge=1, description="how many of the newest stay")
    asynchronous: bool = Field(True, description="written while training goes on")


class TrainConfig(Section):
    """A training run."""

    data: list[DataConfig] = Field(min_length=1, description="shard sets")
    output: str = Field(description="folder of the run, on a disk every process sees")
    model: ModelConfig
    seed: int = Field(0, ge=0, description="of the order of samples and of random weights")
    parallel: ParallelConfig = ParallelConfig()
    batch: BatchConfig = BatchConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    curriculum: list[Phase] = Field(min_length=1, description="phases, one after the other")
    checkpoint: CheckpointConfig = CheckpointConfig()
    non_finite: Literal["stop", "skip"] = Field(
        "stop", description="at a loss or gradient that is not finite: stop, or skip the step"
    )

    @model_validator(mode="after")
    def _phases_follow(self) -> Self:
        names = [phase.name for phase in self.curriculum]
        for number, phase in enumerate(self.curriculum):
            if phase.name in names[:number]:
                raise refuse(f"curriculum.{number}.name: found '{phase.name}' twice")
        ends = [end_step(phase, self.batch.samples) for phase in self.curriculum]
        for number in range(1, len(ends)):
            if ends[number] <= ends[number - 1]:
                raise refuse(
                    f"curriculum.{number}.until: ends at step {ends[number]}, the phase before it "
                    f"at step {ends[number - 1]}; steps and samples are those of the whole run"
                )
        return self

    @property
    def steps(self) -> int:
        """Steps of the whole run, at most."""
        return end_step(self.curriculum[-1], self.batch.samples)


class TrainRecipe(Recipe):
    """What `python -m train` reads."""

    train: TrainConfig


def end_step(phase: Phase, samples: int) -> int:
    """The step before which `phase` ends at the latest, with `samples` a step."""
    if phase.until.step is not None:
        return phase.until.step
    assert phase.until.samples is not None
    return -(-phase.until.samples // samples)
