"""What was measured of a model, as files: one in the schema of the lm-eval harness, and rows of a
leaderboard.

`results/MODEL.json` has the keys that tools for the harness read: `results[task]["metric,filter"]`
with `metric_stderr,filter` beside it, `configs`, `versions`, `n-samples`, `higher_is_better`,
`config`, `git_hash`, `date`. An interval, which that schema does not know, stands beside them as
`metric_interval,filter`: [low, high], 95 %. Writing again replaces a model's tasks of the same
names and leaves the others.

`leaderboard.jsonl` has one row a model and configuration: commit, configuration and the same
numbers, `task/metric,filter`. It is read whole and written whole, so several evaluations may share
it one after the other.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prewrite.base.errors import InputError
from prewrite.base.files import Folder, resolve
from prewrite.base.fingerprint import fingerprint


@dataclass(frozen=True)
class MetricValue:
    """One number. filter: how the texts came about (`greedy`, `sampled`; `none` where that is no
    question). stderr, low, high: None where not known; low, high are a 95 % interval. better: which
    way is better, None where neither is.
    """

    metric: str
    filter: str
    value: float | None
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    better: bool | None = None


@dataclass(frozen=True)
class TaskResult:
    """What was measured on one set of texts. documents: independent ones; cut_points: all of
    them.
    """

    name: str
    measures: Sequence[MetricValue]
    documents: int
    cut_points: int
    version: int | str = 1
    config: Mapping[str, Any] | None = None


def write_results(output: str, model: str, path: str, tasks: Sequence[TaskResult]) -> str:
    """Write `results/MODEL.json` under the folder `output`; returns its name there."""
    folder, name = Folder(output), f"results/{model}.json"
    before = _read(folder, name)
    after = before | {
        "config": {"model": "vllm", "model_args": f"pretrained={path}"},
        "model_name": path,
        "git_hash": commit(),
        "date": datetime.now(UTC).timestamp(),
        "results": before.get("results", {}) | {task.name: _flat(task) for task in tasks},
    }
    for key, value in {
        "configs": {task.name: dict(task.config or {}) for task in tasks},
        "versions": {task.name: task.version for task in tasks},
        "n-shot": {task.name: (task.config or {}).get("num_fewshot", 0) for task in tasks},
        "n-samples": {
            task.name: {"original": task.cut_points, "effective": task.cut_points} for task in tasks
        },
        "higher_is_better": {
            task.name: {m.metric: m.better for m in task.measures if m.better is not None}
            for task in tasks
        },
    }.items():
        after[key] = before.get(key, {}) | value
    folder.write(name, (json.dumps(after, indent=1, allow_nan=False) + "\n").encode())
    return name


def write_leaderboard(
    file: str, model: str, path: str, config: Mapping[str, Any], tasks: Sequence[TaskResult]
) -> None:
    """Put the row of a model into the leaderboard, in place of one of the same configuration."""
    folder, target = _place(file)
    key = fingerprint([model, path, config])
    row = {
        "fingerprint": key,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "model": model,
        "path": path,
        "config": config,
    }
    for task in tasks:
        row |= {
            f"{task.name}/{name}": value for name, value in _flat(task).items() if name != "alias"
        }
    kept = [one for one in leaderboard(file) if one.get("fingerprint") != key]
    lines = (json.dumps(one, allow_nan=False, ensure_ascii=False) for one in [*kept, row])
    folder.write(target, "".join(f"{line}\n" for line in lines).encode())


def leaderboard(file: str) -> list[dict[str, Any]]:
    """The rows of a leaderboard, none where there is no file; InputError for a damaged line."""
    folder, name = _place(file)
    rows = []
    for number, line in enumerate((folder.read(name) or b"").decode().splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{file}: line {number}: found no JSON object; accepted: one a line")
        if "fingerprint" not in row:
            raise InputError(
                f"{file}: line {number}: found no row of a leaderboard; accepted: a file of such "
                "rows alone, which is written anew"
            )
        rows.append(row)
    return rows


def commit() -> str | None:
    """The commit of this project that is running, None where it is no checkout."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=10"]
    here = Path(__file__).parent
    try:
        done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    except OSError:  # no git here
        return None
    return done.stdout.strip() or None


def _flat(task: TaskResult) -> dict[str, Any]:
    """A task's numbers under the harness's names."""
    found: dict[str, Any] = {"alias": task.name}
    for measure in task.measures:
        found[f"{measure.metric},{measure.filter}"] = measure.value
        if measure.stderr is not None:
            found[f"{measure.metric}_stderr,{measure.filter}"] = measure.stderr
        if measure.low is not None:
            interval = [measure.low, measure.high]
            found[f"{measure.metric}_interval,{measure.filter}"] = interval
    return found


def _read(folder: Folder, name: str) -> dict[str, Any]:
    data = folder.read(name)
    if data is None:
        return {}
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InputError(f"{folder.url}/{name}: damaged: not a JSON object; remove it")
    return found


def _place(file: str) -> tuple[Folder, str]:
    if Folder(file).is_local:  # whoever names a link means what it leads to
        file = os.path.realpath(resolve(file)[1])
    return Folder(file).parent()
