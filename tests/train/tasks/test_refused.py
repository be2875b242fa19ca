"""What cannot be asked, weighed or learnt is refused in one sentence, before anything is loaded."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from prewrite.base.config import load
from prewrite.base.errors import ConfigError, InputError
from prewrite.train.config.recipe import TrainRecipe
from prewrite.train.config.sections import TrainConfig
from prewrite.train.tasks import labels
from tests.train.small import make_set, settings

RECIPE = """
output: data/set
engines:
  policy: {kind: vllm, model: models/any}
  judge: {kind: endpoint, urls: ["http://127.0.0.1:1/v1"], model: any}
train:
  task: {kind: TASK}
  data: [{set: data/set}]
  output: data/run
  model: {path: models/any}
  batch: {samples: 8, sequence_tokens: 4096, max_seq_len: 1024, context_tokens: 0}
  optimizer: {warmup_steps: 10}
  curriculum:
    - {name: earn, objective: grpo, candidates: [rollout], until: {step: 200, reward: 0.9}}
  rollouts:
    engine: policy
    probe: {set: data/held-out}
"""
JUDGE = "train.rollouts.judge={engine: judge, criteria: [safety]}"
CRITERIA = ("train.data.0.criterion=quality", "train.rollouts.probe.criterion=quality")


def loaded(folder: Path, task: str, *changes: str) -> TrainConfig:
    file = folder / "recipe.yaml"
    file.write_text(RECIPE.replace("TASK", task))
    return load(TrainRecipe, str(file), [*changes]).train


def test_recipes_of_both_tasks_load(tmp_path: Path) -> None:
    assert loaded(tmp_path, "rewrite", JUDGE).prompted
    assert loaded(tmp_path, "judge", *CRITERIA).prompted


def test_a_group_need_not_fit_into_a_packed_sequence(tmp_path: Path) -> None:
    """A prompt and one rollout must."""
    many = ("train.rollouts.samples=64", "train.rollouts.tokens=900")
    assert loaded(tmp_path, "rewrite", JUDGE, *many).rollouts
    with pytest.raises(ConfigError, match="train.rollouts.tokens: found 1025; accepted: at most"):
        loaded(tmp_path, "rewrite", JUDGE, "train.rollouts.tokens=1025")


@pytest.mark.parametrize(
    ("task", "changes", "sentence"),
    [
        ("rewrite", (), "train.rollouts.judge: found neither judge nor prefer; accepted with "),
        ("rewrite", ("train.rollouts.prefer=[rollout]",), "found with prefer; accepted"),
        (
            "judge",
            (*CRITERIA, "train.rollouts.probe.also={new: {set: data/new}}"),
            "train.rollouts.probe.also.new.criterion: this key is required with task.kind judge",
        ),
        (
            "rewrite",
            (JUDGE, "train.rollouts.probe.also={new: {set: data/set}}"),
            "train.rollouts.probe.also.new.set: found 'data/set', a set under data; accepted: ",
        ),
        (
            "rewrite",
            (JUDGE, "train.rollouts.probe.also={New one: {set: data/new}}"),
            "train.rollouts.probe.also.New one",
        ),
        (
            "rewrite",
            (JUDGE, "train.rollouts.probe.canaries=true"),
            "train.rollouts.probe.canaries: found true with task.kind rewrite; accepted: false",
        ),
        ("judge", (CRITERIA[0],), "train.rollouts.probe.criterion: this key is required with "),
        ("judge", (CRITERIA[1],), "train.data.0.criterion: this key is required with task.kind"),
        ("judge", (*CRITERIA, JUDGE), "train.rollouts.judge: found with task.kind judge; accepted"),
        (
            "rewrite",
            (JUDGE, CRITERIA[0]),
            "train.data.0.criterion: found 'quality'; accepted with task.kind rewrite: no such key",
        ),
        (
            "rewrite",
            (JUDGE, "train.rollouts.judge.criteria=[quality]"),
            "train.rollouts.judge.pools.schedule: found 'auto'; accepted with train.task.kind "
            "rewrite and quality, which compares texts: pivot",
        ),
        (
            "rewrite",
            (
                JUDGE,
                "train.rollouts.judge.criteria=[quality]",
                "train.rollouts.judge.pools.schedule=pivot",
            ),
            "train.rollouts.judge.pools.order: found 'balanced'; accepted with train.task.kind "
            "rewrite and quality, which compares texts: both",
        ),
        (
            "rewrite",
            (JUDGE, "train.rollouts.judge.criteria=[safety, kept]"),
            "train.rollouts.judge.combine: found 'sum', with which a rewrite earns up to 2; accept",
        ),
        (
            "rewrite",
            (JUDGE, "train.rollouts.judge.engine=policy"),
            "engines.policy.model: found 'models/any', the model that is trained; accepted",
        ),
        (
            "judge",
            ("train.data.0.criterion=variety", CRITERIA[1]),
            "train.data.0.criterion: found 'variety', of the kind python; accepted: pairwise or",
        ),
        (
            "rewrite",
            (JUDGE, "engines.judge={kind: vllm, model: ./models/any}"),
            "engines.judge.model: found './models/any', the model that is trained; accepted for",
        ),
        (
            "judge",
            ("train.data.0.criterion=factuality", CRITERIA[1]),
            "train.data.0.criterion: found 'factuality', which shows the original as a reference; ",
        ),
        (
            "judge",
            ("train.data.0.criterion=qualty", CRITERIA[1]),
            "train.data.0.criterion: found 'qualty'; accepted: ",
        ),
        (
            "rewrite",
            (JUDGE, "train.task.template=qualty"),
            "train.task.template: found 'qualty'; accepted: ",
        ),
        (
            "rewrite",
            (JUDGE, "train.task.template=questions", "train.task.length={max: 1}"),
            "train.task.length: found a min of 1.05 above the max of 1, together with the lengths ",
        ),
        (
            "rewrite",
            (JUDGE, "train.task.template=digest", "train.task.copies=original_safety == 1"),
            "train.task.copies: found 'original_safety == 1'; accepted with the template digest: ",
        ),
        (
            "rewrite",
            (JUDGE, "train.curriculum.0.objective=dpo"),
            "train.curriculum.0: found the objective dpo on rollout; accepted with task.kind "
            "rewrite: grpo on rollout",
        ),
        (
            "rewrite",
            (JUDGE, "train.curriculum.0.candidates=[original, rollout]"),
            "accepted with task.kind rewrite: grpo on rollout",
        ),
        (
            "judge",
            (*CRITERIA, "train.curriculum.0={name: a, objective: nll, until: {step: 100}}"),
            "train.curriculum.0.objective: found nll without rollouts; accepted with task.kind "
            "judge: grpo on rollout",
        ),
        (
            "rewrite",
            (JUDGE, "train.curriculum.0.until={step: 200, win_rate: 0.5}"),
            "train.curriculum.0.until.win_rate: found with task.kind rewrite; accepted: reward",
        ),
        ("continue", (JUDGE,), "until.reward: found with task.kind continue; accepted: win_rate"),
        ("rewrit", (JUDGE,), "train.task.kind: found 'rewrit'; accepted: "),
        (
            "rewrite",
            (JUDGE, "train.curriculum.0.objective={kind: grpo, kl: -1}"),
            "train.curriculum.0.objective.kl: found -1; accepted: ",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, task: str, changes: tuple[str, ...], sentence: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        loaded(tmp_path, task, *changes)
    assert sentence in str(refused.value) and "\n" not in str(refused.value)


def _scores(values: tuple[float | None, float | None]) -> Callable[[dict[str, Any]], Any]:
    return lambda row: {"original_quality": values[0], "rewrite_quality": values[1]}


@pytest.mark.parametrize(
    ("scores", "task", "sentence"),
    [
        ((0.5, 0.5), "judge", "found no label of quality in "),
        ((None, 0.5), "judge", "found no label of quality in "),
        ((0.5, 0.50000006), "judge", "found no label of quality in "),  # a float32 apart
        ((1.0, 0.5), "rewrite", "found rows to be copied only, in "),
        ((0.0, 0.5), "rewrite", "found rows that are judged only, in "),
    ],
)
def test_a_set_without_two_labels_teaches_nothing(
    tmp_path: Path, scores: tuple[float | None, float | None], task: str, sentence: str
) -> None:
    make_set(tmp_path / "set", edit=_scores(scores))
    with pytest.raises(InputError) as refused:
        labels.check(_config(tmp_path, task))
    assert str(refused.value).startswith(f"{tmp_path / 'set'}: {sentence}")


def test_letters_in_both_assignments_are_not_reasoned_about(tmp_path: Path) -> None:
    """The judge pass refuses them, so there is no prompt that could be trained."""
    file = tmp_path / "both.yaml"
    file.write_text(yaml.safe_dump({"base": "safety", "form": "both"}))
    with pytest.raises(ConfigError, match="whose form is both; accepted: letters or words"):
        loaded(tmp_path, "judge", f"train.data.0.criterion={file}", CRITERIA[1])


def test_a_text_alone_needs_two_verdicts(tmp_path: Path) -> None:
    """Of a criterion that looks at one text."""
    make_set(tmp_path / "set", edit=_scores((1.0, 0.0)))
    criterion = {
        "name": "quality",
        "version": 1,
        "kind": "pointwise",
        "verdicts": {"A": 1, "B": 0},
        "answer": "Verdict: (",
        "template": "{{ candidate }}",
    }
    (tmp_path / "alone.yaml").write_text(yaml.safe_dump(criterion))
    with pytest.raises(InputError, match="found the one label 1 of quality in"):
        labels.check(_config(tmp_path, "judge", str(tmp_path / "alone.yaml")))


def test_labels_that_differ_are_enough(tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    labels.check(_config(tmp_path, "judge"))
    labels.check(_config(tmp_path, "rewrite"))


def test_a_set_that_was_not_judged_on_the_criterion_has_no_labels(tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    with pytest.raises(
        ConfigError, match="train.data.0.criterion: found 'safety', of which .* has "
    ):
        labels.check(_config(tmp_path, "judge", "safety"))


def _config(folder: Path, task: str, criterion: str = "quality") -> TrainConfig:
    changed: dict[str, Any] = {
        "task": {"kind": task},
        "rollouts": {"engine": "policy", "tokens": 8},
    }
    data: dict[str, Any] = {"set": str(folder / "set")}
    if task == "judge":
        data["criterion"] = criterion
    else:
        changed["task"]["copies"] = "original_quality > 0.5"
        changed["rollouts"]["judge"] = {"engine": "judge", "criteria": ["safety"]}
    phase = {"name": "earn", "objective": "grpo", "candidates": ["rollout"], "until": {"step": 9}}
    return TrainConfig.model_validate(settings(folder, data=[data], curriculum=[phase], **changed))


def test_rows_that_nobody_asks_about_are_no_labels(tmp_path: Path) -> None:
    """The context of a drawn chunk has no score: it is not a row that is judged."""
    bare = {"original_quality": None, "rewrite_quality": None, "rewrite": None}

    def edit(row: dict[str, Any]) -> dict[str, Any]:
        skipped = {**bare, "rewrite_status": "skipped"}
        return skipped if row["chunk"] == 0 and row["chunks"] > 1 else {"original_quality": 1.0}

    make_set(tmp_path / "set", edit=edit)
    with pytest.raises(InputError, match="found rows to be copied only, in "):
        labels.check(_config(tmp_path, "rewrite"))
