"""Rows as prompts: what the passes ask nothing about is not asked in training either."""

from pathlib import Path
from typing import Any

import pytest

from prewrite.engine.encoding import PromptEncoder
from prewrite.train.config.sections import TrainConfig
from prewrite.train.config.task import RewriteTask
from prewrite.train.data.loader import Loader
from prewrite.train.tasks.rewriting import RewriteAsker
from tests.train.data.sets import BOS, EOS, MODEL, tokenizer
from tests.train.small import make_set, settings


@pytest.mark.parametrize("bare", [False, True])
def test_skipped_rows_are_context_alone(tmp_path: Path, bare: bool) -> None:
    """Those of `cuts: one`, or white space, of which no length can be told."""

    def edit(row: dict[str, Any]) -> dict[str, Any]:
        gone = {"original": " \n", "rewrite": None, "rewrite_status": "skipped"}
        return gone if not row["chunk"] else {}

    make_set(tmp_path / "set", bare=bare, scored=False, edit=edit)
    rollouts = {
        "engine": "policy",
        "tokens": 8,
        "judge": {"engine": "judge", "criteria": ["safety"]},
    }
    phase = {"name": "earn", "objective": "grpo", "candidates": ["rollout"], "until": {"step": 9}}
    batch = {"samples": 32, "sequence_tokens": 1024, "max_seq_len": 1024, "context_tokens": 0}
    changed: dict[str, Any] = {"task": {"kind": "rewrite"}, "batch": batch, "rollouts": rollouts}
    config = TrainConfig.model_validate(settings(tmp_path, curriculum=[phase], **changed))
    assert isinstance(config.task, RewriteTask)
    asker = RewriteAsker(config.task, PromptEncoder(MODEL, {}), EOS)
    with Loader(config, tokenizer(), BOS, EOS, str(tmp_path / "cache"), asker=asker) as loader:
        laid = loader.laid_out(0, config.curriculum[0])
    asked = [bool(trees) for trees in laid.trees]
    assert asked == [span.first > 0 for span in laid.spans]
    assert laid.counts["context_only"] == asked.count(False) > 0
