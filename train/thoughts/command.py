"""`prewrite evaluate thoughts`: is a thought used, or would any other do?

The places are those of `train.rollouts.probe`, the judge is that of the run. The model
that the run starts from is measured, and the one that it has left. Writes `thoughts.json` and
`thoughts.md` to `train.output`, and prints the latter.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from prewrite.base.cli import console
from prewrite.base.errors import ConfigError, EngineError, InputError
from prewrite.base.files import Folder
from prewrite.engine.config import VllmConfig
from prewrite.engine.registry import close_engines
from prewrite.engine.vllm_engine import VllmEngine
from prewrite.judge.criteria import load_criterion
from prewrite.judge.pool import Pool
from prewrite.judge.probe import probe_judges
from prewrite.judge.scorer import PoolScorer, PoolScores
from prewrite.train.config.recipe import TrainRecipe
from prewrite.train.config.rollouts import RolloutsConfig
from prewrite.train.config.sections import TrainConfig
from prewrite.train.config.task import ThinkTask
from prewrite.train.feed import open_loader
from prewrite.train.model.shape import load_shape
from prewrite.train.names import MODEL
from prewrite.train.online.probe import held_out
from prewrite.train.online.prompts import prompt_batch
from prewrite.train.thoughts.asked import KINDS, Place, PlaceResult, Thinker
from prewrite.train.thoughts.told import Scores, lines, use_of

JSON, PAGE = "thoughts.json", "thoughts.md"


def run(recipe: TrainRecipe) -> None:
    """Measure, write and print."""
    config, rollouts, task = _checked(recipe)
    models = _models(config)
    places = places_of(config, recipe)
    console.print(f"{len(places)} places in {len({p.document for p in places})} documents")
    _probe(recipe, rollouts)
    end = load_shape(config.model.path, config.model.revision).eos[0]
    found = {
        name: asyncio.run(_measured(_engine(recipe, path), rollouts, task, end, places))
        for name, path in models.items()
    }
    scores = {name: _judged(recipe, places, one) for name, one in found.items()}
    uses = {name: use_of(places, one, scores[name]) for name, one in found.items()}
    for name, use in uses.items():
        if use.silent:
            raise EngineError(f"evaluate thoughts: {models[name]}: {use.silent}")
    page = "\n".join(line for name, use in uses.items() for line in lines(models[name], use)) + "\n"
    folder = Folder(config.output)
    told = {models[name]: use.as_json() for name, use in uses.items()}
    folder.write(JSON, (json.dumps(told, indent=1) + "\n").encode())
    folder.write(PAGE, page.encode())
    print(page)
    print(f"written: {config.output}/{JSON}, {config.output}/{PAGE}")


def plan(recipe: TrainRecipe) -> str:
    """What `run` would do."""
    config, rollouts, _ = _checked(recipe)
    places = places_of(config, recipe)
    judged = f"; {len(places) * len(KINDS)} texts of each to judge" if rollouts.judge else ""
    models = ", ".join(_models(config).values())
    return f"{len(places)} places, {len(KINDS)} thoughts at each; models: {models}{judged}"


def _checked(recipe: TrainRecipe) -> tuple[TrainConfig, RolloutsConfig, ThinkTask]:
    config = recipe.train
    if not isinstance(config.task, ThinkTask):
        raise ConfigError(
            f"train.task.kind: found {config.task.kind}; accepted with evaluate thoughts: think"
        )
    if not config.rollouts or not config.rollouts.probe:
        raise ConfigError(
            "train.rollouts.probe: this key is required with evaluate thoughts: it names the texts"
        )
    return config, config.rollouts, config.task


def _models(config: TrainConfig) -> dict[str, str]:
    """The model before the run, and after it where it is over."""
    after = str(Path(config.output) / MODEL)
    if Path(after).exists():
        return {"before": config.model.path, "after": after}
    console.print(f"{after}: not there, so only {config.model.path} is measured", soft_wrap=True)
    return {"before": config.model.path}


def _probe(recipe: TrainRecipe, rollouts: RolloutsConfig) -> None:
    """EngineError where the judge is not there, before a model has written anything."""
    if rollouts.judge:
        criteria = [load_criterion(name) for name in rollouts.judge.criteria]
        if any(criterion.needs_engine for criterion in criteria):
            probe_judges(rollouts.judge, recipe.engines, criteria)


def places_of(config: TrainConfig, recipe: TrainRecipe | None = None) -> list[Place]:
    """The places of the run's probe, in its order; InputError where its rows have none."""
    assert config.rollouts and config.rollouts.probe
    held = held_out(config, config.rollouts.probe)
    shape = load_shape(config.model.path, config.model.revision)
    with open_loader(held, shape, engines=recipe.engines if recipe else None) as loader:
        asked = prompt_batch(loader, 0, held.curriculum[0], held)
    documents = {
        span.sample: span.asked.document[0]["id"] for span in asked.laid.spans if span.asked
    }
    if not asked.prompts:
        raise InputError(
            f"train.rollouts.probe: found no thought in {config.rollouts.probe.cut_points} rows of "
            f"{config.rollouts.probe.set}; accepted: a set of a rewrite pass with form: thoughts"
        )
    return [Place(prompt, documents[prompt.sample]) for prompt in asked.prompts]


def _engine(recipe: TrainRecipe, model: str) -> VllmConfig:
    assert recipe.train.rollouts
    policy = recipe.engines[recipe.train.rollouts.engine]
    assert isinstance(policy, VllmConfig), "the recipe refuses others"
    return policy.model_copy(update={"model": model})


async def _measured(
    config: VllmConfig,
    rollouts: RolloutsConfig,
    task: ThinkTask,
    end: int,
    places: Sequence[Place],
) -> list[PlaceResult]:
    close_engines()
    engine = VllmEngine(config)
    try:
        return await Thinker(engine, rollouts, task, end)(places)
    finally:
        engine.close()


def _judged(
    recipe: TrainRecipe, places: Sequence[Place], found: Sequence[PlaceResult]
) -> list[Scores] | None:
    """What the run's judge says of each text; None where the run has none."""
    assert recipe.train.rollouts
    judge = recipe.train.rollouts.judge
    if judge is None:
        return None
    scorer = PoolScorer.load(judge, recipe.engines)
    pools = [
        replace(place.prompt.pool, candidates=_texts(result))
        for place, result in zip(places, found, strict=True)
    ]
    return [dict(one.scores) for one in asyncio.run(_scored(scorer, pools))]


def _texts(result: PlaceResult) -> dict[str, str]:
    return {kind: one.text for kind, one in result.after.items() if one.text is not None}


async def _scored(scorer: PoolScorer, pools: Sequence[Pool]) -> list[PoolScores]:
    found = await asyncio.gather(*(scorer([pool]) for pool in pools))
    return [one for some in found for one in some]
