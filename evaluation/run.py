"""An evaluation from end to end: cut points, continuations, verdicts, numbers.

Everything stands in `evaluate.output`: `cut_points.parquet`; `continuations/MODEL/`,
`judgements/MODEL/`, `scores/MODEL/` in chunks; `results/MODEL.json`, `table.md`; and
`evaluation.json`, which says what it was made with. The same command goes on where it was stopped
or killed, at the price of the open chunks; with one more model, or one more entry of `prefixes`, it
does the part of that one, and without one of them it keeps what is there; with another
configuration it is refused. All models write before the
judge is loaded, so no two models share a GPU.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

from prewrite.base.cli import console
from prewrite.base.errors import ConfigError, InputError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import differences, fingerprint, other_configuration
from prewrite.engine.digest import identity
from prewrite.engine.registry import probe
from prewrite.evaluation.checks import notes, provenances, refuse_trained_on
from prewrite.evaluation.chunks import chunks_of, missing
from prewrite.evaluation.config import EvaluateRecipe, PrefixesConfig
from prewrite.evaluation.cut_points import NAME, cut_points_of, write_cut_points
from prewrite.evaluation.judging import judge, refuse_silent
from prewrite.evaluation.outcome import TABLE, Notes, Splits, documents, report
from prewrite.evaluation.prompt_file import prompts_of
from prewrite.evaluation.writing import FOLDER as CONTINUATIONS
from prewrite.evaluation.writing import write
from prewrite.judge.config import heads
from prewrite.judge.criteria import Criterion, load_criterion
from prewrite.judge.probe import probe_judges
from prewrite.judge.provenance import JudgeIdentity
from prewrite.shards.reader import ShardSet

STATE = "evaluation.json"


def run(recipe: EvaluateRecipe) -> None:
    """Evaluate, go on, or say that it is done."""
    evaluate = recipe.evaluate
    splits, warnings = _prepared(recipe)
    folder = Folder(evaluate.output)
    state = _begun(folder, recipe)
    if set(evaluate.models) <= set(state["complete"]):
        print(f"{evaluate.output}: the evaluation is complete; nothing to do")
        return
    for line in chain(*warnings.values()):
        console.print(line, soft_wrap=True)
    probe_all(recipe)
    write_cut_points(folder, splits)
    models = {name: recipe.engine(name) for name in evaluate.models}
    write(folder, models, splits, evaluate)
    judge(folder, splits, recipe)
    refuse_silent(folder, splits, evaluate)
    report(folder, recipe, identity_of(recipe), splits, warnings)
    state["complete"] = sorted({*state["complete"], *evaluate.models})
    state["splits"] = sorted(evaluate.prefixes)
    _keep(folder, state)


def plan(recipe: EvaluateRecipe) -> str:
    """What `run` would do."""
    evaluate = recipe.evaluate
    splits, warnings = _prepared(recipe)
    chunks, folder = list(chunks_of(splits)), Folder(evaluate.output)
    cut_points = sum(map(len, splits.values()))
    lines = [
        f"{name}: {len(some)} cut points in {documents(some)} documents of "
        f"{evaluate.prefixes[name].place}"
        for name, some in splits.items()
    ]
    texts = 1 + evaluate.sampled.continuations
    for name, path in evaluate.models.items():
        left = sum(len(some) for _, some in missing(folder, f"{CONTINUATIONS}/{name}", chunks))
        asked = sum(
            len(some) * _questions(recipe.criteria(split), name == evaluate.base)
            for split, some in splits.items()
        )
        questions = asked * texts * len(evaluate.judge.panel)
        lines.append(
            f"{name} ({path}): {left} of {cut_points} cut points to continue, {texts} texts each; "
            f"{questions} questions to the judge at most"
        )
    lines += heads(evaluate.judge, recipe.engines, [evaluate.engine])
    return "\n".join([*lines, *chain(*warnings.values())])


def _questions(criteria: Sequence[Criterion], of_base: bool) -> int:
    """Questions about one text: a pair takes two, and the base meets nobody."""
    each = {"pairwise": 0 if of_base else 2}
    return sum(each.get(one.kind, 1) for one in criteria if one.needs_engine)


def probe_all(recipe: EvaluateRecipe) -> None:
    """EngineError where a model or a judge's endpoint is not there, before anything is paid for."""
    for engine in map(recipe.engine, recipe.evaluate.models):
        probe(engine)
    criteria = [load_criterion(name) for name in recipe.evaluate.judge.criteria]
    if any(criterion.needs_engine for criterion in criteria):
        probe_judges(recipe.evaluate.judge, recipe.engines, criteria)


def _prepared(recipe: EvaluateRecipe) -> tuple[Splits, Notes]:
    """The cut points, and what is to be said of each model; refuses what cannot be evaluated."""
    evaluate = recipe.evaluate
    known = provenances(evaluate.models)
    warnings = notes(recipe, known)
    splits = cut_points_of(evaluate.prefixes, evaluate.context_tokens, evaluate.seed)
    refuse_trained_on(recipe, splits, known)
    return splits, warnings


def identity_of(recipe: EvaluateRecipe) -> dict[str, Any]:
    """What the numbers depend on beside the models."""
    evaluate = recipe.evaluate
    engine = recipe.engines[evaluate.engine].identity()
    return {
        "base": evaluate.base,
        "prefixes": {name: _texts(name, one) for name, one in evaluate.prefixes.items()},
        "tokens": evaluate.tokens,
        "context_tokens": evaluate.context_tokens,
        "sampled": evaluate.sampled.model_dump(mode="json"),
        "seed": evaluate.seed,
        "engine": {key: value for key, value in engine.items() if key not in _OF_MODEL},
        "judge": evaluate.judge.model_dump(mode="json", exclude=_NOT_READ),
        "jury": JudgeIdentity.of(evaluate.judge, recipe.engines).model_dump(mode="json"),
    }


def _texts(split: str, config: PrefixesConfig) -> dict[str, Any]:
    """What a split is made of: its keys, and the bytes that they lead to."""
    known = config.model_dump(mode="json", exclude_defaults=True, exclude={"filter", "cut_points"})
    known |= {"filter": config.filter, "cut_points": config.cut_points}
    if config.set is None:
        return known | {"texts": fingerprint(sorted(prompts_of(split, config)))}
    manifest = ShardSet(config.set).manifest
    return known | {"generation": manifest.generation, "parts": manifest.known_as}


_OF_MODEL = {"model", "revision"}
_NOT_READ = {"input", "combine", "weights", "calibration"}


def _begun(folder: Folder, recipe: EvaluateRecipe) -> dict[str, Any]:
    """The state of this evaluation; ConfigError where the folder holds another one."""
    config = identity_of(recipe)
    models = {name: identity(recipe.engine(name)) for name in recipe.evaluate.models}
    data = folder.read(STATE)
    if data is None:
        _refuse_foreign(folder)
        state = {"config": config, "models": models, "complete": []}
        _keep(folder, state)
        return state
    try:
        state = json.loads(data)
        known = state["models"]
        before = _with_generations(state["config"])
        more = config["prefixes"].keys() - before["prefixes"].keys()
        every = before["prefixes"] | config["prefixes"]
        old = {name: one for name, one in every.items() if name not in more}
        changed = differences(before, config | {"prefixes": old}, "evaluate")
        done = {*state.get("splits", before["prefixes"])}
        for name in models.keys() & known.keys():
            changed += differences(known[name], models[name], f"evaluate.models.{name}")
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{folder.url}/{STATE}: damaged; choose another evaluate.output") from None
    if changed:
        raise other_configuration(folder.url, changed, "choose another evaluate.output")
    behind = not config["prefixes"].keys() <= done
    if behind:  # the models are done with others only
        state |= {"config": config | {"prefixes": every}, "complete": []}
    if behind or models.keys() - known.keys():
        state["models"] = known | models
        _keep(folder, state)
    return dict(state)


def _refuse_foreign(folder: Folder) -> None:
    """ConfigError where a name that is written is taken, and nothing says by an evaluation."""
    written = (f"{CONTINUATIONS}/", "judgements/", "scores/", NAME, TABLE)
    taken = [name for name in folder.names() if name.startswith(written)]
    if taken:
        raise ConfigError(
            f"evaluate.output: found {taken[0]} in {folder.url}, and no {STATE}; accepted: a "
            "folder without files of such names"
        )


def _with_generations(config: dict[str, Any]) -> dict[str, Any]:
    """A set without one is of the first."""
    prefixes = {
        name: {"generation": 1, **one} if "set" in one else one
        for name, one in config["prefixes"].items()
    }
    return config | {"prefixes": prefixes}


def _keep(folder: Folder, state: Mapping[str, Any]) -> None:
    folder.write(STATE, (json.dumps(state, indent=1, sort_keys=True) + "\n").encode())
