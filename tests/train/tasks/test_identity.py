"""What a run depends on: the files that its task names, by what they hold."""

from pathlib import Path
from typing import Any

import yaml

from prewrite.base.fingerprint import differences
from prewrite.engine.encoding import PromptEncoder
from prewrite.train.config.sections import TrainConfig
from prewrite.train.config.task import JudgeTask, RewriteTask
from prewrite.train.data.loader import Loader
from prewrite.train.data.prompted import Asker
from prewrite.train.tasks.judging import JudgeAsker
from prewrite.train.tasks.rewriting import RewriteAsker
from tests.train.data.sets import BOS, EOS, MODEL, tokenizer
from tests.train.small import make_set, settings


def identity(folder: Path, task: dict[str, Any], criterion: str | None, **chat: Any) -> Any:
    """That of the loader of a run."""
    data = {"set": str(folder / "set"), "criterion": criterion}
    phase = {"name": "earn", "objective": "grpo", "candidates": ["rollout"], "until": {"step": 9}}
    rollouts: dict[str, Any] = {"engine": "policy", "tokens": 8}
    if not criterion:
        rollouts["judge"] = {"engine": "judge", "criteria": ["safety"]}
    config = TrainConfig.model_validate(
        settings(folder, data=[data], curriculum=[phase], task=task, rollouts=rollouts)
    )
    encoder = PromptEncoder(MODEL, chat)
    asker: Asker
    if isinstance(config.task, RewriteTask):
        asker = RewriteAsker(config.task, encoder, EOS)
    else:
        assert isinstance(config.task, JudgeTask)
        asker = JudgeAsker(config.task, encoder, EOS)
    with Loader(config, tokenizer(), BOS, EOS, str(folder / "cache"), asker=asker) as loader:
        return loader.identity()


def test_another_template_of_the_same_name_is_another_run(tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    file = tmp_path / "again.jinja"
    file.write_text("Again: <text{{ fence }}>{{ text }}</text{{ fence }}>")
    task = {"kind": "rewrite", "template": str(file)}
    before = identity(tmp_path, task, None)
    assert before == identity(tmp_path, task, None)
    (chat,) = differences(before, identity(tmp_path, task, None, add_date=True))
    assert chat.startswith("task.chat: ")
    file.write_text("Once more: <text{{ fence }}>{{ text }}</text{{ fence }}>")
    (template,) = differences(before, identity(tmp_path, task, None))
    assert template.startswith("task.template: ")


def test_another_criterion_of_the_same_name_is_another_run(tmp_path: Path) -> None:
    make_set(tmp_path / "set")
    file = tmp_path / "mine.yaml"
    told = {"base": "quality", "weight": 2}
    file.write_text(yaml.safe_dump(told))
    before = identity(tmp_path, {"kind": "judge"}, str(file))
    file.write_text(yaml.safe_dump(told | {"weight": 3}))
    assert before == identity(tmp_path, {"kind": "judge"}, str(file))
    file.write_text(yaml.safe_dump(told | {"version": 9}))
    (changed,) = differences(before, identity(tmp_path, {"kind": "judge"}, str(file)))
    assert f"{tmp_path / 'set'}.criterion_asks: " in changed
