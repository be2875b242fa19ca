"""`python -m evaluate tasks`, the real command with real vLLM, on task files beside this one."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluate.results import leaderboard

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
    names = {"names": ["local", "local_rolling"], "paths": ["tests/evaluate/tasks"]}
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


def command(folder: Path, *arguments: str, **tasks: Any) -> subprocess.CompletedProcess[str]:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(folder, **tasks)))
    return subprocess.run(
        [sys.executable, "-m", "evaluate", "tasks", "--config", str(file), *arguments],
        cwd=ROOT,
        env={**os.environ, "HF_DATASETS_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a finished command, and what it printed."""
    folder = tmp_path_factory.mktemp("tasks")
    ended = command(folder)
    assert ended.returncode == 0, ended.stderr
    return folder, ended.stdout


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
    again = command(folder)
    assert (again.returncode, again.stdout) == (0, printed)
    assert (folder / "output/tasks/base.json").stat().st_mtime_ns == before
    assert "model base (models/smollm2-135m-instruct): done" in command(folder, "--dry-run").stdout
    other = command(folder, limit=2)
    assert other.returncode == 1
    assert "tasks/base.json was measured otherwise: tasks.limit: null → 2; remove" in other.stderr


def test_mistakes_end_before_a_model_is_loaded(tmp_path: Path) -> None:
    ended = command(tmp_path, "evaluate.tasks=null")
    assert ended.returncode == 2
    assert ended.stderr == "error: evaluate.tasks: this key is required here: which tasks to run\n"
    ended = command(tmp_path, "evaluate.models.base=models/nothing")
    assert (ended.returncode, ended.stderr) == (1, "error: models/nothing: no such folder\n")
    ended = command(tmp_path, names=["local_chioce"])
    assert ended.returncode == 2 and "did you mean 'local_choice'?" in ended.stderr
    assert "Traceback" not in ended.stderr
