"""The kind `model` with the quick-start model: that it runs, not what it is worth."""

from pathlib import Path

import pytest
import yaml

import prewrite.judge.corrupt
from prewrite.engine.vllm_engine import VllmEngine
from prewrite.judge.measure.corruptions import corruption_of
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import USABLE
from prewrite.shards.verify import verify
from tests.commands import judge
from tests.engine.conftest import MODEL, vllm  # noqa: F401  (a fixture)

ROWS = 6


@pytest.mark.slow
def test_a_real_model_is_asked_once_a_row(
    vllm: VllmEngine,  # noqa: F811
    cut: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prewrite.judge.corrupt, "get_engine", lambda config: vllm)
    recipe = {
        "output": f"{tmp_path}/set",
        "engines": {"main": {"kind": "vllm", "model": MODEL}},
        "judge": {"engine": "main", "input": cut},
        "measure": {"corrupt": {"kinds": ["model"], "engine": "main", "rows": ROWS}},
        "run": {"max_failed": 1},
    }
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert judge(["corrupt", "--config", f"{tmp_path}/recipe.yaml"]) == 0
    assert verify(f"{tmp_path}/set")["problems"] == []
    shards = ShardSet(f"{tmp_path}/set")
    made = shards.manifest.passes[-1]
    assert made.usage.requests == made.asked == ROWS and made.usage.output_tokens > 0
    asked = [row for row in shards.rows() if row["rewrite_status"] != "skipped"]
    assert len(asked) == ROWS
    for row in asked:
        usable = row["rewrite_status"] in USABLE
        assert (row["original_quality"] == 1) == (row["rewrite_quality"] == 0) == usable
        assert (corruption_of(row["meta"]) == "model") == usable
        assert usable or row["rewrite_reason"].startswith("model: ")
