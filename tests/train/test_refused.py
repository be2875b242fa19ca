"""What a person gets wrong: one sentence, no traceback, the right exit code, and no rank hangs."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prewrite.train.saved import read, text_of
from tests.shards.edits import replaced
from tests.train.small import Command, make_model, make_set, settings

pytestmark = pytest.mark.slow

Train = dict[str, Any]


def _started(whole: Command, output: str) -> Path:
    """A run with what is read of a checkpoint before the model is built."""
    checkpoints = Path(output) / "checkpoints"
    shutil.rmtree(checkpoints, ignore_errors=True)
    ignored = shutil.ignore_patterns("*.distcp")
    shutil.copytree(whole.output / "checkpoints", checkpoints, ignore=ignored)
    return checkpoints


def _optimizer(train: Train) -> None:
    train["optimizer"]["lr"] = 2e-2


def _seed(train: Train) -> None:
    train["seed"] = 7


def _samples(train: Train) -> None:
    train["batch"]["samples"] = 3


def _past_phase(train: Train) -> None:
    train["curriculum"][0]["objective"] = "rf_nll"


def _filter(train: Train) -> None:
    train["data"][0]["filter"] = "rewrite_score > 0.5"


def _split(train: Train) -> None:
    train["parallel"] = {"distributed_optimizer": False}


CHANGES: list[tuple[Callable[[Train], None], str]] = [
    (_optimizer, "train.optimizer.lr"),
    (_seed, "train.seed"),
    (_samples, "train.batch.samples"),
    (_past_phase, "train.curriculum.0.objective"),
    (_filter, "filter"),
    (_split, "train.parallel.distributed_optimizer"),
]


def refused(train: Train, code: int, *parts: str, ranks: int = 1) -> None:
    """The command ends with `code` and a sentence that holds all `parts`, once."""
    command = Command(train, ranks=ranks)
    assert command.end() == code, command.text
    assert "Traceback" not in command.text, command.text
    lines = command.text.splitlines()
    assert all(line.startswith("error: ") for line in lines), command.text
    assert lines[0] not in lines[1:]
    for part in parts:
        assert part in command.text


@pytest.mark.parametrize(("change", "key"), CHANGES)
def test_a_run_is_not_continued_as_another(
    whole: Command, small: Path, change: Callable[[Train], None], key: str
) -> None:
    train = settings(small, "refused")
    _started(whole, train["output"])
    change(train)
    refused(train, 2, "was made under another configuration", key)


def test_another_set_under_the_same_name(whole: Command, small: Path, tmp_path: Path) -> None:
    train = settings(small, str(tmp_path / "run"))
    _started(whole, train["output"])
    checkpoint = tmp_path / "run/checkpoints/step-00000008"
    found = read(checkpoint)
    (about,) = found.data["sets"].values()
    about["parts"] = "0" * 64
    (checkpoint / "state.json").write_text(text_of(found, found.files))
    refused(train, 2, "data.sets", "0000")


@pytest.mark.parametrize("name", ["tokenizer.json", "model.safetensors"])
def test_another_model_in_the_same_folder(
    whole: Command, small: Path, tmp_path: Path, name: str
) -> None:
    """A `frozen` reference and the tokens would be others; other files may change."""
    shutil.copytree(small / "model", tmp_path / "model")
    train = settings(small, str(tmp_path / "run"), model={"path": str(tmp_path / "model")})
    checkpoint = _started(whole, train["output"]) / "step-00000008"
    found = read(checkpoint)
    found.settings["model"]["path"] = train["model"]["path"]
    (checkpoint / "state.json").write_text(text_of(found, found.files))
    (tmp_path / "model/README.md").write_text("changed")
    file = tmp_path / "model" / name
    file.write_bytes(file.read_bytes()[:-1] + (b">" if name.startswith("model") else b"} "))
    refused(train, 2, f"  the weights, config.json or tokenizer.json in {tmp_path}/model")


@pytest.mark.parametrize("made", [{"curriculum": {}}, {"settings": {"curriculum": [7]}}])
def test_a_state_that_was_made_by_hand(
    whole: Command, small: Path, tmp_path: Path, made: dict[str, Any]
) -> None:
    """With true digests."""
    train = settings(small, str(tmp_path / "run"))
    checkpoint = _started(whole, train["output"]) / "step-00000008"
    found = read(checkpoint)
    text = text_of(found.model_copy(update=made), found.files)
    (checkpoint / "state.json").write_text(text)
    refused(train, 1, "the state of step 8 is not one that a run leaves: KeyError: ")


def test_sets_that_cannot_be_used(small: Path, tmp_path: Path) -> None:
    train = settings(small, str(tmp_path / "run"))
    make_set(tmp_path / "bare", scored=False)
    refused(train | {"data": [{"set": str(tmp_path / "bare")}]}, 2, "without scores")
    refused(train | {"data": [{"set": str(tmp_path / "none")}]}, 1, str(tmp_path / "none"))
    replaced(tmp_path / "bare", '"complete"', '"running"')
    refused(train | {"data": [{"set": str(tmp_path / "bare")}]}, 1, str(tmp_path / "bare"))
    for text, part in (("rewrite_score >", "train.data.0.filter"), ("colour == 1", "colour")):
        refused(train | {"data": [{"set": str(small / "set"), "filter": text}]}, 2, part)


def test_models_and_layouts_that_do_not_fit(small: Path, tmp_path: Path) -> None:
    train = settings(small, str(tmp_path / "run"))
    refused(train | {"parallel": {"tp": 2}}, 2, "tp 2", "found 1")
    refused(train | {"parallel": {"pp": 3}}, 2, "pp 3", "found 2", ranks=2)
    make_model(tmp_path / "odd", num_attention_heads=1, num_key_value_heads=1)
    odd = train | {"model": {"path": str(tmp_path / "odd")}, "parallel": {"tp": 2}}
    refused(odd, 2, "train.parallel.tp: found 2", "attention heads", ranks=2)
    for file in (tmp_path / "odd").glob("tokenizer*"):
        file.unlink()
    refused(train | {"model": {"path": str(tmp_path / "odd")}}, 1, str(tmp_path / "odd"))
