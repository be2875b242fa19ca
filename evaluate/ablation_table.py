"""The table of an ablation: a row a variant, with what its run took and what was measured of it.

It is read out of what `train` and `evaluate` leave in one folder, so it is the same at any scale: a
folder a variant with `metrics.jsonl`, and `evaluation/results/VARIANT.json`. What is not there is a
dash, never a number.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import fsum
from pathlib import Path
from typing import Any

from base.errors import InputError
from base.files import Folder
from evaluate.results import commit
from judge.criteria import load_criterion

_JUDGE_FREE = ("repetition,greedy", "bits_per_byte,none")
_NONE = "–"


def collect(
    folder: Path, names: Sequence[str], criteria: Sequence[str], failed: Mapping[str, str]
) -> dict[str, Any]:
    """What is known of the models `names`, the base first. failed: the sentences of those that
    failed. InputError for a damaged file.
    """
    return {
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "measures": [*map(_measure, criteria), *_JUDGE_FREE],
        "rows": [_row(folder, name, failed.get(name)) for name in names],
    }


def markdown(table: Mapping[str, Any], note: str) -> str:
    """The table as a page, one table for each kind of text. note: what its reader must know."""
    splits = list(dict.fromkeys(name for row in table["rows"] for name in row["measured"]))
    parts = ["# Ablation", note, *(_table(table, split) for split in splits or [""])]
    failed = [row for row in table["rows"] if row["failed"]]
    parts += ["Failed:\n\n" + "\n".join(f"- {row['variant']}: {row['failed']}" for row in failed)]
    made = f"Intervals: 95 %. Made {table['date']} at commit {table['commit'] or 'unknown'}."
    return "\n\n".join([*parts[: len(parts) - (not failed)], made]) + "\n"


def _measure(criterion: str) -> str:
    """What an evaluation calls its measure of a criterion."""
    found = load_criterion(criterion)
    return f"{found.name}{'_win_rate' * (found.kind == 'pairwise')},greedy"


def _row(folder: Path, name: str, failed: str | None) -> dict[str, Any]:
    steps = _lines(folder / name / "metrics.jsonl")
    result = Folder(str(folder / "evaluation")).read(f"results/{name}.json")
    measured = {} if failed or result is None else _read(folder, name, result)
    return {
        "variant": name,
        "failed": failed,
        "steps": len(steps),
        "seconds": round(fsum(step["seconds"] for step in steps), 1),
        "measured": {
            split: {
                metric: {"value": value, "interval": found.get(_interval(metric))}
                for metric, value in found.items()
                if isinstance(value, float | int) and "_stderr," not in metric
            }
            for split, found in measured.items()
        },
    }


def _read(folder: Path, name: str, data: bytes) -> dict[str, dict[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = json.loads(data)["results"]
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{folder}/evaluation/results/{name}.json: damaged; remove it") from None
    return found


def _lines(metrics: Path) -> list[dict[str, Any]]:
    """Every step of a run; a line that a kill tore is none."""
    if not metrics.exists():
        return []
    lines = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _interval(metric: str) -> str:
    name, _, decoding = metric.partition(",")
    return f"{name}_interval,{decoding}"


def _table(table: Mapping[str, Any], split: str) -> str:
    shown = [metric.partition(",")[0].replace("_", " ") for metric in table["measures"]]
    head = [f"variant, {split} texts" if split else "variant", *shown, "steps", "seconds"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in table["rows"]:
        found = row["measured"].get(split, {})
        cells = [row["variant"], *(_cell(found.get(metric)) for metric in table["measures"])]
        cells += [str(row["steps"] or _NONE), f"{row['seconds']:.0f}" if row["steps"] else _NONE]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return _NONE
    value, interval = found["value"], found["interval"]
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else f"{value:.3f}"
