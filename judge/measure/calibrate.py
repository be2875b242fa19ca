"""`prewrite judge calibrate --config FILE`: fit each judge's values to labels, criterion by
criterion, into `output`/calibration.yaml, which `judge.calibration` names.

The labels are those of `measure.report.labels`. Their documents are split in two halves: a curve
(judge/calibration.py) is fitted on one, and what it is worth is measured on the other, which it has
not seen. What is fitted are the values as the judge gives them. It costs the verdicts: two for each
pair, one for each single text, of each judge.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray

from prewrite.base.errors import ConfigError, InputError
from prewrite.base.files import Folder
from prewrite.base.share import share
from prewrite.engine.config import EngineConfig
from prewrite.judge.calibration import CalibrationCurve, fitted_to, log_odds
from prewrite.judge.config import heads
from prewrite.judge.criteria import load_criterion
from prewrite.judge.judge import Judge, load_judges
from prewrite.judge.measure import measures
from prewrite.judge.measure.asking import AnsweredItem, answers, documents, judging
from prewrite.judge.measure.command import cell, texts
from prewrite.judge.measure.config import MeasuredRecipe
from prewrite.judge.measure.criterion import class_of
from prewrite.judge.measure.labels import LabelledItem
from prewrite.judge.measure.measures import Measure
from prewrite.judge.unread import refuse_unread

FILE = "calibration.yaml"
FEWEST = 10
"""Documents in a half."""

_RIDGE = 0.1
"""A Gaussian prior about (1, 0), no change, with a standard deviation of 3: where judge and labels
never differ, the likeliest scale is infinite."""


@dataclass(frozen=True)
class Calibrated:
    """One judge on one criterion. fitted: items of the one half; measures: of the other."""

    judge: str
    criterion: str
    curve: CalibrationCurve
    fitted: int
    measures: dict[str, Measure]


def run(recipe: MeasuredRecipe) -> None:
    """Fit, measure, write the file, say what was found."""
    judge = recipe.judge.model_copy(update={"calibration": None})
    groups = labelled(recipe)
    panel = load_judges(judge, recipe.engines, [group[0].criterion for group in groups])
    asked = asyncio.run(_asked(panel, groups))
    refuse_unread("judge calibrate", [(one.name, one.tally) for one in panel])
    found = [
        calibrated(name, items, recipe.engines[name], recipe.measure.report.seed)
        for name, items in asked
    ]
    Folder(recipe.output).write(FILE, written(found))
    print("\n".join(map(line_of, found)))
    print(f"name it in the recipe: judge.calibration={recipe.output}/{FILE}")


async def _asked(
    panel: Sequence[Judge], groups: Sequence[Sequence[LabelledItem]]
) -> list[tuple[str, list[AnsweredItem]]]:
    """The name of each judge, with what it says to each group."""
    return [
        (str(one.name), (await answers(judging(one), group))[0])
        for one in panel
        for group in groups
    ]


def labelled(recipe: MeasuredRecipe) -> list[list[LabelledItem]]:
    """The labels of each criterion that asks a model, as far as it has some."""
    path = recipe.measure.report.labels
    if recipe.judge.readout != "distribution":
        raise ConfigError("judge.readout: found 'reasoning'; accepted here: distribution")
    if path is None:
        raise ConfigError(
            "measure.report.labels: this key is required here: a file of labels, or a scored set"
        )
    items, _ = texts(recipe)
    known = map(load_criterion, recipe.judge.criteria)
    asked = [criterion for criterion in known if criterion.needs_engine]
    groups = [
        [item for item in items if item.criterion.name == criterion.name] for criterion in asked
    ]
    groups = [group for group in groups if group]
    if not groups:
        raise InputError(f"{path}: no label of a criterion that asks a model; accepted: some")
    for group in groups:
        _refuse_poor(path, group)
    return groups


def _refuse_poor(path: str, group: Sequence[LabelledItem]) -> None:
    """InputError for labels that nothing can be fitted to."""
    name, halves = group[0].criterion.name, split(_documents(group))
    if min(map(len, halves)) < FEWEST:
        count = sum(map(len, halves))
        raise InputError(
            f"{path}: found {name} labels of {count} documents; accepted: at least {2 * FEWEST}"
        )
    for half in halves:
        labels = {
            item.label for item, at in zip(group, _documents(group), strict=True) if at in half
        }
        if group[0].criterion.kind != "pairwise" and len(labels) == 1:
            raise InputError(
                f"{path}: found the {name} label {labels.pop():g} in all of a half of the "
                "documents; accepted: labels that differ"
            )


def split(names: Sequence[str]) -> tuple[frozenset[str], frozenset[str]]:
    """Two halves of the documents, drawn by their names: to fit on, and to measure on."""
    ordered = sorted(set(names), key=share)
    middle = (len(ordered) + 1) // 2
    return frozenset(ordered[:middle]), frozenset(ordered[middle:])


def _documents(group: Sequence[LabelledItem]) -> list[str]:
    return documents([AnsweredItem(item, ()) for item in group])


def calibrated(
    judge: str, told: Sequence[AnsweredItem], engine: EngineConfig, seed: int = 0
) -> Calibrated:
    """Fit on one half of the answered labels, measure on the other; InputError for a judge that is
    not better than a guess.
    """
    names, criterion = documents(told), told[0].item.criterion
    first, _ = split(names)
    ours = [one for one, name in zip(told, names, strict=True) if name in first]
    rest = [(one, name) for one, name in zip(told, names, strict=True) if name not in first]
    scale, offset = fit(*_points(ours))
    if scale <= 0:
        raise InputError(
            f"measure.report.labels: the values of {judge} on {criterion.name} fall where the "
            f"labels rise (scale {scale:.2f}); accepted: a judge that is better than a guess"
        )
    curve = CalibrationCurve(scale=scale, offset=offset, of=fitted_to(criterion, engine))
    found = _measured(rest, curve, seed)
    return Calibrated(judge, criterion.name, curve, len(ours), found)


def fit(values: ArrayLike, labels: ArrayLike) -> tuple[float, float]:
    """Scale and offset that make the labels likeliest, given the log odds of the values."""
    from scipy.optimize import minimize  # slow to import, and few commands need it

    odds_N, labels_N = np.asarray(values, float), np.asarray(labels, float)

    def loss(curve: NDArray[np.float64]) -> float:
        z_N = curve[0] * odds_N + curve[1]
        unlikely = float((np.logaddexp(0, z_N) - labels_N * z_N).sum())
        return unlikely + _RIDGE / 2 * float((curve[0] - 1) ** 2 + curve[1] ** 2)

    scale, offset = minimize(loss, [1.0, 0.0]).x
    return float(scale), float(offset)


def _points(told: Sequence[AnsweredItem]) -> tuple[list[float], list[float]]:
    """The log odds of each verdict, and the label, both of what stood first."""
    points = [
        (log_odds(verdict.value), 1 - label if question.order else label)
        for one in told
        if (label := one.item.label) is not None
        for question, verdicts in zip(one.item.questions(), one.verdicts, strict=True)
        for verdict in verdicts
        if verdict.value is not None
    ]
    return [odds for odds, _ in points], [label for _, label in points]


def _measured(
    told: Sequence[tuple[AnsweredItem, str]], curve: CalibrationCurve, seed: int
) -> dict[str, Measure]:
    """Agreement and calibration error before and after, and what the agreement gains."""
    read = [(one, name) for one, name in told if one.value is not None]
    names = [name for _, name in read]
    after = [_through(one, curve) for one, _ in read]
    hits = [[_is_right(one) for one in some] for some in ([one for one, _ in read], after)]
    gains = [float(b) - float(a) for a, b in zip(*hits, strict=True)]
    found = {"agreement": measures.share(hits[0], names)}
    found["calibrated"] = measures.share(hits[1], names)
    found["gain"] = measures.mean(gains, names, seed)
    for key, some in (("error", [one for one, _ in read]), ("calibrated_error", after)):
        values, labels = [one.value or 0.0 for one in some], [one.item.label or 0.0 for one in some]
        found[key] = measures.calibration_error(values, labels, names, seed)
    return found


def _through(one: AnsweredItem, curve: CalibrationCurve) -> AnsweredItem:
    return replace(one, verdicts=tuple(tuple(v.through(curve) for v in vs) for vs in one.verdicts))


def _is_right(one: AnsweredItem) -> bool:
    """Whether judge and label name the same class."""
    return class_of(one.item, one.value or 0.0) == class_of(one.item, one.item.label or 0.0)


def written(found: Sequence[Calibrated]) -> bytes:
    """The file; what was measured stands in its head."""
    curves: dict[str, dict[str, dict[str, float | str]]] = {}
    for one in found:
        curves.setdefault(one.criterion, {})[one.judge] = one.curve.model_dump()
    head = ["Made by `prewrite judge calibrate`; judge.calibration names it.", *map(line_of, found)]
    body = yaml.safe_dump(curves, sort_keys=False, allow_unicode=True)
    return ("".join(f"# {line}\n" for line in head) + body).encode("utf-8", "replace")


def line_of(one: Calibrated) -> str:
    """What was fitted, and what it is worth, in one line."""
    name, curve = " ".join(one.judge.split()), one.curve
    measured = ", ".join(f"{key} {cell(measure)}" for key, measure in one.measures.items())
    return (
        f"{name}, {one.criterion}: scale {curve.scale:.2f}, offset {curve.offset:.2f} by "
        f"{one.fitted} items; on {one.measures['agreement'].n} others: {measured}"
    )


def plan(recipe: MeasuredRecipe) -> str:
    """What `run` would do."""
    groups = labelled(recipe)
    names = ", ".join(f"{group[0].criterion.name} ({len(group)} labels)" for group in groups)
    line = f"calibrate {', '.join(recipe.judge.panel)} on {names} → {recipe.output}/{FILE}"
    return "\n".join([line, *heads(recipe.judge, recipe.engines)])
