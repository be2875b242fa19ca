"""A run does not write where it reads, however the two places are called."""

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from prewrite.train.config.recipe import TrainRecipe


def recipe(folder: Path, **train: Any) -> dict[str, Any]:
    """A run with all that one can read: rollouts, a probe, judges with adapters, a classifier."""
    rollouts = {
        "engine": "policy",
        "judge": {"engine": ["main", "served"], "criteria": [str(folder / "polite.yaml")]},
        "samples": 2,
        "tokens": 4,
        "replay": str(folder / "pools"),
        "probe": {
            "set": str(folder / "held-out"),
            "also": {"new": {"set": str(folder / "held-out-too")}},
        },
    } | train.pop("rollouts", {})
    late = {"name": "late", "objective": "dpo", "candidates": ["rollout"], "until": {"step": 200}}
    return {
        "output": "unused",
        "engines": {
            "policy": {"kind": "vllm", "model": str(folder / "model")},
            "main": {
                "kind": "vllm",
                "model": str(folder / "judge"),
                "args": {"lora": [{"path": str(folder / "adapter")}]},
            },
            "served": {
                "kind": "endpoint",
                "urls": ["http://127.0.0.1:1/v1"],
                "model": "any",
                "api": "completions",
                "tokenizer": str(folder / "tokenizer"),
            },
            "unused": {"kind": "vllm", "model": str(folder / "run/model")},
        },
        "train": {
            "data": [{"set": str(folder / "set")}, {"set": str(folder / "more")}],
            "output": str(folder / "run"),
            "model": {"path": str(folder / "model")},
            "curriculum": [late],
            "rollouts": rollouts,
        }
        | train,
    }


READ = {
    "train.model.path": "model",
    "train.data.0.set": "set",
    "train.data.1.set": "more",
    "train.rollouts.replay": "pools",
    "train.rollouts.probe.set": "held-out",
    "train.rollouts.probe.also.new.set": "held-out-too",
    "engines.main.model": "judge",
    "engines.main.args": "adapter",
    "engines.served.tokenizer": "tokenizer",
    "the criterion polite": "classifier",
}
"""Key and folder of all that the recipe reads."""


@pytest.fixture
def here(tmp_path: Path) -> Path:
    for name in (*READ.values(), "elsewhere"):
        (tmp_path / name).mkdir()
    polite = {"name": "polite", "version": 1, "kind": "classifier", "label": "yes"}
    polite["model"] = str(tmp_path / "classifier")
    (tmp_path / "polite.yaml").write_text(yaml.safe_dump(polite))
    return tmp_path


def refused(recipe: dict[str, Any], *parts: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TrainRecipe.model_validate(recipe)
    for part in ("train.output: found", *parts, "; accepted: a folder"):
        assert part in str(caught.value)


def test_a_folder_apart_is_accepted(here: Path) -> None:
    TrainRecipe.model_validate(recipe(here))


@pytest.mark.parametrize(("key", "name"), READ.items())
def test_nothing_is_read_where_a_run_writes(here: Path, key: str, name: str) -> None:
    for inside in ("model", "checkpoints", "rollouts/pools", "cache/deep", "tensorboard"):
        output = here / f"run-{inside.replace('/', '-')}"
        (output / inside).parent.mkdir(parents=True)
        (here / name).rename(output / inside)
        (here / name).symlink_to(output / inside)
        refused(recipe(here, output=str(output)), key)
        (here / name).unlink()
        (output / inside).rename(here / name)
        assert not os.path.islink(here / name)


@pytest.mark.parametrize(("key", "name"), READ.items())
def test_a_run_does_not_write_inside_of_what_it_reads(here: Path, key: str, name: str) -> None:
    (here / "link").symlink_to(name)
    for output in (name, f"{name}/run", "link", f"elsewhere/../{name}", f"./link/../{name}/new"):
        try:
            refused(recipe(here, output=str(here / output)), key)
        except AssertionError:
            assert "a set under data" not in key and name in ("set", "more"), (key, output)
            with pytest.raises(ValidationError, match="a set under data"):
                TrainRecipe.model_validate(recipe(here, output=str(here / output)))


def test_a_place_of_another_spelling(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "run").mkdir()
    monkeypatch.chdir(here / "run")
    for model in ("model", "../run/model", f"file://{here}/run/model", f"{here}/set/../run/model"):
        changed = recipe(here, model={"path": model})
        changed["engines"]["policy"]["model"] = model
        refused(changed, "train.model.path")
    (here / "same").symlink_to("run")
    refused(recipe(here, output=str(here / "same"), data=[{"set": "checkpoints"}]), "train.data.0")


def test_what_lies_beside_what_is_written_is_accepted(here: Path) -> None:
    (here / "run/corpus").mkdir(parents=True)
    TrainRecipe.model_validate(recipe(here, data=[{"set": str(here / "run/corpus")}]))


def test_the_set_that_the_recipe_makes(here: Path) -> None:
    (here / "link").symlink_to("run")
    changed = recipe(here) | {"output": str(here / "link")}
    with pytest.raises(ValidationError, match="where `output` puts the shard set"):
        TrainRecipe.model_validate(changed)
