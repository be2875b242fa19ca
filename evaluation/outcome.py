"""What is left of an evaluation: numbers of every model in files, and the table that shows them."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from prewrite.base.console import PlainConsole
from prewrite.base.files import Folder
from prewrite.evaluation.chunks import chunks_of, read_rows
from prewrite.evaluation.config import EvaluateConfig, EvaluateRecipe
from prewrite.evaluation.cut_points import CutPoint
from prewrite.evaluation.judging import FOLDER as SCORES
from prewrite.evaluation.measures import measure
from prewrite.evaluation.results import TaskResult, write_leaderboard, write_results
from prewrite.evaluation.table import Page
from prewrite.evaluation.writing import FOLDER as CONTINUATIONS

TABLE = "table.md"

Splits = Mapping[str, Sequence[CutPoint]]
Notes = Mapping[str, Sequence[str]]
"""model → what is to be said beside its numbers."""


def report(
    folder: Folder,
    recipe: EvaluateRecipe,
    config: Mapping[str, Any],
    splits: Splits,
    notes: Notes,
) -> None:
    """Write results, leaderboard and table, and show the last. config: what the numbers depend
    on; notes: what is to be said of each model.
    """
    evaluate, tasks = recipe.evaluate, dict[str, list[TaskResult]]()
    for name, path in evaluate.models.items():
        own = {**config, "warnings": notes[name]}
        tasks[name] = _tasks(folder, recipe, splits, name, own)
        write_results(evaluate.output, name, path, tasks[name])
        write_leaderboard(evaluate.leaderboard, name, path, own, tasks[name])
    lines = [*chain(*notes.values()), *_unread(tasks, evaluate)]
    page = Page(tasks, evaluate.base, _head(recipe), lines)
    folder.write(TABLE, page.markdown().encode())
    page.show(PlainConsole())
    print(f"results: {evaluate.output}/results, {evaluate.output}/{TABLE}, {evaluate.leaderboard}")


def _tasks(
    folder: Folder, recipe: EvaluateRecipe, splits: Splits, model: str, config: Mapping[str, Any]
) -> list[TaskResult]:
    evaluate, found = recipe.evaluate, []
    for split, cut_points in splits.items():
        chunks = list(chunks_of({split: cut_points}))
        rows = {
            name: (
                read_rows(folder, f"{CONTINUATIONS}/{name}", chunks),
                read_rows(folder, f"{SCORES}/{name}", chunks),
            )
            for name in (model, evaluate.base)
        }
        base = None if model == evaluate.base else rows[evaluate.base]
        measures = measure(rows[model], base, recipe.criteria(split))
        found.append(
            TaskResult(
                split,
                measures,
                documents(cut_points),
                len(cut_points),
                config={**config, "num_fewshot": 0},
            )
        )
    return found


def _head(recipe: EvaluateRecipe) -> list[str]:
    judge = recipe.evaluate.judge
    models = [recipe.engines[name].model for name in judge.panel]
    return [
        f"Judge: {', '.join(models)} ({judge.readout}) on {', '.join(judge.criteria)}. "
        f"Win rates are against {recipe.evaluate.base}."
    ]


def _unread(tasks: Mapping[str, Sequence[TaskResult]], evaluate: EvaluateConfig) -> list[str]:
    """Where not every text could be judged."""
    texts = {"greedy": 1, "sampled": evaluate.sampled.continuations}
    lines = []
    for name, some in tasks.items():
        for task in some:
            for one in task.measures:
                every = task.cut_points * texts.get(one.filter, 0)
                if one.metric.endswith("_judged") and one.value is not None and one.value < every:
                    what = one.metric.removesuffix("_judged")
                    lines.append(
                        f"{name}, {task.name}, {one.filter}: {what} of {one.value:.0f} of {every} "
                        "texts; the others have no verdict"
                    )
    return lines


def documents(cut_points: Sequence[CutPoint]) -> int:
    """How many documents the cut points lie in."""
    return len({cut_point.doc_id for cut_point in cut_points})
