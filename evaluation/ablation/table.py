"""The table of an ablation: a row a variant, with what its run took and what was measured of it.

It is read out of what `train`, `evaluate` and `evaluate tasks` leave in one folder, so it is the
same at any scale: a folder a variant with `metrics.jsonl`, and `evaluation/results/VARIANT.json`.
Where more than win rates on ordinary prefixes was measured, one table joins win rates, standard
tasks and safety, as the paper's Table 6 does. What is not there is a dash, never a number.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import fsum
from pathlib import Path
from typing import Any

from prewrite.base.cli import console
from prewrite.base.errors import InputError
from prewrite.base.files import Folder
from prewrite.evaluation.reproduce.printed import Results, columns, measured
from prewrite.evaluation.results import commit
from prewrite.evaluation.writing import GREEDY, SAMPLED

_JOINED = ("ordinary", "unsafe", "standard", "safety")  # columns of reproduce/printed.yaml
_ALWAYS = ("repetition",)  # beside what was judged
_ORIGINALS = "bits_per_byte,none"
_JUDGED = "_judged"
_NONE = "–"


def collect(folder: Path, names: Sequence[str], failed: Mapping[str, str]) -> dict[str, Any]:
    """What is known of the models `names`, the base first. failed: the sentences of those that
    failed. InputError for a damaged file.
    """
    results = {name: {} if name in failed else _results(folder, name) for name in names}
    base = results[names[0]]
    return {
        "commit": commit(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "rows": [
            _row(folder, name, failed.get(name), results[name])
            | {"joined": _joined(results[name], base, name == names[0])}
            for name in names
        ],
        "failed": dict(failed),
    }


def markdown(table: Mapping[str, Any], note: str) -> str:
    """The table as a page: one for each kind of text and decoding. note: what its reader must know,
    empty for nothing.
    """
    rows = table["rows"]
    parts = ["# Ablation", note, _together(rows), *(_table(rows, *kind) for kind in _kinds(rows))]
    failed = [f"- {name}: {said}" for name, said in table["failed"].items()]
    parts.append("\n".join(["Failed:\n", *failed]) if failed else "")
    parts.append(
        "In brackets: 95 % intervals, by a bootstrap over documents; of win rates against the base "
        f"0.5 is as good. Made {table['date']} at commit {table['commit'] or 'unknown'}."
    )
    return "\n\n".join(part for part in parts if part) + "\n"


def _row(folder: Path, name: str, failed: str | None, results: Results) -> dict[str, Any]:
    steps = [line for line in _lines(folder / name / "metrics.jsonl") if line.get("step") != 0]
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
            for split, found in results.items()
        },
    }


def _joined(results: Results, base: Results, is_base: bool) -> dict[str, dict[str, Any] | None]:
    found = {name: measured(name, results, base, is_base) for name in _JOINED}
    return {
        name: None if one is None else {"value": one.value, "interval": one.interval}
        for name, one in found.items()
    }


def _together(rows: Sequence[Mapping[str, Any]]) -> str:
    """Win rates, standard tasks and safety in one table; empty where there is but the first."""
    if not any(row["joined"][name] for row in rows for name in _JOINED[1:]):
        return ""
    head = ["variant", *(columns()[name].title for name in _JOINED)]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [row["variant"], *(_cell(row["joined"][name]) for name in _JOINED)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _results(folder: Path, name: str) -> dict[str, dict[str, Any]]:
    data = Folder(str(folder / "evaluation")).read(f"results/{name}.json")
    try:
        found: dict[str, dict[str, Any]] = json.loads(data)["results"] if data else {}
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{folder}/evaluation/results/{name}.json: damaged; remove it") from None
    return found


def _lines(metrics: Path) -> list[dict[str, Any]]:
    """Every step of a run; a line that a kill tore is none, one that is damaged is said."""
    if not metrics.exists():
        return []
    whole = metrics.read_bytes().split(b"\n")[:-1]
    found = [step for step in map(_step, whole) if step]
    if len(found) < len(whole):
        count = len(whole) - len(found)
        console.print(f"{metrics}: damaged lines left out: {count}", soft_wrap=True)
    return found


def _step(line: bytes) -> dict[str, Any] | None:
    try:
        values = json.loads(line)
        whole = values.get("step") == 0 or isinstance(values["seconds"], int | float)
        return values if whole else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _interval(metric: str) -> str:
    name, _, decoding = metric.partition(",")
    return f"{name}_interval,{decoding}"


def _kinds(rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(split, decoding) of which something is known; one of nothing, so that runs are shown."""
    found = {
        (split, metric.partition(",")[2]): None
        for row in rows
        for split, measured in row["measured"].items()
        for metric in measured
    }
    return [kind for kind in found if kind[1] in (GREEDY, SAMPLED)] or [("", "")]


def _table(rows: Sequence[Mapping[str, Any]], split: str, decoding: str) -> str:
    measured = [row["measured"].get(split, {}) for row in rows]
    metrics = _metrics(measured, decoding)
    names = [metric.partition(",")[0].replace("_", " ") for metric in metrics]
    head = [f"{split}, {decoding}".strip(", ") or "variant", *names, "steps", "seconds"]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row, found in zip(rows, measured, strict=True):
        name = f"{row['variant']} (failed)" if row["failed"] else row["variant"]
        cells = [name, *(_cell(found.get(metric)) for metric in metrics)]
        cells += [f"{row[key]:.0f}" if row["steps"] else _NONE for key in ("steps", "seconds")]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _metrics(measured: Sequence[Mapping[str, Any]], decoding: str) -> list[str]:
    """What was judged, in the order of the evaluation, and what is always told."""
    end = f"{_JUDGED},{decoding}"
    known = dict.fromkeys(metric for some in measured for metric in some)
    found = [f"{metric.removesuffix(end)},{decoding}" for metric in known if metric.endswith(end)]
    # The base, which comes first, has no win rates; they go before the rest.
    found.sort(key=lambda metric: "_win_rate," not in metric)
    return [*found, *(f"{name},{decoding}" for name in _ALWAYS), _ORIGINALS] if known else []


def _cell(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return _NONE
    value, interval = found["value"], found["interval"]
    return f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})" if interval else f"{value:.3f}"
