"""What a run reads, and that it does not write there."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from prewrite.base.apart import lies_in
from prewrite.base.config import refuse
from prewrite.engine.config import EngineConfig
from prewrite.judge.criteria import Classifier, load_criterion
from prewrite.train.config.sections import TrainConfig
from prewrite.train.names import NAMES


def refuse_overlap(config: TrainConfig, engines: Mapping[str, EngineConfig]) -> None:
    """Refuse a `train.output` that lies in a place that is read, or one of whose names holds it."""
    written = [f"{config.output}/{name}" for name in NAMES]
    for key, place in inputs(config, engines):
        if lies_in(config.output, place) or any(lies_in(place, one) for one in written):
            raise refuse(
                f"train.output: found '{config.output}', where {key} reads '{place}'; accepted: a "
                "folder apart from all that is read"
            )


def inputs(config: TrainConfig, engines: Mapping[str, EngineConfig]) -> Iterator[tuple[str, str]]:
    """Key and place of all that a run reads; a place may be an id of a hub."""
    yield "train.model.path", config.model.path
    for number, data in enumerate(config.data):
        yield f"train.data.{number}.set", data.set
    if not config.rollouts:
        return
    if config.rollouts.replay:
        yield "train.rollouts.replay", config.rollouts.replay
    for key, sample in config.probes.items():
        yield f"train.{key}.set", sample.set
    judge = config.rollouts.judge
    for name in [config.rollouts.engine, *(judge.panel if judge else ())]:
        if name in engines:
            yield from _of_engine(f"engines.{name}", engines[name])
    for name in judge.criteria if judge else ():
        if name.endswith(".yaml"):
            yield "train.rollouts.judge.criteria", name
        if isinstance(criterion := load_criterion(name), Classifier):
            yield f"the criterion {criterion.name}", criterion.model


def _of_engine(key: str, engine: EngineConfig) -> Iterator[tuple[str, str]]:
    yield f"{key}.model", engine.model
    if engine.kind == "endpoint":
        if engine.tokenizer:
            yield f"{key}.tokenizer", engine.tokenizer
    else:  # an adapter, a tokenizer, a drafting model: vLLM has many names for them
        paths = filter(os.path.exists, _texts(engine.args))
        yield from ((f"{key}.args", path) for path in paths)


def _texts(value: Any) -> Iterator[str]:
    """Every text in a value, at any depth."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
