"""The recipes of the two commands."""

from pydantic import model_validator

from base.config import refuse
from judge.config import JudgeConfig, JudgeSections


class ReportRecipe(JudgeSections):
    """What `python -m judge report` reads."""

    judge: JudgeConfig

    @model_validator(mode="after")
    def _texts_given(self) -> "ReportRecipe":
        if not self.judge.report.labels and not self.judge.input:
            raise refuse("judge.report.labels or judge.input: one of them is required here")
        return self


class CorruptRecipe(JudgeSections):
    """What `python -m judge corrupt` reads."""

    judge: JudgeConfig

    @model_validator(mode="after")
    def _input_given(self) -> "CorruptRecipe":
        if not self.judge.input:
            raise refuse("judge.input: this key is required here: the set to corrupt")
        return self
