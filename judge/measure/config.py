"""The section `measure`, of the commands that look at the judge itself."""

from pydantic import Field

from prewrite.base.config import Section
from prewrite.judge.config import JudgeConfig, JudgeSections


class ReportConfig(Section):
    """What the judge is measured on."""

    labels: str | None = Field(
        None, description="a JSONL of labelled texts; null: a sample of `judge.input`, no labels"
    )
    rows: int = Field(100, ge=1, description="rows of `judge.input` in the sample")
    seed: int = Field(0, description="of the sample and of the confidence intervals")
    canaries: bool = Field(True, description="also count how often hostile text flips a verdict")


class CorruptConfig(Section):
    """Which texts of `judge.input` are corrupted."""

    rows: int = Field(100, ge=1, description="originals, each corrupted in one way a criterion")
    seed: int = Field(0, description="of the choice and of the corruptions")


class ScheduleConfig(Section):
    """The pools of `judge.input` that schedules are tried on."""

    rows: int = Field(10, ge=1, description="rows of `judge.input`, one pool each")
    candidates: int = Field(17, ge=3, le=33, description="texts a pool")
    seed: int = Field(0, description="of the rows and of the corruptions")


class MeasureConfig(Section):
    """What the judge is measured on, by command."""

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
