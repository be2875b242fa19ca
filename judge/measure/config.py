"""The section `measure`, of the commands that look at the judge itself."""

from pydantic import Field

from prewrite.base.config import Section
from prewrite.judge.config import JudgeConfig, JudgeSections


class ReportConfig(Section):
    """What `prewrite judge report` measures the judge on."""

    labels: str | None = Field(
        None,
        description="a JSONL file of labelled texts; null: a sample of `judge.input`, without "
        "labels",
    )
    rows: int = Field(100, ge=1, description="rows of `judge.input` in the sample")
    seed: int = Field(0, description="seed of the sample and of the confidence intervals")
    canaries: bool = Field(True, description="also count how often hostile text changes a verdict")


class CorruptConfig(Section):
    """Which texts of `judge.input` are corrupted by `prewrite judge corrupt`."""

    rows: int = Field(
        100, ge=1, description="rows that are drawn; each gives at most one line a criterion"
    )
    seed: int = Field(0, description="seed of the draw and of the corruptions")


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

    @property
    def texts(self) -> str:
        """The set with the texts that it is tried on."""
        return self.judge.input or self.output
