"""The section `train.rollouts`: what the online phase samples, how it is judged and observed."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from prewrite.base.config import Location, Section, refuse
from prewrite.judge.config import JudgeConfig
from prewrite.train.config.phases import Kind, twice

PositiveInt = Annotated[int, Field(ge=1)]


class ProbeSetConfig(Section):
    """A fixed sample of held-out chunks, on which rollouts are compared with the stored texts."""

    set: Location = Field(description="a judged shard set that is not trained on")
    filter: str | None = Field(None, description="only chunks for which this condition holds")
    cut_points: int = Field(64, ge=1, description="how many cut points")
    criterion: str | None = Field(None, description="for the task `judge`: as in `train.data`")


ProbeName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]*$")]


class ProbeConfig(ProbeSetConfig):
    """A fixed sample of held-out chunks, on which rollouts are compared with the stored texts.

    It is measured before the first step of a run that begins with such a phase, and every so many
    steps, and may end a phase. What stands under `also` is measured beside it, and ends none.
    """

    every: int = Field(100, ge=1, description="steps between two probes")
    also: dict[ProbeName, ProbeSetConfig] = Field(
        {},
        description="further samples by name, measured as `probe/NAME/…`",
    )
    canaries: bool = Field(
        False,
        description="for the task `judge`: whether the policy is asked the canaries, too, on the "
        "criteria of `train.data`",
    )


class RolloutsConfig(Section):
    """What the online phases sample, and how it is judged.

    A packed sequence must have room for the longest trunk and all rollouts of a cut point:
    `batch.sequence_tokens` is at least `max_seq_len` + `samples` · `tokens`. `tokens` is at most
    `max_seq_len` − `context_tokens`. Where the engine has a `max_model_len`, it is at least
    `max_seq_len`. With a prompted task `max_seq_len` is the room of prompt and rollout together.
    In a run that is continued `dump_every`, `sleep` and `timeout` may change; any
    change empties the rollout store.
    """

    engine: str = Field(
        description="a `vllm` engine under `engines`, whose `model` is `train.model.path`"
    )
    judge: JudgeConfig | None = Field(
        None, description="how the pool is scored; or `prefer`. `input` is not read"
    )
    prefer: list[Kind] | None = Field(
        None,
        min_length=1,
        description="in place of a judge: kinds of texts, the better ones first",
    )
    samples: int = Field(16, ge=1, description="rollouts at a cut point")
    tokens: int = Field(128, ge=1, description="longest rollout, in tokens")
    temperature: float = Field(
        1.0,
        gt=0,
        description="sampling temperature; the ratio of `grpo` is taken on the model's own "
        "probabilities, those of temperature 1",
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="share of probability that is sampled from; as temperature"
    )
    cut_points: PositiveInt | Literal["every"] = Field(
        1, description="cut points of a sample that get rollouts, drawn; or every one"
    )
    sync_every: int = Field(
        1, ge=1, description="steps between two loads of new weights; at most `max_staleness` + 1"
    )
    max_staleness: int = Field(
        0, ge=0, description="how many steps old the weights that sampled may be; 0: on-policy"
    )
    sleep: bool = Field(
        False,
        description="the engine frees its GPU memory while the trainer steps; for `max_staleness: "
        "0`",
    )
    tolerance: float = Field(
        0.05,
        gt=0,
        description="largest mean difference between log-probabilities of engine and trainer on "
        "the same tokens, in nats",
    )
    timeout: float = Field(1800, gt=0, description="seconds without an answer that count as a hang")
    dump_every: int = Field(
        0, ge=0, description="one pool in so many is kept in `rollouts/pools/`; 0 keeps none"
    )
    replay: Location | None = Field(
        None, description="pools that an earlier run kept; then no engine is started"
    )
    probe: ProbeConfig | None = None

    @model_validator(mode="after")
    def _order_is_one(self) -> "RolloutsConfig":
        for kind in twice(self.prefer or ()):
            raise refuse(f"prefer: found '{kind}' twice")
        if self.prefer and self.probe and not self.judge:
            raise refuse("probe: found with prefer; accepted with a judge, whom it asks")
        return self

    @property
    def sharpened(self) -> str | None:
        """That samples do not come from the distribution whose gradient is taken; None: they do."""
        if self.temperature == self.top_p == 1:
            return None
        return (
            f"rollouts are sampled at temperature {self.temperature:g} and top_p {self.top_p:g}, "
            "while the ratios of grpo are those of temperature 1 and top_p 1"
        )

    @model_validator(mode="after")
    def _fresh_enough(self) -> "RolloutsConfig":
        if self.sync_every > self.max_staleness + 1:
            raise refuse(
                f"sync_every: found {self.sync_every}; accepted: at most {self.max_staleness + 1}, "
                "max_staleness and one"
            )
        if self.sleep and self.max_staleness:
            raise refuse(
                "sleep: found true; accepted with max_staleness 0, where engine and "
                "trainer take turns"
            )
        return self
