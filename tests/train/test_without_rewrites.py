"""A set of chunks without rewrites: its originals are learnt, and what it lacks is refused."""

from pathlib import Path
from typing import Any

import pytest

from prewrite.evaluation.config import PrefixesConfig
from prewrite.evaluation.cut_points import cut_points_of
from prewrite.train.config.sections import TrainConfig
from prewrite.train.feed import open_loader
from prewrite.train.model.shape import load_shape
from prewrite.train.online.prompts import prompt_batch
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


@pytest.mark.parametrize("candidates", [["rollout"], ["original", "rollout"]])
def test_rollouts_alone_need_no_scores_of_it(bare: Path, candidates: list[str]) -> None:
    phase = {"name": "p", "objective": "dpo", "candidates": candidates, "until": {"step": 4}}
    rollouts = {"engine": "policy", "judge": {"engine": "j"}, "samples": 2, "tokens": 16}
    train = settings(bare, "online", curriculum=[phase], rollouts=rollouts)
    config = TrainConfig.model_validate(train)
    with open_loader(config, load_shape(str(bare / "model"))) as loader:
        asked = prompt_batch(loader, 0, config.curriculum[0], config)
        assert asked.prompts
        for prompt in asked.prompts:
            assert [*prompt.pool.candidates] == candidates[:-1] and prompt.pool.reference


def test_its_chunks_are_prefixes_for_an_evaluation(bare: Path) -> None:
    config = PrefixesConfig(set=str(bare / "set"), cut_points=5)
    found = cut_points_of({"ordinary": config}, 64, 0)["ordinary"]
    assert len(found) == 5 and all("".join(point.context) for point in found)
