"""What the lm-eval harness found, as measures that `evaluation.results` writes.

The harness averages a group over its leaves and over one metric, so MMLU with its 57 tasks would be
most of any average with it, and GSM8K, which has no accuracy, no part. A group file of ours says
itself what its one number is: `metadata: {average: {boolq: "acc,none", mmlu: "acc,none", …}}` is
the mean of these values, each of the same weight, as the metric `average`. Its standard error takes
them as independent: the root of the sum of squares, over their number.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from prewrite.base.config import near
from prewrite.base.errors import ConfigError
from prewrite.evaluation.results import MetricValue, TaskResult


def check_averages(loaded: Any) -> None:
    """ConfigError for an average over something that its group has not, before a model runs."""
    for name, group in loaded.get("groups", {}).items():
        inside = {one.task_name for one in group.get_all_tasks()}
        inside |= {one.name for one in group.get_all_groups()}
        for part, key in _averaged(group).items():
            if part not in inside:
                raise ConfigError(
                    f"group '{name}': metadata.average: found '{part}';{near(part, inside)} "
                    "accepted: its tasks and groups"
                )
            if not isinstance(key, str) or "," not in key:
                raise ConfigError(
                    f"group '{name}': metadata.average.{part}: found {key!r}; "
                    "accepted: metric,filter"
                )


def tasks_of(found: Mapping[str, Any], loaded: Any) -> list[TaskResult]:
    """Every task and group of the results that has a number, as the harness orders them."""
    groups = loaded.get("groups", {})
    told = []
    for name, values in found["results"].items():
        better = found["higher_is_better"].get(name, {})
        measures = [*_measures(values, better)]
        if name in groups:
            measures += _average(name, groups[name], found["results"])
        if measures:
            told.append(_task(name, measures, found, groups.get(name)))
    return told


def _task(
    name: str, measures: list[MetricValue], found: Mapping[str, Any], group: Any
) -> TaskResult:
    leaves = [name] if group is None else [one.task_name for one in group.get_all_tasks()]
    documents = sum(found["n-samples"][leaf]["effective"] for leaf in leaves)
    config = found["configs"].get(name) or {"group": name, "task": group.child_names}
    config = config | {"num_fewshot": found["n-shot"].get(name)}
    return TaskResult(
        name=name,
        measures=measures,
        documents=documents,
        cut_points=documents,
        version=found["versions"].get(name, "N/A"),
        config=json.loads(json.dumps(config, default=str)),
    )


def _measures(values: Mapping[str, Any], better: Mapping[str, bool | None]) -> list[MetricValue]:
    """`metric,filter` with its `metric_stderr,filter`; what is no number is None."""
    told = []
    for key, value in values.items():
        metric, comma, name = key.partition(",")
        if comma and not metric.endswith("_stderr"):
            stderr = _number(values.get(f"{metric}_stderr,{name}"))
            told.append(
                MetricValue(metric, name, _number(value), stderr, better=better.get(metric))
            )
    return told


def _average(name: str, group: Any, results: Mapping[str, Any]) -> list[MetricValue]:
    parts = _averaged(group)
    if not parts:
        return []
    values, errors = [], []
    for part, key in parts.items():
        if key not in results[part]:
            known = [one for one in results[part] if "," in one and "_stderr," not in one]
            raise ConfigError(
                f"group '{name}': metadata.average.{part}: found '{key}';{near(key, known)} "
                f"accepted: {', '.join(known)}"
            )
        metric, _, rest = key.partition(",")
        values.append(_number(results[part][key]))
        errors.append(_number(results[part].get(f"{metric}_stderr,{rest}")))
    return [MetricValue("average", "none", _mean(values), _error(errors), better=True)]


def _averaged(group: Any) -> dict[str, Any]:
    return dict((group.metadata or {}).get("average") or {})


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if len(known) == len(values) else None


def _error(errors: list[float | None]) -> float | None:
    known = [error for error in errors if error is not None]
    return math.hypot(*known) / len(known) if len(known) == len(errors) else None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):  # "N/A": the harness does not know
        return None
    return number if math.isfinite(number) else None
