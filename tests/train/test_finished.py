"""A run is called complete while what it exported is there as it was written."""

from collections.abc import Callable
from pathlib import Path

import pytest

from prewrite.base.files import Folder
from prewrite.train.finished import begin, fault, finish, is_finished
from prewrite.train.output import Output
from prewrite.train.owned import claim


@pytest.fixture
def output(tmp_path: Path) -> Output:
    """Of a run that is finished, with a file of a person in its model."""
    (tmp_path / "model").mkdir()
    claim(tmp_path, Folder(str(tmp_path)))
    for name in ("config.json", "model.safetensors", "prewrite.json", "README.md"):
        (tmp_path / "model" / name).write_text(name)
    scratch = tmp_path / ".run-scratch"
    scratch.mkdir()
    found = Output(tmp_path, scratch)
    finish(found)
    return found


def test_what_is_as_it_was_left(output: Output) -> None:
    assert fault(output) is None
    (output.root / "model/README.md").write_text("another")
    claim(output.root, Folder(str(output.root)))
    assert fault(output) is None


Damage = Callable[[Path], object]
DAMAGED: list[tuple[str, Damage, str]] = [
    ("model/model.safetensors", Path.unlink, "model: model.safetensors: not there"),
    ("model/config.json", Path.unlink, "model: config.json: not there"),
    ("model/config.json", lambda p: p.write_text("config.JSON"), "config.json: found other bytes"),
    ("model/config.json", lambda p: p.write_text("config"), "config.json: found other bytes"),
    ("model", lambda p: p.rename(p.with_name("moved")), "model: config.json: not there"),
    ("run.json", lambda p: p.write_text("[" * 100_000), "run.json: names no model"),
    ("run.json", lambda p: p.write_text('{"format": 2}'), "run.json: names no model"),
    ("run.json", Path.unlink, "run.json: names no model"),
]


@pytest.mark.parametrize(("name", "damage", "told"), DAMAGED)
def test_what_is_not(output: Output, name: str, damage: Damage, told: str) -> None:
    damage(output.root / name)
    found = fault(output)
    assert found and found.startswith(str(output.root)) and told in found


def test_a_run_that_goes_on_is_not_finished(output: Output) -> None:
    assert is_finished(output)
    begin(output)
    assert not is_finished(output) and fault(output)
    claim(output.root, Folder(str(output.root)))
