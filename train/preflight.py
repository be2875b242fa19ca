"""What can be known to go wrong in a run, or after its last step, found before its first.

One function for the start of a run and for `--dry-run`. It prints nothing, and costs seconds
whatever the size of model and sets: headers of weights, narrow columns until something to learn is
found, and an export of all but the weights, which is removed again.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prewrite.base.errors import ConfigError, EngineError, InputError
from prewrite.engine.config import EngineConfig
from prewrite.engine.tokenizer import load_tokenizer
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.loader import Loader
from prewrite.train.feed import open_loader
from prewrite.train.model.audit import audit
from prewrite.train.model.export import rehearse
from prewrite.train.model.shape import ModelShape
from prewrite.train.online import kept_pools
from prewrite.train.online.probe import held_out
from prewrite.train.provenance import provenance
from prewrite.train.tally import reasons
from prewrite.train.tasks import labels


def preflight(
    config: TrainConfig,
    shape: ModelShape,
    loader: Loader,
    trial: Path,
    engines: Mapping[str, EngineConfig] | None = None,
) -> None:
    """ConfigError, EngineError or InputError, in one sentence, where the run could not be made, or
    its model would not be the one that the folder describes, or a phase has nothing to learn.

    trial: a folder on the disk of the run, which is made and removed again.
    """
    check_model(config, shape)
    labels.check(config)
    for phase in config.curriculum:
        counts = {} if phase.online else loader.learnable(phase)
        if counts and not counts["learnt"]:
            raise InputError(
                f"train.curriculum, phase {phase.name}: found nothing to learn from in "
                f"{sum(counts.values()):,} rows: {reasons(counts)}; accepted: at least one"
            )
    _check_rollouts(config, shape, engines)
    left = provenance(config, shape.folder, engines)
    rehearse(shape, config.model.dtype, trial, left)


def _check_rollouts(
    config: TrainConfig, shape: ModelShape, engines: Mapping[str, EngineConfig] | None
) -> None:
    """Open what a online phase reads beside the sets, which may be after thousands of steps."""
    rollouts = config.rollouts
    if rollouts and rollouts.replay and any(phase.online for phase in config.curriculum):
        kept_pools.check(rollouts.replay)
    for key, sample in config.probes.items():
        try:
            open_loader(held_out(config, sample), shape, engines=engines).close()
        except ConfigError as error:
            raise ConfigError(str(error).replace("train.data.0", f"train.{key}")) from None


def check_model(config: TrainConfig, shape: ModelShape) -> None:
    """The part of it that concerns the model alone."""
    if config.model.init == "pretrained":
        audit(shape)
    _check_ids(shape)
    longest = config.batch.max_seq_len
    if longest > shape.positions:
        raise ConfigError(
            f"train.batch.max_seq_len: found {longest}; accepted: at most {shape.positions}, "
            f"max_position_embeddings of {shape.folder}"
        )


def _check_ids(shape: ModelShape) -> None:
    """Refuse tokens for which the model has no embedding."""
    known = load_tokenizer(str(shape.folder)).ids()
    token = max(known, key=known.__getitem__, default="")
    if known and known[token] >= shape.vocabulary:
        raise EngineError(
            f"{shape.folder}: tokenizer.json has ids up to {known[token]} ({token!r}); the model "
            f"has {shape.vocabulary} embeddings; accepted: ids up to {shape.vocabulary - 1}"
        )
    for file in ("config.json", "generation_config.json"):
        for key, number in _special(shape.folder, file):
            if type(number) is not int or not 0 <= number < shape.vocabulary:
                raise EngineError(
                    f"{shape.folder}: {file}: {key}: found {number!r}; accepted: an id of the "
                    f"model's {shape.vocabulary} embeddings, 0 to {shape.vocabulary - 1}"
                )


def _special(folder: Path, file: str) -> Iterator[tuple[str, Any]]:
    """Key and id of each special token that a file names; of padding, -1 is none."""
    if not (folder / file).is_file():  # what is no file is not exported
        return
    try:
        values = json.loads((folder / file).read_bytes())
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise EngineError(f"{folder}: {file}: found no JSON object; accepted: one, or no such file")
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        found = values.get(key)
        for number in found if isinstance(found, list) else [found]:
            if number is not None and (key, number) != ("pad_token_id", -1):
                yield key, number
