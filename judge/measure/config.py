"""The section `measure`, of the commands that look at the judge itself."""

from pydantic import Field, model_validator

from prewrite.base.config import Section, refuse
from prewrite.judge.config import JudgeConfig, JudgeSections, known_engine, refuse_no_input
from prewrite.judge.measure.corruptions import CORRUPTIONS, CorruptionKind


class ReportConfig(Section):
    """What `prewrite judge report` measures the judge on."""

    labels: str | None = Field(
        None,
        description="a JSONL file of labelled texts, or a set whose scores are the labels, such as "
        "a corrupted one; null: a sample of `judge.input`, without labels",
    )
    rows: int = Field(100, ge=1, description="rows of a set in the sample")
    seed: int = Field(0, description="seed of the sample and of the confidence intervals")
    canaries: bool = Field(True, description="also count how often hostile text changes a verdict")


class CorruptConfig(Section):
    """Which originals of `judge.input` `prewrite judge corrupt` spoils, and how."""

    criterion: str = Field(
        "quality",
        description="a shipped name, or the path of a criterion file: on it the original gets 1, "
        "the corrupted text 0",
    )
    kinds: list[CorruptionKind] = Field(
        [*CORRUPTIONS],
        min_length=1,
        description="what is done to a text; each row draws one. One that is named twice is drawn "
        "twice as often",
    )
    engine: str | None = Field(
        None, description="a name under `engines`; required for the kind `model`, which asks it"
    )
    rows: int | None = Field(
        None, ge=1, description="rows that are drawn, all others are `skipped`; null: all"
    )
    seed: int = Field(0, description="with a row's id, the seed of its draw and its corruption")

    @model_validator(mode="after")
    def _engine_given(self) -> "CorruptConfig":
        if "model" in self.kinds and self.engine is None:
            raise refuse("engine: this key is required where kinds has model")
        return self


class ScheduleConfig(Section):
    """The pools of `judge.input` that `prewrite judge schedule` tries schedules on."""

    rows: int = Field(10, ge=1, description="rows of `judge.input` that are drawn, one pool each")
    candidates: int = Field(17, ge=3, le=33, description="texts in a pool")
    seed: int = Field(0, description="seed of the rows and of the corruptions")


class MeasureConfig(Section):
    """What the commands that measure a judge read."""

    report: ReportConfig = ReportConfig()
    corrupt: CorruptConfig = CorruptConfig()
    schedule: ScheduleConfig = ScheduleConfig()


class MeasuredRecipe(JudgeSections):
    """What the commands read that look at the judge itself."""

    judge: JudgeConfig
    measure: MeasureConfig = MeasureConfig()

    @model_validator(mode="after")
    def _corruptor_known(self) -> "MeasuredRecipe":
        if name := self.measure.corrupt.engine:
            known_engine("measure.corrupt.engine", name, self.engines)
        return self

    @property
    def texts(self) -> str:
        """The set with the texts that it is tried on."""
        return self.judge.input or self.output


class CorruptRecipe(MeasuredRecipe):
    """What `prewrite judge corrupt` reads."""

    @model_validator(mode="after")
    def _input_apart(self) -> "CorruptRecipe":
        refuse_no_input(self.judge, self.output, "to corrupt")
        return self
