"""A set of chunks without rewrites: its originals are learnt, and what it lacks is refused."""

from pathlib import Path
from typing import Any

import pytest

from tests.train.small import Command, done, make_model, make_set, metrics, settings


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, and a set that was only cut."""
    folder = tmp_path_factory.mktemp("bare")
    make_model(folder / "model")
    make_set(folder / "set", bare=True)
    return folder


def learning(folder: Path, output: str, objective: str = "nll", **phase: Any) -> dict[str, Any]:
    one = {"name": "all", "objective": objective, "until": {"step": 4}, **phase}
    train = settings(folder, output, curriculum=[one])
    train["data"][0]["filter"] = "rewrite_status != 'skipped'"
    return train


def test_its_originals_are_learnt(bare: Path) -> None:
    steps = metrics(done(learning(bare, "run")))
    assert len(steps) == 4 and all(step["data/cut_points"] > 0 for step in steps)
    assert all(step.get("data/no_rewrite", 0) == 0 for step in steps)


@pytest.mark.parametrize(
    ("objective", "phase", "sentence"),
    [
        ("dpo", {}, "train.curriculum.0.candidates: found 'rewrite', which train.data.0.set"),
        ("nll", {"candidates": ["original", "rewrite"]}, "does not hold; accepted with it: origi"),
    ],
)
def test_a_rewrite_that_it_lacks_is_refused(
    bare: Path, objective: str, phase: dict[str, Any], sentence: str
) -> None:
    command = Command(learning(bare, "refused", objective, **phase))
    assert command.end() == 2, command.text
    (line,) = command.text.splitlines()
    assert sentence in line and "Traceback" not in line
