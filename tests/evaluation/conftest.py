"""One real evaluation: SmolLM2, the same once more, and a random model with its tokenizer."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from prewrite.evaluation.config import EvaluateRecipe
from tests.evaluation.sets import MODEL, make_set
from tests.train.small import make_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def at_the_root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Where the task files find their data; with a cache of one's own."""
    import datasets

    cache = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("cache")
    with contextlib.chdir(ROOT):
        yield
    datasets.config.HF_DATASETS_CACHE = cache


def recipe(folder: Path, **changed: Any) -> EvaluateRecipe:
    """That of the fixture `evaluated`."""
    engine = {"dtype": "float32", "max_model_len": 768, "concurrency": 8}
    engine["args"] = {"kv_cache_memory_bytes": 2**27}
    section = {
        "models": {"base": MODEL, "twin": MODEL, "broken": str(folder / "broken")},
        "base": "base",
        "engine": "main",
        "judge": {"engine": "main", "criteria": ["quality", "safety", "factuality", "variety"]},
        "prefixes": {
            "ordinary": {"set": str(folder / "set"), "filter": "source != 'c4'", "cut_points": 4},
            "other": {"set": str(folder / "set"), "filter": "source == 'c4'", "cut_points": 3},
        },
        "tokens": 12,
        "context_tokens": 128,
        "output": str(folder / "out"),
        "leaderboard": str(folder / "leaderboard.jsonl"),
    }
    engines = {"main": {"kind": "vllm", "model": MODEL, **engine}}
    return EvaluateRecipe.model_validate(
        {"output": "x", "engines": engines, "evaluate": section | changed}
    )


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with `out`, `set`, `broken` and the leaderboard. The command has a process of its
    own, for a closed vLLM takes others of its process along.
    """
    folder = tmp_path_factory.mktemp("evaluated")
    make_set(str(folder / "set"))
    make_model(folder / "broken", hidden_size=128, max_position_embeddings=1024)
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe(folder).model_dump(mode="json"), sort_keys=False))
    command = [sys.executable, "-m", "prewrite", "evaluate", "--config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, check=False)
    assert done.returncode == 0, done.stderr
    return folder
