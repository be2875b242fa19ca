"""What a report holds, as plain data: every measure of every judge and criterion."""

from dataclasses import asdict, dataclass
from typing import Any

from prewrite.judge.measure.measures import Bin, Measure

MEANING = {
    "agreement": "share of items on which judge and label name the same class",
    "kappa": "Cohen's kappa: agreement beyond chance; 0 is a guess, 1 is no mistake",
    "label_correlation": "Spearman's rho of value and label: do better texts get higher values",
    "calibration_error": "mean distance between value and label over ten bins (ECE)",
    "distinct_values": "how many different values the items have",
    "undecided": "share of items whose value lies exactly half-way between two verdicts",
    "order_inconsistency": "share of pairs whose winner changes with the order",
    "position_bias": "mean value of the text that stands first, less 0.5; 0 is none",
    "length_correlation": "Spearman's rho of length (of a pair: difference) and value",
    "label_length_correlation": "the same for the labels: what length says in truth",
    "longer_preferred": "share of pairs won by the longer text",
    "label_longer_preferred": "the same for the labels",
    "self_agreement": "how likely two votes on one question say the same",
    "unread": "share of verdicts that could not be read",
    "mass": "mean probability of the verdicts before they were renormalised",
    "value_correlation": "Spearman's rho of the values of two judges",
}
"""Every measure, and what it says."""


@dataclass(frozen=True)
class Point:
    """One item as a point of the plots; orders: the value in each order; length: characters (of a
    pair: the difference).
    """

    id: str
    document: str
    value: float
    orders: list[float]
    label: float | None
    length: int


@dataclass(frozen=True)
class Example:
    """An item worth a look, with the reason in `why`."""

    id: str
    why: str
    context: str
    texts: dict[str, str]


@dataclass(frozen=True)
class CriterionReport:
    """One judge on one criterion. groups: agreement within each group of labels; confusion: label
    class → judged class → items; measures that do not apply to the kind are not in it. unread: the
    documents of labelled items without a value.
    """

    criterion: str
    kind: str
    items: int
    labelled: int
    measures: dict[str, Measure]
    groups: dict[str, Measure]
    confusion: dict[str, dict[str, int]]
    calibration: list[Bin]
    statuses: dict[str, int]
    cost: dict[str, float | None]
    points: list[Point]
    unread: list[str]
    examples: list[Example]


@dataclass(frozen=True)
class JudgeReport:
    """One judge. canaries: flips under attacks, by criterion; empty where they were not played."""

    name: str
    versions: dict[str, str]
    criteria: list[CriterionReport]
    canaries: dict[str, Measure]


@dataclass(frozen=True)
class PanelReport:
    """Two judges on the items that both could read."""

    judges: tuple[str, str]
    criterion: str
    measures: dict[str, Measure]


@dataclass(frozen=True)
class Report:
    """The whole report. source: where the texts come from; config: of the judge."""

    source: str
    config: dict[str, Any]
    judges: list[JudgeReport]
    panel: list[PanelReport]

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)
