"""From judges and items to a report."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import combinations
from typing import Any

from prewrite.judge.criteria import Criterion
from prewrite.judge.measure import measures
from prewrite.judge.measure.asking import AnsweredItem, Judging, answers, documents
from prewrite.judge.measure.criterion import class_of, criterion_report, ordinal
from prewrite.judge.measure.labels import LabelledItem
from prewrite.judge.measure.measures import Measure
from prewrite.judge.measure.report import JudgeReport, PanelReport, Report

Flips = Callable[[Judging, Sequence[Criterion]], Awaitable[dict[str, Measure]]]
"""Plays the canaries against a judge: the share of flips by criterion."""


async def build(
    judgings: Sequence[Judging],
    items: Sequence[LabelledItem],
    source: str,
    config: dict[str, Any],
    seed: int = 0,
    flips: Flips | None = None,
) -> Report:
    """Ask every judge about every item, one judge and criterion after the other so that each has
    its own cost; then its canaries, where `flips` is given. EngineError when an engine is dead.
    """
    groups: dict[str, list[LabelledItem]] = {}
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


def _panel(a: Sequence[AnsweredItem], b: Sequence[AnsweredItem], seed: int) -> dict[str, Measure]:
    """The likeness of two judges; the items stand in the same order."""
    pairs = zip(a, b, strict=True)
    both = [(x, y) for x, y in pairs if x.value is not None and y.value is not None]
    item, names = a[0].item, documents(x for x, _ in both)
    values = [[one.value or 0.0 for one in side] for side in zip(*both, strict=True)] or [[], []]
    first, second = ([class_of(item, value) for value in side] for side in values)
    return {
        "agreement": measures.agreement(first, second, names),
        "kappa": measures.kappa(first, second, ordinal(item, [*first, *second]), names, seed),
        "value_correlation": measures.rank_correlation(values[0], values[1], names, seed),
    }
