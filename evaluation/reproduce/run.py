"""`prewrite reproduce --config FILE`: evaluate what is at hand, and print the paper's tables with
the measured values beside the printed ones.

Models, held-out sets and files of prompts that are not there are left out and named; so is a task
of `evaluate.tasks.names` whose data cannot be had. The evaluation stands in `evaluate.output`, each
task in a folder of its name there, and the page in `reproduce.md`. The same command goes on where
it was stopped, and measures what has come to hand since.
"""

import json
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from prewrite.base.cli import console
from prewrite.base.console import PlainConsole
from prewrite.base.errors import ConfigError, EngineError, InputError, Interrupted, PrewriteError
from prewrite.base.files import Folder
from prewrite.engine.registry import probe
from prewrite.evaluation import checks, tasks
from prewrite.evaluation import run as evaluation
from prewrite.evaluation.config import EvaluateRecipe, PrefixesConfig
from prewrite.evaluation.reproduce.page import markdown
from prewrite.judge.criteria import load_criterion
from prewrite.judge.probe import probe_judges
from prewrite.shards.reader import ShardSet

PAGE = "reproduce.md"


def run(recipe: EvaluateRecipe) -> None:
    """Measure what is at hand and not measured yet, then write and print the page. InputError where
    nothing was measured, now or before.
    """
    found, absent = at_hand(recipe)
    for line in absent:
        console.print(f"not measured: {line}", soft_wrap=True)
    if found.evaluate.models and found.evaluate.prefixes:
        absent += _evaluate(found)
    if found.evaluate.models:
        absent += _run_tasks(found)
    results = {name: dict(_results(recipe, name)) for name in recipe.evaluate.models}
    page = markdown(results, recipe.evaluate.base, _notes(found), absent)
    Folder(recipe.evaluate.output).write(PAGE, page.encode())
    PlainConsole().print(page, soft_wrap=True)
    print(f"page: {recipe.evaluate.output}/{PAGE}")
    if not any(results.values()):
        raise InputError("nothing was measured; what is not at hand is named above")


def plan(recipe: EvaluateRecipe) -> str:
    """What `run` would do."""
    found, absent = at_hand(recipe)
    names = found.evaluate.tasks.names if found.evaluate.tasks else []
    return "\n".join(
        [
            f"models: {', '.join(found.evaluate.models) or 'none'}",
            f"texts: {', '.join(found.evaluate.prefixes) or 'none'}",
            f"tasks: {', '.join(names) or 'none'}",
            *(f"not measured: {line}" for line in absent),
        ]
    )


def at_hand(recipe: EvaluateRecipe) -> tuple[EvaluateRecipe, list[str]]:
    """The recipe with what is there, and a line for each of the rest. Without the base no model
    can be compared, and none is there.
    """
    evaluate = recipe.evaluate
    models = {name: _model_missing(recipe, name) for name in evaluate.models}
    prefixes = {name: _texts_missing(one) for name, one in evaluate.prefixes.items()}
    absent = [f"model {name}: {said}" for name, said in models.items() if said]
    absent += [f"texts {name}: {said}" for name, said in prefixes.items() if said]
    left = {name: path for name, path in evaluate.models.items() if not models[name]}
    there = {
        "models": left if evaluate.base in left else {},
        "prefixes": {name: one for name, one in evaluate.prefixes.items() if not prefixes[name]},
    }
    return recipe.model_copy(update={"evaluate": evaluate.model_copy(update=there)}), absent


def _model_missing(recipe: EvaluateRecipe, name: str) -> str | None:
    path = recipe.evaluate.models[name]
    if path.count("/") > 1 and not Path(path).exists():  # an id of a hub has one
        return f"{path}: no such folder"
    try:
        probe(recipe.engine(name))
    except PrewriteError as error:
        return str(error)
    return None


def _texts_missing(config: PrefixesConfig) -> str | None:
    """Why a set or a file of prompts cannot be read, or None."""
    try:
        if config.set:
            ShardSet(config.set).finished()
            return None
    except PrewriteError as error:
        return str(error)
    folder, name = Folder(config.place).parent()
    return None if folder.exists(name) else f"{config.place}: no such file"


def _evaluate(recipe: EvaluateRecipe) -> list[str]:
    """The evaluation, where its judge is there."""
    judge = recipe.evaluate.judge
    try:
        probe_judges(judge, recipe.engines, map(load_criterion, judge.criteria))
    except EngineError as error:
        console.print(f"not measured: the judge: {error}", soft_wrap=True)
        return [f"the judge: {error}"]
    evaluation.run(recipe)
    return []


def _run_tasks(recipe: EvaluateRecipe) -> list[str]:
    """Each task by itself, so that one whose data are not at hand keeps none of the others."""
    absent, config = [], recipe.evaluate.tasks
    for name in config.names if config else []:
        try:
            tasks.run(_of_task(recipe, name))
        except (ConfigError, EngineError, Interrupted):
            raise
        except PrewriteError as error:
            absent.append(f"task {name}: {error}")
            console.print(f"not measured: task {name}: {error}", soft_wrap=True)
    return absent


def _of_task(recipe: EvaluateRecipe, name: str) -> EvaluateRecipe:
    """The recipe of one task, in a folder of its own."""
    evaluate = recipe.evaluate
    assert evaluate.tasks, "it is called where there are some"
    own = {
        "tasks": evaluate.tasks.model_copy(update={"names": [name]}),
        "output": f"{evaluate.output}/{name}",
    }
    return recipe.model_copy(update={"evaluate": evaluate.model_copy(update=own)})


def _results(recipe: EvaluateRecipe, model: str) -> Iterator[tuple[str, Any]]:
    """Task → values of a model, of all that lies in the output."""
    evaluate = recipe.evaluate
    names = evaluate.tasks.names if evaluate.tasks else []
    for place in (evaluate.output, *(f"{evaluate.output}/{name}" for name in names)):
        yield from _section(place, model, "results").items()


def _section(place: str, model: str, name: str) -> dict[str, Any]:
    """A section of the results of a model in a folder; empty where there are none."""
    data = Folder(place).read(f"results/{model}.json")
    try:
        return dict(json.loads(data)[name].items()) if data else {}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{place}/results/{model}.json: damaged; remove it") from None


def _notes(recipe: EvaluateRecipe) -> list[str]:
    """What the numbers were measured with."""
    evaluate, judge = recipe.evaluate, recipe.evaluate.judge
    judges = ", ".join(recipe.engines[name].model for name in judge.panel)
    told = f"Judge: {judges} ({judge.readout}). Greedy continuations of {evaluate.tokens} tokens."
    there = [f"model {name}: {path}" for name, path in evaluate.models.items()]
    counts = _section(evaluate.output, evaluate.base, "n-samples")
    there += [
        f"texts {name}: {one.place}, {_taken(counts.get(name))}at most {one.cut_points}"
        for name, one in evaluate.prefixes.items()
    ]
    if evaluate.tasks:
        paths = ", ".join(evaluate.tasks.paths)
        there += [f"task {name}: of lm-eval or {paths}" for name in evaluate.tasks.names]
    notes = [told, "\n".join(["Measured:\n", *(f"- {line}" for line in there)])]
    if not evaluate.models:
        notes = ["No model was at hand."]
    lines = checks.notes(recipe, checks.provenances(evaluate.models)).values()
    notes += [line for line in chain(*lines) if line.startswith("warning")]
    if evaluate.tasks and evaluate.tasks.limit:
        notes.append(f"Of each task the first {evaluate.tasks.limit} documents: a trial only.")
    return notes


def _taken(count: Mapping[str, Any] | None) -> str:
    return f"{count['effective']} of " if count else ""
