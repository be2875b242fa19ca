"""What cannot be thought about is refused in one sentence, before anything is loaded."""

from pathlib import Path
from typing import Any

import pytest

from prewrite.base.errors import ConfigError, InputError
from prewrite.commands import main
from prewrite.prompts.thoughts import insert
from prewrite.train.config.sections import TrainConfig
from prewrite.train.tasks import labels
from tests.train.small import make_set, settings
from tests.train.tasks.test_refused import JUDGE, RECIPE, loaded

SHORT = "train.task.suffix=16"
GAIN = ("train.task.reward=gain", "train.task.reference=judge")


def test_recipes_of_both_rewards_load(tmp_path: Path) -> None:
    """A model that tells likelihoods has its head in float32, as a judge has."""
    assert loaded(tmp_path, "think", SHORT, JUDGE).prompted
    assert loaded(tmp_path, "think", SHORT, *GAIN).prompted


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ((), "train.rollouts.judge: found neither judge nor prefer; accepted with task.kind think"),
        (
            (*GAIN, JUDGE),
            "train.rollouts.judge: found with task.reward gain; accepted: no such key",
        ),
        (GAIN[:1], "train.task.reference: this key is required with reward gain"),
        ((JUDGE, GAIN[1]), "train.task.reference: found 'judge'; accepted with reward match: no"),
        (
            (GAIN[0], "train.task.reference=jugde"),
            "train.task.reference: found 'jugde'; did you mean 'judge'? accepted (see engines)",
        ),
        (
            (GAIN[0], "train.task.reference=policy"),
            "train.task.reference: found 'policy', the policy's engine, whose weights change; ",
        ),
        (
            (JUDGE, "train.rollouts.judge.criteria=[quality]"),
            "train.rollouts.judge.criteria: found quality, which compares texts; accepted with ",
        ),
        (
            (JUDGE, "train.rollouts.judge.engine=policy"),
            "the model that is trained; accepted for train.rollouts.judge with train.task.kind "
            "think: another one",
        ),
        (
            (JUDGE, "train.task.suffix=128"),
            "train.rollouts.tokens: found 128; accepted: more than task.suffix, 128, for a thought",
        ),
        (
            (JUDGE, "train.curriculum.0={name: a, objective: nll, until: {step: 100}}"),
            "train.curriculum.0.objective: found nll without rollouts; accepted with task.kind "
            "think: grpo on rollout",
        ),
        (
            (JUDGE, "train.data.0.criterion=safety"),
            "train.data.0.criterion: found 'safety'; accepted with task.kind think: no such key",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, changes: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, "think", SHORT, *changes)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def _config(folder: Path, text: str = "rewrite") -> TrainConfig:
    rollouts = {
        "engine": "policy",
        "tokens": 8,
        "judge": {"engine": "judge", "criteria": ["thinking_match"]},
    }
    phase = {"name": "earn", "objective": "grpo", "candidates": ["rollout"], "until": {"step": 9}}
    task = {"kind": "think", "suffix": 4, "text": text}
    return TrainConfig.model_validate(
        settings(folder, task=task, rollouts=rollouts, curriculum=[phase])
    )


def test_a_set_without_thoughts_is_refused(tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    with pytest.raises(InputError, match=r"set: found no thought in \d+ rows of rewrite \(train"):
        labels.check(_config(tmp_path))
    with pytest.raises(ConfigError, match="train.task.text: found 'rewrite_think', which train"):
        labels.check(_config(tmp_path, "rewrite_think"))


def test_one_thought_is_enough(tmp_path: Path) -> None:
    def edit(row: dict[str, Any]) -> dict[str, Any]:
        thinks = row["id"].endswith("1-3-0")
        text = insert(["", row["original"]], {1: "Why?"}) if thinks else row["original"]
        return {"rewrite": text, "rewrite_status": "ok"}

    make_set(tmp_path / "set", edit=edit)
    labels.check(_config(tmp_path))


def test_only_a_thinkers_recipe_says_whether_thoughts_are_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE.replace("TASK", "rewrite"))
    assert main(["evaluate", "thoughts", "--config", str(file), JUDGE]) == 2
    assert "train.task.kind: found rewrite; accepted with evaluate thoughts: think" in _said(capsys)
    file.write_text(RECIPE.replace("TASK", "think"))
    less = ("train.rollouts.probe=null", "train.curriculum.0.until={step: 2}")
    given = [JUDGE, "train.task.suffix=4", "train.optimizer.warmup_steps=1", *less]
    assert main(["evaluate", "thoughts", "--config", str(file), *given]) == 2
    assert "train.rollouts.probe: this key is required with evaluate thoughts" in _said(capsys)


def _said(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())
