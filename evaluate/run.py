"""An evaluation from end to end: places, continuations, verdicts, numbers.

Everything stands in `evaluate.output`: `places.parquet`; `continuations/MODEL/`,
`judgements/MODEL/`, `scores/MODEL/` in chunks; `results/MODEL.json`, `table.md`; and
`evaluation.json`, which says what it was made with. The same command goes on where it was stopped
or killed, at the price of the open chunks; with one more model it does that model's part; with
another configuration it is refused. All models write before the judge is loaded, so no two models
share a GPU.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from base.cli import console
from base.errors import InputError, ShardError
from base.files import Folder
from base.fingerprint import differences, fingerprint
from engine.digest import identity
from engine.registry import probe
from evaluate.checks import notes, provenances, refuse_trained_on
from evaluate.chunks import chunks_of, missing, read_rows
from evaluate.config import EvaluateRecipe
from evaluate.judging import FOLDER as SCORES
from evaluate.judging import judge
from evaluate.measures import measure
from evaluate.places import Place, places_of, write_places
from evaluate.results import Task, write_leaderboard, write_results
from evaluate.table import Page
from evaluate.writing import FOLDER as CONTINUATIONS
from evaluate.writing import write
from judge.criteria import load_criterion
from judge.provenance import Jury
from shards.reader import ShardSet

STATE = "evaluation.json"
TABLE = "table.md"
Splits = Mapping[str, Sequence[Place]]


def run(recipe: EvaluateRecipe) -> None:
    """Evaluate, go on, or say that it is done."""
    evaluate = recipe.evaluate
    splits, warnings = _prepared(recipe)
    folder = Folder(evaluate.output)
    state = _begun(folder, recipe)
    if set(evaluate.models) <= set(state["complete"]):
        print(f"{evaluate.output}: the evaluation is complete; nothing to do")
        return
    for line in warnings:
        console.print(line, soft_wrap=True)
    probe_all(recipe)
    write_places(folder, splits)
    models = {name: recipe.engine(name) for name in evaluate.models}
    write(folder, models, splits, evaluate)
    judge(folder, splits, evaluate, recipe.engines)
    _report(folder, recipe, splits, warnings)
    state["complete"] = sorted({*state["complete"], *evaluate.models})
    _keep(folder, state)


def plan(recipe: EvaluateRecipe) -> str:
    """What `run` would do."""
    evaluate = recipe.evaluate
    splits, warnings = _prepared(recipe)
    chunks, folder = list(chunks_of(splits)), Folder(evaluate.output)
    places = sum(map(len, splits.values()))
    lines = [
        f"{name}: {len(some)} places in {_documents(some)} documents of "
        f"{evaluate.prefixes[name].set}"
        for name, some in splits.items()
    ]
    texts = 1 + evaluate.sampled.continuations
    criteria = [load_criterion(name) for name in evaluate.judge.criteria]
    pairs = sum(criterion.kind == "pairwise" for criterion in criteria)
    alone = len(criteria) - pairs
    for name, path in evaluate.models.items():
        left = sum(len(some) for _, some in missing(folder, f"{CONTINUATIONS}/{name}", chunks))
        per_text = alone + 2 * pairs * (name != evaluate.base)
        questions = places * texts * per_text * len(evaluate.judge.panel)
        lines.append(
            f"{name} ({path}): {left} of {places} places to continue, {texts} texts each; "
            f"{questions} questions to the judge at most"
        )
    return "\n".join([*lines, *warnings])


def probe_all(recipe: EvaluateRecipe) -> None:
    """EngineError where a model or a judge's endpoint is not there, before anything is paid for."""
    asked = any(load_criterion(c).needs_engine for c in recipe.evaluate.judge.criteria)
    judges = [recipe.engines[name] for name in recipe.evaluate.judge.panel if asked]
    for engine in [*map(recipe.engine, recipe.evaluate.models), *judges]:
        probe(engine)


def _prepared(recipe: EvaluateRecipe) -> tuple[Splits, list[str]]:
    """The places, and what is to be said beside the results; refuses what cannot be evaluated."""
    evaluate = recipe.evaluate
    known = provenances(evaluate.models)
    warnings = notes(recipe, known)
    splits = places_of(evaluate.prefixes, evaluate.context_tokens, evaluate.seed)
    refuse_trained_on(recipe, splits, known)
    return splits, warnings


def _config(recipe: EvaluateRecipe) -> dict[str, Any]:
    """What the numbers depend on beside the models."""
    evaluate = recipe.evaluate
    sets = {one.set: ShardSet(one.set).manifest for one in evaluate.prefixes.values()}
    engine = recipe.engines[evaluate.engine].identity()
    return {
        "base": evaluate.base,
        "prefixes": {
            name: one.model_dump(mode="json")
            | {"parts": fingerprint([part.sha256 for part in sets[one.set].parts])}
            for name, one in evaluate.prefixes.items()
        },
        "tokens": evaluate.tokens,
        "context_tokens": evaluate.context_tokens,
        "sampled": evaluate.sampled.model_dump(mode="json"),
        "seed": evaluate.seed,
        "engine": {key: value for key, value in engine.items() if key not in _OF_MODEL},
        "judge": evaluate.judge.model_dump(mode="json", exclude=_NOT_READ),
        "jury": Jury.of(evaluate.judge, recipe.engines).model_dump(mode="json"),
    }


_OF_MODEL = {"model", "revision"}
_NOT_READ = {"input", "combine", "weights", "report", "corrupt", "replay"}


def _begun(folder: Folder, recipe: EvaluateRecipe) -> dict[str, Any]:
    """The state of this evaluation; ShardError where the folder holds another one."""
    config = _config(recipe)
    models = {name: identity(recipe.engine(name)) for name in recipe.evaluate.models}
    data = folder.read(STATE)
    if data is None:
        state = {"config": config, "models": models, "complete": []}
        _keep(folder, state)
        return state
    try:
        state = json.loads(data)
        known = state["models"]
        changed = differences(state["config"], config, "evaluate")
        for name in models.keys() & known.keys():
            changed += differences(known[name], models[name], f"evaluate.models.{name}")
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{folder.url}/{STATE}: damaged; choose another evaluate.output") from None
    if changed:
        raise ShardError(
            f"{folder.url}: holds an evaluation that was made otherwise: {'; '.join(changed)}; "
            "choose another evaluate.output"
        )
    if models.keys() - known.keys():
        state["models"] = known | models
        _keep(folder, state)
    return dict(state)


def _keep(folder: Folder, state: Mapping[str, Any]) -> None:
    folder.write(STATE, (json.dumps(state, indent=1, sort_keys=True) + "\n").encode())


def _report(
    folder: Folder, recipe: EvaluateRecipe, splits: Splits, warnings: Sequence[str]
) -> None:
    """Write results, leaderboard and table, and show the last."""
    evaluate = recipe.evaluate
    config = _config(recipe) | {"warnings": list(warnings)}
    tasks = {name: _tasks(folder, recipe, splits, name, config) for name in evaluate.models}
    for name, path in evaluate.models.items():
        write_results(evaluate.output, name, path, tasks[name])
        write_leaderboard(evaluate.leaderboard, name, path, config, tasks[name])
    page = Page(tasks, evaluate.base, _head(recipe), [*warnings, *_unread(tasks, evaluate)])
    folder.write(TABLE, page.markdown().encode())
    page.show(Console(highlight=False, markup=False))
    print(f"results: {evaluate.output}/results, {evaluate.output}/{TABLE}, {evaluate.leaderboard}")


def _tasks(
    folder: Folder, recipe: EvaluateRecipe, splits: Splits, model: str, config: Mapping[str, Any]
) -> list[Task]:
    evaluate = recipe.evaluate
    criteria = [load_criterion(name) for name in evaluate.judge.criteria]
    found = []
    for split, places in splits.items():
        chunks = list(chunks_of({split: places}))
        rows = {
            name: (
                read_rows(folder, f"{CONTINUATIONS}/{name}", chunks),
                read_rows(folder, f"{SCORES}/{name}", chunks),
            )
            for name in (model, evaluate.base)
        }
        base = None if model == evaluate.base else rows[evaluate.base]
        measures = measure(rows[model], base, criteria)
        found.append(
            Task(
                split,
                measures,
                _documents(places),
                len(places),
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


def _unread(tasks: Mapping[str, Sequence[Task]], evaluate: Any) -> list[str]:
    """Where not every text could be judged."""
    texts = {"greedy": 1, "sampled": evaluate.sampled.continuations}
    lines = []
    for name, some in tasks.items():
        for task in some:
            for one in task.measures:
                every = task.places * texts.get(one.filter, 0)
                if one.metric.endswith("_judged") and one.value is not None and one.value < every:
                    what = one.metric.removesuffix("_judged")
                    lines.append(
                        f"{name}, {task.name}, {one.filter}: {what} of {one.value:.0f} of {every} "
                        "texts; the others have no verdict"
                    )
    return lines


def _documents(places: Sequence[Place]) -> int:
    return len({place.doc_id for place in places})
