"""`prewrite evaluate tasks --config FILE`: run tasks of the lm-eval harness with vLLM on every
model of `evaluate.models`, with the settings of `evaluate.engine`. Writes, under
`evaluate.output`, results/MODEL.json in the harness's schema and tasks.md, the table that is
printed; and a row a model in `evaluate.leaderboard`. Every model has a process of its own. A model
that is done is not run again; done under another configuration, it is refused with the difference.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.measure import Measurement
from rich.table import Table

from prewrite.base.cli import console
from prewrite.base.console import PlainConsole
from prewrite.base.errors import ConfigError, InputError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import differences, other_configuration
from prewrite.engine.digest import identity
from prewrite.engine.registry import probe
from prewrite.evaluation.config import EvaluateRecipe, TasksConfig
from prewrite.evaluation.equality import version as comparer_version
from prewrite.evaluation.harness import (
    check_lengths,
    language_model,
    load_tasks,
    measure,
    quiet,
    version,
)
from prewrite.evaluation.harness_results import check_averages, tasks_of
from prewrite.evaluation.results import TaskResult, write_leaderboard, write_results
from prewrite.pipeline.worker_pool import WorkerPool


def run(recipe: EvaluateRecipe) -> None:
    """Measure every model that is not measured yet, then print and write the table."""
    version()
    config = section(recipe)
    left = [name for name in recipe.evaluate.models if not is_done(recipe, name)]
    for name in left:
        probe(recipe.engine(name))
    for name in left:
        console.print(f"{name}: {', '.join(config.names)}", soft_wrap=True)
        # A process for each: only its end frees an accelerator for certain.
        WorkerPool(partial(_in_worker, recipe, name), [0], 1).run()
    rows = {name: _marker(recipe, name)["tasks"] for name in recipe.evaluate.models}
    Folder(recipe.evaluate.output).write("tasks.md", _markdown(rows).encode())
    _print(rows)


def plan(recipe: EvaluateRecipe) -> str:
    """What `run` would do."""
    config = section(recipe)
    lines = [f"tasks: {', '.join(config.names)}"]
    for name, path in recipe.evaluate.models.items():
        state = "done" if is_done(recipe, name) else "to be measured"
        lines.append(f"model {name} ({path}): {state}")
    return "\n".join([*lines, f"would write to {recipe.evaluate.output}"])


def section(recipe: EvaluateRecipe) -> TasksConfig:
    """`evaluate.tasks`, which this command needs."""
    if recipe.evaluate.tasks is None:
        raise ConfigError("evaluate.tasks: this key is required here: which tasks to run")
    return recipe.evaluate.tasks


def is_done(recipe: EvaluateRecipe, name: str) -> bool:
    """Whether a model was measured under this configuration; ConfigError: under another one."""
    marker = _marker(recipe, name)
    if not marker:
        return False
    lines = differences(marker["identity"], _identity(recipe, name))
    if lines:
        file = f"{recipe.evaluate.output}/tasks/{name}.json"
        remedy = "remove it to measure this model again, choose another evaluate.output"
        raise other_configuration(file, lines, remedy)
    return True


def _in_worker(recipe: EvaluateRecipe, name: str, rank: int, opened: Callable[[], None]) -> None:
    """One model, from its tasks to its marker, in a process of its own."""
    quiet()
    config, evaluate = section(recipe), recipe.evaluate
    loaded = load_tasks(config)
    check_averages(loaded)
    check_lengths(loaded, recipe.engine(name))
    tasks = tasks_of(measure(language_model(recipe.engine(name)), loaded, config), loaded)
    known, path = _identity(recipe, name), evaluate.models[name]
    write_results(evaluate.output, name, path, tasks)
    write_leaderboard(evaluate.leaderboard, name, path, known, tasks)
    marker = {"identity": known, "tasks": [row for task in tasks for row in _rows(task)]}
    text = json.dumps(marker, indent=1, allow_nan=False) + "\n"
    Folder(evaluate.output).write(f"tasks/{name}.json", text.encode())


def _identity(recipe: EvaluateRecipe, name: str) -> dict[str, Any]:
    """What a model's numbers depend on."""
    config = section(recipe)
    files = [file for path in config.paths for file in sorted(Path(path).rglob("*.*"))
             if file.suffix in (".yaml", ".py")]  # fmt: skip
    return {
        "tasks": config.model_dump(mode="json"),
        "engine": identity(recipe.engine(name)),
        "lm_eval": version(),
        "math_verify": comparer_version(),
        "files": {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files},
    }


def _marker(recipe: EvaluateRecipe, name: str) -> dict[str, Any]:
    """What was kept of a model that is done, else nothing."""
    folder, file = Folder(recipe.evaluate.output), f"tasks/{name}.json"
    data = folder.read(file)
    try:
        found = json.loads(data) if data else {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or (found and not {"identity", "tasks"} <= found.keys()):
        raise InputError(f"{folder.url}/{file}: damaged; remove it to measure this model again")
    return found


def _rows(task: TaskResult) -> list[dict[str, Any]]:
    return [
        {
            "task": task.name,
            "metric": f"{measure.metric},{measure.filter}",
            "better": {True: "↑", False: "↓", None: ""}[measure.better],
            "shots": (task.config or {}).get("num_fewshot"),
            "documents": task.documents,
            "value": measure.value,
            "stderr": measure.stderr,
        }
        for measure in task.measures
    ]


_HEAD = ("task", "metric", "better", "shots", "documents")


def _cells(rows: dict[str, list[dict[str, Any]]]) -> list[list[str]]:
    """The lines of the table: a number a line, models side by side."""
    lines: dict[tuple[str, str], list[str]] = {}
    for position, found in enumerate(rows.values()):
        for row in found:
            head = ["" if row[name] is None else str(row[name]) for name in _HEAD]
            line = lines.setdefault((row["task"], row["metric"]), head + ["–"] * len(rows))
            line[len(_HEAD) + position] = _shown(row["value"], row["stderr"])
    return list(lines.values())


def _shown(value: float | None, stderr: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.4f}" if stderr is None else f"{value:.4f} ± {stderr:.4f}"


def _print(rows: dict[str, list[dict[str, Any]]]) -> None:
    table = Table(box=box.SIMPLE)
    for name in (*_HEAD, *rows):
        table.add_column(name, justify="left" if name in _HEAD[:3] else "right", no_wrap=True)
    for line in _cells(rows):
        table.add_row(*line)
    shown = PlainConsole()
    whole = Measurement.get(shown, shown.options.update(max_width=10_000), table).maximum
    PlainConsole(width=max(shown.width, whole)).print(table)  # a number is not to be cut short


def _markdown(rows: dict[str, list[dict[str, Any]]]) -> str:
    lines: list[Sequence[str]] = [(*_HEAD, *rows), ["---"] * (len(_HEAD) + len(rows))]
    return "".join(f"| {' | '.join(line)} |\n" for line in [*lines, *_cells(rows)])
