"""SIGKILL to a real evaluation while it writes and while it judges: the next one goes on, and what
had been kept is not touched again.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from tests.evaluation.conftest import recipe
from tests.evaluation.sets import ROOT, make_set
from tests.faults.runs import kill_group, left, wait_for
from tests.train.small import make_model

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(600)]

KEPT = ("continuations", "scores")


def test_killed_while_it_writes_and_while_it_judges(tmp_path: Path) -> None:
    start = _command(tmp_path)
    for moment in ("continuations/base", "scores/base"):
        before = _kept(tmp_path)
        process = start()
        assert wait_for(lambda name=moment: _there(tmp_path, name), process)  # type: ignore[misc]
        kill_group(process)
        assert left(process.pid) == []
        assert before.items() <= _kept(tmp_path).items()
    before = _kept(tmp_path)
    process = start()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert before.items() <= _kept(tmp_path).items()
    _whole(tmp_path)


def _command(folder: Path) -> Callable[[], "subprocess.Popen[str]"]:
    """Starts the evaluation of two small models, judged by a function."""
    make_set(str(folder / "set"))
    for name, layers in (("a", 1), ("b", 2)):
        make_model(
            folder / name, hidden_size=128, num_hidden_layers=layers, max_position_embeddings=1024
        )
    models = {"base": str(folder / "a"), "other": str(folder / "b")}
    judge = {"engine": "main", "criteria": ["variety"]}
    config = recipe(folder, models=models, judge=judge).model_dump(mode="json")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    command = [
        sys.executable,
        "-m",
        "prewrite",
        "evaluate",
        "--config",
        str(folder / "recipe.yaml"),
    ]

    def start() -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return start


def _there(folder: Path, under: str) -> bool:
    return any((folder / "out" / under).glob("*.parquet"))


def _kept(folder: Path) -> dict[Path, int]:
    """When each chunk that is done was written; verdicts stand before their scores do."""
    found = (path for kind in KEPT for path in (folder / "out" / kind).rglob("*.parquet"))
    return {path: path.stat().st_mtime_ns for path in found}


def _whole(folder: Path) -> None:
    """Each model has each place once, and numbers for all."""
    cut_points = Counter(
        row["id"] for row in pq.read_table(folder / "out/cut_points.parquet").to_pylist()
    )
    for model in ("base", "other"):
        files = (folder / "out/continuations" / model).glob("*.parquet")
        rows = [row for path in files for row in pq.read_table(path).to_pylist()]
        assert Counter(row["id"] for row in rows if row["decoding"] == "greedy") == cut_points
        results = json.loads((folder / f"out/results/{model}.json").read_text())["results"]
        assert all(results[split]["repetition,greedy"] is not None for split in results)
