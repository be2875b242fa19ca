"""One judge on one criterion: from its verdicts to every measure that applies."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from prewrite.judge.measure import measures
from prewrite.judge.measure.asking import AnsweredItem, Cost, documents
from prewrite.judge.measure.labels import LabelledItem, classes, scale, verdicts
from prewrite.judge.measure.measures import Measure, none
from prewrite.judge.measure.report import MEANING, CriterionReport, Example, Point

UNDECIDED = -1
"""The class of a pair whose orders cancel, where the criterion has no tie. No label has it, so it
counts as a disagreement."""

_EXAMPLES = 5
_LONGEST = 1500


def criterion_report(
    answered: Sequence[AnsweredItem], cost: Cost, seed: int = 0
) -> CriterionReport:
    """Everything about one judge on items of one criterion."""
    criterion = answered[0].item.criterion
    read = [one for one in answered if one.value is not None]
    labelled = [one for one in read if one.item.label is not None]
    named = [*zip(answered, documents(answered), strict=True)]
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
        [_point(one, name) for one, name in named if one.value is not None],
        [name for one, name in named if one.value is None and one.item.label is not None],
        _examples(read),
    )


def _measures(
    answered: Sequence[AnsweredItem],
    read: Sequence[AnsweredItem],
    labelled: Sequence[AnsweredItem],
    seed: int,
) -> dict[str, Measure]:
    asked = [*zip(answered, documents(answered), strict=True)]
    told = [(v, name) for one, name in asked for votes in one.verdicts for v in votes]
    masses = [(v.mass, name) for v, name in told if v.mass is not None]
    # A spoken verdict has no mass: its 0 or 1 is no probability.
    probable = bool(masses) and all(v.mass is not None for v, _ in told if v.status == "ok")
    found = _agreement(labelled, probable, seed)
    if probable:
        found |= _spread(read)
    if answered[0].item.criterion.kind == "pairwise":
        found |= _orders(read, seed)
    found |= _length(read, labelled, seed)
    votes = [(values, name) for one, name in asked for values in one.votes]
    found["self_agreement"] = measures.self_agreement(*_apart(votes), seed)
    found["unread"] = measures.share(*_apart([(v.status != "ok", name) for v, name in told]))
    found["mass"] = measures.mean(*_apart(masses), seed) if masses else none("no probabilities")
    return {name: found[name] for name in MEANING if name in found}


def _spread(read: Sequence[AnsweredItem]) -> dict[str, Measure]:
    """How fine the values are: a head in 16 bits gives many items the same one."""
    values = [round(one.value or 0.0, 9) for one in read]
    halves = [_is_half_way(one.item, value) for one, value in zip(read, values, strict=True)]
    return {
        "distinct_values": Measure(len(set(values)), len(values)) if values else none("no value"),
        "undecided": measures.share(halves, documents(read)),
    }


def _apart(pairs: Sequence[tuple[Any, str]]) -> tuple[list[Any], list[str]]:
    return [value for value, _ in pairs], [name for _, name in pairs]


def _agreement(labelled: Sequence[AnsweredItem], probable: bool, seed: int) -> dict[str, Measure]:
    if not labelled:
        missing = ("agreement", "kappa", "label_correlation", "calibration_error")
        return {name: none("no labels") for name in missing}
    (judged, labels), names = _classes(labelled), documents(labelled)
    error = none("the verdicts are no probabilities", len(labelled))
    if probable:
        error = measures.calibration_error(*_values(labelled), names, seed)
    return {
        "agreement": measures.agreement(judged, labels, names),
        "kappa": measures.kappa(judged, labels, ordinal(labelled[0].item, judged), names, seed),
        "label_correlation": measures.rank_correlation(*_values(labelled), names, seed),
        "calibration_error": error,
    }


def _orders(read: Sequence[AnsweredItem], seed: int) -> dict[str, Measure]:
    first, second = ([one.orders[place] for one in read if one.orders] for place in (0, 1))
    names = documents(one for one in read if one.orders)
    return {
        "order_inconsistency": measures.order_inconsistency(first, second, names),
        "position_bias": measures.position_bias(first, second, names, seed),
    }


def _length(
    read: Sequence[AnsweredItem], labelled: Sequence[AnsweredItem], seed: int
) -> dict[str, Measure]:
    values = [one.value for one in read if one.value is not None]
    found = {}
    for prefix, ones, numbers in (
        ("", read, values),
        ("label_", labelled, _values(labelled)[1]),
    ):
        lengths, names = [_longer(one.item) for one in ones], documents(ones)
        correlation = measures.rank_correlation(lengths, numbers, names, seed)
        found[f"{prefix}length_correlation"] = correlation
        if ones and ones[0].item.criterion.kind == "pairwise":
            longer = measures.longer_preferred(lengths, numbers, names)
            found[f"{prefix}longer_preferred"] = longer
    return found if labelled else {k: v for k, v in found.items() if not k.startswith("label_")}


def _is_half_way(item: LabelledItem, value: float) -> bool:
    distances = _distances(item, value)
    return distances.count(min(distances)) > 1


def _distances(item: LabelledItem, value: float) -> list[float]:
    """Of a value to each class."""
    return [round(abs(value - one), 9) for one in classes(item.criterion)]


def class_of(item: LabelledItem, value: float) -> int:
    """The index of the class nearest to a value. Half-way between two, a pair is undecided; for a
    single text it is the lower one.
    """
    if item.criterion.kind == "pairwise" and _is_half_way(item, value):
        return UNDECIDED
    distances = _distances(item, value)
    return distances.index(min(distances))


def ordinal(item: LabelledItem, judged: Sequence[int]) -> bool:
    """Whether classes have an order, so that a near miss counts for something."""
    return len(classes(item.criterion)) > 2 and UNDECIDED not in judged


def _classes(labelled: Sequence[AnsweredItem]) -> tuple[list[int], list[int]]:
    judged, labels = _values(labelled)
    item = labelled[0].item
    return [class_of(item, v) for v in judged], [class_of(item, v) for v in labels]


def _values(labelled: Sequence[AnsweredItem]) -> tuple[list[float], list[float]]:
    """Values and labels of items that have both."""
    pairs = [(one.value or 0.0, one.item.label or 0.0) for one in labelled]
    return [value for value, _ in pairs], [label for _, label in pairs]


def _groups(labelled: Sequence[AnsweredItem]) -> dict[str, Measure]:
    groups: dict[str, list[AnsweredItem]] = {}
    for one in labelled:
        if one.item.group is not None:
            groups.setdefault(one.item.group, []).append(one)
    return {
        name: measures.agreement(*_classes(groups[name]), documents(groups[name]))
        for name in sorted(groups)
    }


def _confusion(labelled: Sequence[AnsweredItem]) -> dict[str, dict[str, int]]:
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


def _longer(item: LabelledItem) -> int:
    """Characters of the first text, of a pair less those of the second."""
    lengths = [len(text) for text in item.pool.candidates.values()]
    return lengths[0] - sum(lengths[1:])


def _point(one: AnsweredItem, document: str) -> Point:
    item, orders = one.item, one.orders or []
    length = _longer(item)
    return Point(item.pool.row_id, document, one.value or 0.0, orders, item.label, length)


def _examples(read: Sequence[AnsweredItem]) -> list[Example]:
    """What the judge was most wrong about; without labels, what it said most differently in the
    two orders, or valued least.
    """

    def doubt(one: AnsweredItem) -> tuple[float, str]:
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
