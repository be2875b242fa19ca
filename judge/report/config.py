"""The sections of `python -m judge report` and `python -m judge corrupt`."""

from pydantic import Field

from base.config import Section


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
