"""`prewrite evaluate tasks`, the real command with real vLLM, on task files beside this one."""

import io
import json
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import yaml

from prewrite.evaluation.results import leaderboard
from tests.commands import evaluate as main

ROOT = Path(__file__).parents[2]
MODEL = "models/smollm2-135m-instruct"


def recipe(folder: Path, **tasks: Any) -> dict[str, Any]:
    output = str(folder / "output")
    engine = {
        "kind": "vllm",
        "model": MODEL,
        "max_model_len": 256,
        "concurrency": 16,
        "args": {"kv_cache_memory_bytes": 1 << 27},
    }
    names = {"names": ["local", "local_rolling"], "paths": ["tests/evaluation/tasks"]}
    return {
        "output": output,
        "engines": {"main": engine},
        "evaluate": {
            "models": {"base": MODEL},
            "base": "base",
            "engine": "main",
            "judge": {"engine": "main"},
            "prefixes": {"ordinary": {"set": "none"}},
            "tasks": names | tasks,
            "output": output,
            "leaderboard": f"{output}/leaderboard.jsonl",
        },
    }


def command(folder: Path, *arguments: str, **tasks: Any) -> tuple[int, str, str]:
    """Exit code, standard output and error. Only a model that is measured has another process."""
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(folder, **tasks)))
    out, told = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(told):
        patch.chdir(ROOT)
        patch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
        code = main(["tasks", "--config", str(file), *arguments])
    return code, out.getvalue(), told.getvalue()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a finished command, and what it printed."""
    folder = tmp_path_factory.mktemp("tasks")
    code, printed, told = command(folder)
    assert code == 0, told
    return folder, printed


@pytest.mark.slow
def test_results_leaderboard_and_table(done: tuple[Path, str]) -> None:
    folder, printed = done
    found = json.loads((folder / "output/results/base.json").read_text())
    choice = found["results"]["local_choice"]
    assert choice["acc,none"] == 0.875 and choice["acc_stderr,none"] == pytest.approx(0.125)
    assert set(found["results"]) == {"local", "local_choice", "local_generate", "local_rolling"}
    assert found["results"]["local_generate"]["exact_match,first-number"] == 1
    assert "bits_per_byte_stderr,none" not in found["results"]["local_rolling"]
    assert found["n-shot"]["local_choice"] == 1 and found["versions"]["local_generate"] == 2
    assert found["n-samples"]["local_choice"]["effective"] == 8
    assert found["higher_is_better"]["local_rolling"]["bits_per_byte"] is False
    assert found["configs"]["local_choice"]["dataset_path"] == "json"
    (row,) = leaderboard(str(folder / "output/leaderboard.jsonl"))
    assert row["local/average,none"] == found["results"]["local"]["average,none"]
    assert row["config"]["tasks"]["names"] == ["local", "local_rolling"]
    table = (folder / "output/tasks.md").read_text()
    assert "| local_choice | acc,none | ↑ | 1 | 8 | 0.8750 ± 0.1250 |" in table
    assert "word_perplexity,none" in printed and "0.8750 ± 0.1250" in printed


@pytest.mark.slow
def test_a_model_that_is_done_is_left_alone_and_another_configuration_refused(
    done: tuple[Path, str],
) -> None:
    folder, printed = done
    before = (folder / "output/tasks/base.json").stat().st_mtime_ns
    assert command(folder)[:2] == (0, printed)
    assert (folder / "output/tasks/base.json").stat().st_mtime_ns == before
    assert "model base (models/smollm2-135m-instruct): done" in command(folder, "--dry-run")[1]
    code, _, told = command(folder, limit=2)
    assert code == 2
    assert "tasks/base.json was made under another configuration; remove" in told
    assert "tasks.limit: null → 2" in told


def test_mistakes_end_before_a_model_is_loaded(tmp_path: Path) -> None:
    sentence = "error: evaluate.tasks: this key is required here: which tasks to run\n"
    assert command(tmp_path, "evaluate.tasks=null") == (2, "", sentence)
    code, _, told = command(tmp_path, "evaluate.models.base=models/nothing")
    assert (code, told) == (1, "error: models/nothing: no such folder\n")
    code, _, told = command(tmp_path, names=["local_chioce"])
    assert code == 2 and "did you mean 'local_choice'?" in told and "Traceback" not in told
