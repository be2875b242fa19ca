"""`rewrite: null`: a set of chunks without rewrites, made without an engine, and what takes it."""

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from prewrite.base.config import load
from prewrite.base.errors import ConfigError
from prewrite.judge.config import JudgeRecipe
from prewrite.judge.passes import judge_pass
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.more import rewrite_pass
from prewrite.shards.card import card
from prewrite.shards.export import Export
from prewrite.shards.reader import ShardSet
from prewrite.shards.verify import verify
from tests.commands import plan, rewrite, shards

NOWHERE = {"kind": "endpoint", "urls": ["http://127.0.0.1:1/v1"], "model": "none"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe and the set that it makes."""
    root = tmp_path_factory.mktemp("cut")
    shutil.copytree("configs/sample", root / "corpus")
    made = {
        "input": {"paths": [f"{root}/corpus/*.jsonl"]},
        "output": f"{root}/set",
        "chunking": {
            "tokenizer": "models/smollm2-135m-instruct",
            "tokens": 32,
            "exact": True,
            "cuts": "one",
        },
        "rewrite": None,
    }
    (root / "cut.yaml").write_text(yaml.safe_dump(made))
    assert rewrite(["--config", f"{root}/cut.yaml"]) == 0
    return root


def test_its_rows_say_what_is_to_be_continued(folder: Path) -> None:
    table = pq.read_table(folder / "set/data")
    assert {"rewrite", "rewrite_reason", "original_score"}.isdisjoint(table.column_names)
    rows = table.to_pylist()
    chosen = [row for row in rows if row["rewrite_status"] == "none"]
    assert {row["rewrite_status"] for row in rows} == {"none", "skipped"}
    assert len(chosen) > 5 and {row["original_tokens"] for row in chosen} == {32}
    assert {row["chunk"] for row in chosen} == {1}
    manifest = ShardSet(str(folder / "set")).manifest
    assert manifest.rewrites is None and manifest.texts == ("original",)
    assert manifest.statuses == {"none": len(chosen), "skipped": len(rows) - len(chosen)}
    assert [(one.name, one.usage.requests) for one in manifest.passes] == [("rewrite", 0)]


def test_it_is_good_and_complete(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(folder / "set")["problems"] == []
    config = ["--config", f"{folder}/cut.yaml"]
    assert rewrite(config) == 0
    assert "the set is complete; nothing to do" in capsys.readouterr().out
    assert rewrite([*config, "--retry-failed"]) == 0
    assert "nothing failed" in capsys.readouterr().out
    assert rewrite([*config, "--dry-run"]) == 0
    assert "cut 3 files" in capsys.readouterr().out


def test_commands_over_sets_take_it(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["show"], ["stats"]):
        assert shards([*words, f"{folder}/set"]) == 0, words
        assert "none" in capsys.readouterr().out
    assert "`rewrite_status`" in card(ShardSet(str(folder / "set")).manifest)
    assert shards(["report", f"{folder}/set", "--to", f"{folder}/report.html"]) == 2
    assert "found a set without rewrites; accepted" in capsys.readouterr().err


def test_a_plan_needs_no_engine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(["--config", f"{folder}/cut.yaml", "input.share=[0.0, 0.5]"]) == 0
    assert "documents" in capsys.readouterr().out


def test_a_criterion_on_single_texts_scores_it(folder: Path) -> None:
    """Nobody is asked: the judge behind the name is not there."""
    words = ["--config", f"{folder}/cut.yaml", f"output={folder}/scored"]
    words += [f"engines.main={json.dumps(NOWHERE)}"]
    assert rewrite([*words, "judge={engine: main, criteria: [variety]}"]) == 0
    assert verify(folder / "scored")["problems"] == []
    rows = pq.read_table(folder / "scored/data").to_pylist()
    scored = [row for row in rows if row["original_variety"] is not None]
    assert [row["rewrite_status"] for row in scored] == ["none"] * len(scored) and scored
    assert "rewrite_variety" not in rows[0]
    assert {record["candidate"] for record in Export(folder / "scored", "chunk")} == {"original"}


def test_a_criterion_that_compares_is_refused(folder: Path) -> None:
    judge = "judge={engine: main, criteria: [safety, quality]}"
    words = [f"engines.main={json.dumps(NOWHERE)}", judge]
    sentence = "judge.criteria: found 'quality', which compares texts; accepted with rewrite: null"
    with pytest.raises(ConfigError, match=sentence):
        load(RewriteRecipe, f"{folder}/cut.yaml", words)
    recipe = load(
        JudgeRecipe, f"{folder}/cut.yaml", [*words, f"judge.input={folder}/set", "output=out"]
    )
    with pytest.raises(ConfigError, match="judge.criteria: found 'quality', which compares"):
        judge_pass(f"{folder}/set", recipe.judge, recipe.engines).begin([])


def test_rewrites_can_be_added_later(folder: Path) -> None:
    made = f"rewrite={{engine: main, input: {folder}/set}}"
    words = [f"engines.main={json.dumps(NOWHERE)}", made, f"output={folder}/more"]
    job = rewrite_pass(load(RewriteRecipe, f"{folder}/cut.yaml", words))
    assert job.fresh == ["rewrite"] and "rewrite" in job.columns.names
    (item, *_) = [*job.source.read(job.source.splits()[0], 0)]
    statuses = [row["rewrite_status"] for row in item.rows]  # type: ignore[union-attr]
    assert statuses in ([None], ["skipped"], ["skipped", None], ["skipped", None, "skipped"])


def test_the_section_is_not_left_out_by_mistake(folder: Path) -> None:
    recipe = yaml.safe_load((folder / "cut.yaml").read_text())
    del recipe["rewrite"]
    (folder / "without.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.raises(ConfigError, match="rewrite: this key is required"):
        load(RewriteRecipe, f"{folder}/without.yaml")
