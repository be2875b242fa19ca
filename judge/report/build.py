"""From verdicts to a report: every measure of every judge and criterion, as plain data."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from judge.criteria import Criterion
from judge.report import measures
from judge.report.asking import Answered, Cost, Judging, answers
from judge.report.labels import Item, classes, scale, verdicts
from judge.report.measures import Bin, Measure, none

MEANING = {
    "agreement": "share of items on which judge and label name the same class",
    "kappa": "Cohen's kappa: agreement beyond chance; 0 is a guess, 1 is no mistake",
    "label_correlation": "Spearman's rho of value and label: do better texts get higher values",
    "calibration_error": "mean distance between value and label over ten bins (ECE)",
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

UNDECIDED = -1
"""The class of a pair whose orders cancel, where the criterion has no tie. No label has it, so it
counts as a disagreement."""

_EXAMPLES = 5
_LONGEST = 1500


@dataclass(frozen=True)
class Point:
    """One item as a point of the plots; orders: the value in each order; length: characters (of a
    pair: the difference).
    """

    id: str
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
    class → judged class → items; measures that do not apply to the kind are not in it.
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


Flips = Callable[[Judging, Sequence[Criterion]], Awaitable[dict[str, Measure]]]
"""Plays the canaries against a judge: the share of flips by criterion."""


async def build(
    judgings: Sequence[Judging],
    items: Sequence[Item],
    source: str,
    config: dict[str, Any],
    seed: int = 0,
    flips: Flips | None = None,
) -> Report:
    """Ask every judge about every item, one judge and criterion after the other so that each has
    its own cost; then its canaries, where `flips` is given. EngineError when an engine is dead.
    """
    groups: dict[str, list[Item]] = {}
    for item in items:
        groups.setdefault(item.criterion.name, []).append(item)
    judges, answered = [], []
    for judging in judgings:
        found = {name: await answers(judging, group) for name, group in groups.items()}
        reports = [criterion_report(*one, seed) for one in found.values()]
        criteria = [group[0].criterion for group in groups.values()]
        canaries = await flips(judging, criteria) if flips else {}
        judges.append(JudgeReport(judging.name, judging.versions, reports, canaries))
        answered.append((judging.name, {name: one for name, (one, _) in found.items()}))
    panel = [
        PanelReport((a, b), name, _panel(first[name], second[name], seed))
        for (a, first), (b, second) in combinations(answered, 2)
        for name in groups
    ]
    return Report(source, config, judges, panel)


def criterion_report(answered: Sequence[Answered], cost: Cost, seed: int = 0) -> CriterionReport:
    """Everything about one judge on items of one criterion."""
    criterion = answered[0].item.criterion
    read = [one for one in answered if one.value is not None]
    labelled = [one for one in read if one.item.label is not None]
    return CriterionReport(
        criterion.name,
        criterion.kind,
        len(answered),
        sum(one.item.label is not None for one in answered),
        _measures(answered, read, labelled, seed),
        _groups(labelled),
        _confusion(labelled),
        measures.calibration(*_values(labelled)) if labelled else [],
        dict(Counter(v.status for one in answered for votes in one.verdicts for v in votes)),
        _cost(cost),
        [_point(one) for one in read],
        _examples(read),
    )


def _measures(
    answered: Sequence[Answered],
    read: Sequence[Answered],
    labelled: Sequence[Answered],
    seed: int,
) -> dict[str, Measure]:
    every = [v for one in answered for votes in one.verdicts for v in votes]
    masses = [v.mass for v in every if v.mass is not None]
    # A spoken verdict has no mass: its 0 or 1 is no probability.
    probable = bool(masses) and all(v.mass is not None for v in every if v.status == "ok")
    found = _agreement(labelled, probable, seed)
    if answered[0].item.criterion.kind == "pairwise":
        found |= _orders(read, seed)
    found |= _length(read, labelled, seed)
    votes = [values for one in answered for values in one.votes]
    found["self_agreement"] = measures.self_agreement(votes, seed)
    found["unread"] = measures.share([v.status != "ok" for v in every])
    found["mass"] = measures.mean(masses, seed) if masses else none("no probabilities")
    return {name: found[name] for name in MEANING if name in found}


def _agreement(labelled: Sequence[Answered], probable: bool, seed: int) -> dict[str, Measure]:
    if not labelled:
        names = ("agreement", "kappa", "label_correlation", "calibration_error")
        return {name: none("no labels") for name in names}
    judged, labels = _classes(labelled)
    error = none("the verdicts are no probabilities", len(labelled))
    if probable:
        error = measures.calibration_error(*_values(labelled), seed)
    return {
        "agreement": measures.agreement(judged, labels),
        "kappa": measures.kappa(judged, labels, _ordinal(labelled[0].item, judged), seed),
        "label_correlation": measures.rank_correlation(*_values(labelled), seed),
        "calibration_error": error,
    }


def _orders(read: Sequence[Answered], seed: int) -> dict[str, Measure]:
    first, second = ([one.orders[place] for one in read if one.orders] for place in (0, 1))
    return {
        "order_inconsistency": measures.order_inconsistency(first, second),
        "position_bias": measures.position_bias(first, second, seed),
    }


def _length(
    read: Sequence[Answered], labelled: Sequence[Answered], seed: int
) -> dict[str, Measure]:
    values = [one.value for one in read if one.value is not None]
    found = {}
    for prefix, ones, numbers in (
        ("", read, values),
        ("label_", labelled, _values(labelled)[1]),
    ):
        lengths = [_longer(one.item) for one in ones]
        found[f"{prefix}length_correlation"] = measures.rank_correlation(lengths, numbers, seed)
        if ones and ones[0].item.criterion.kind == "pairwise":
            found[f"{prefix}longer_preferred"] = measures.longer_preferred(lengths, numbers)
    return found if labelled else {k: v for k, v in found.items() if not k.startswith("label_")}


def _panel(a: Sequence[Answered], b: Sequence[Answered], seed: int) -> dict[str, Measure]:
    """The likeness of two judges; the items stand in the same order."""
    both = [(x, y) for x, y in zip(a, b, strict=True) if x.value is not None is not y.value]
    if not both:
        names = ("agreement", "kappa", "value_correlation")
        return {name: none("no item that both could read") for name in names}
    item = both[0][0].item
    first, second = (
        [_class(item, x.value or 0.0) for x in side] for side in zip(*both, strict=True)
    )
    ordinal = _ordinal(item, [*first, *second])
    values = [[x.value or 0.0 for x in side] for side in zip(*both, strict=True)]
    return {
        "agreement": measures.agreement(first, second),
        "kappa": measures.kappa(first, second, ordinal, seed),
        "value_correlation": measures.rank_correlation(values[0], values[1], seed),
    }


def _class(item: Item, value: float) -> int:
    """The index of the class nearest to a value. Half-way between two, a pair is undecided; for a
    single text it is the lower one.
    """
    distances = [round(abs(value - one), 9) for one in classes(item.criterion)]
    nearest = min(distances)
    if item.criterion.kind == "pairwise" and distances.count(nearest) > 1:
        return UNDECIDED
    return distances.index(nearest)


def _ordinal(item: Item, judged: Sequence[int]) -> bool:
    """Whether classes have an order, so that a near miss counts for something."""
    return len(classes(item.criterion)) > 2 and UNDECIDED not in judged


def _classes(labelled: Sequence[Answered]) -> tuple[list[int], list[int]]:
    judged, labels = _values(labelled)
    item = labelled[0].item
    return [_class(item, v) for v in judged], [_class(item, v) for v in labels]


def _values(labelled: Sequence[Answered]) -> tuple[list[float], list[float]]:
    """Values and labels of items that have both."""
    pairs = [(one.value or 0.0, one.item.label or 0.0) for one in labelled]
    return [value for value, _ in pairs], [label for _, label in pairs]


def _groups(labelled: Sequence[Answered]) -> dict[str, Measure]:
    groups: dict[str, list[Answered]] = {}
    for one in labelled:
        if one.item.group is not None:
            groups.setdefault(one.item.group, []).append(one)
    return {name: measures.agreement(*_classes(groups[name])) for name in sorted(groups)}


def _confusion(labelled: Sequence[Answered]) -> dict[str, dict[str, int]]:
    if not labelled:
        return {}
    criterion = labelled[0].item.criterion
    low, high = scale(criterion)
    named = {(value - low) / (high - low): name for name, value in verdicts(criterion).items()}
    names = {
        index: named.get(value, f"{low + value * (high - low):g}")
        for index, value in enumerate(classes(criterion))
    }
    judged, labels = _classes(labelled)
    if UNDECIDED in (*judged, *labels):
        names[UNDECIDED] = "undecided"
    seen = Counter(zip(labels, judged, strict=True))
    return {names[a]: {names[b]: seen[a, b] for b in names} for a in names if a in labels}


def _cost(cost: Cost) -> dict[str, float | None]:
    """Per verdict, and the share of prompt tokens that came from the prefix cache."""
    use, n = cost.usage, max(cost.verdicts, 1)
    cached = None if use.cached_tokens is None else use.cached_tokens / n
    return {
        "verdicts": cost.verdicts,
        "requests": use.requests,
        "prompt_tokens_per_verdict": use.prompt_tokens / n,
        "cached_tokens_per_verdict": cached,
        "output_tokens_per_verdict": use.output_tokens / n,
        "seconds_per_verdict": cost.seconds / n,
        "cache_hit_rate": cost.cache_hit_rate,
    }


def _longer(item: Item) -> int:
    """Characters of the first text, of a pair less those of the second."""
    lengths = [len(text) for text in item.pool.candidates.values()]
    return lengths[0] - sum(lengths[1:])


def _point(one: Answered) -> Point:
    item = one.item
    return Point(item.pool.row_id, one.value or 0.0, one.orders or [], item.label, _longer(item))


def _examples(read: Sequence[Answered]) -> list[Example]:
    """What the judge was most wrong about; without labels, what it said most differently in the
    two orders, or valued least.
    """

    def doubt(one: Answered) -> tuple[float, str]:
        value, label, orders = one.value or 0.0, one.item.label, one.orders or []
        if label is not None:
            return abs(value - label), f"value {value:.2f}, label {label:.2f}"
        if len(orders) == 2:
            return abs(
                orders[0] - orders[1]
            ), f"value {orders[0]:.2f} first, {orders[1]:.2f} second"
        return 1 - value, f"value {value:.2f}"

    worst = sorted(read, key=lambda one: -doubt(one)[0])[:_EXAMPLES]
    return [
        Example(
            one.item.pool.row_id,
            doubt(one)[1] + (f", {one.item.group}" if one.item.group else ""),
            "".join(one.item.pool.context)[-300:],
            {name: text[:_LONGEST] for name, text in one.item.pool.candidates.items()},
        )
        for one in worst
    ]
