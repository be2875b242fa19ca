"""A repository as a reader of the docs has it after `make rewrite`: what their commands find there.

The code is this one, by links. Model and corpus are stand-ins that make all of it cheap: a tiny
random llama with the quick-start tokenizer, and the beginnings of the sample documents. The engine
is the real one. The set at data/quickstart is made by `make rewrite`, as a reader begins, and asked
for once more in a real shell. `configs/mine.yaml` and `data/mine` stand for the reader's own.
"""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.docs.conftest import training_run
from tests.docs.shell import ROOT, run, shell
from tests.train.small import make_model

LINKS = (
    *("Makefile", "pyproject.toml", "requirements", "scripts", "prewrite"),
    *("base", "shards", "engine", "judge", "rewrite", "train", "evaluation", "benchmarks"),
)
CONFIG = "configs/quickstart.yaml"
MODEL = "models/smollm2-135m-instruct"
CHARACTERS = {"c4": 400, "oscar": 400, "wikipedia": 900}
"""Of a document: one or two chunks, and two of those that are held out and continued."""


def build(folder: Path) -> None:
    """Make it in `folder`; AssertionError with what was said when a command fails."""
    for name in LINKS:
        (folder / name).symlink_to(ROOT / name)
    _environment(folder)
    _corpus(folder)
    # The smallest that vLLM's attention on CPUs takes.
    make_model(folder / MODEL, hidden_size=128, max_position_embeddings=4096)
    for execute in (run, shell):
        done = execute("make rewrite", folder)
        assert done.code == 0, done.text
    assert "the set is complete" in done.text
    _mine(folder)
    training_run(folder / "runs/quickstart")
    for name in ("ablations", "ablations-tiny"):  # only their tables are made
        (folder / f"runs/{name}").mkdir()
    for name in ("fluency", "clarity"):
        (folder / "criteria").mkdir(exist_ok=True)
        (folder / f"criteria/{name}.yaml").write_text(_documented(name))
    label = {"criterion": "quality", "second": "So so so."}
    lines = [{**label, "first": f"So we left {n}.", "label": str(1 + n % 2)} for n in range(80)]
    (folder / "labels.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in lines))


def _environment(folder: Path) -> None:
    """A .venv which is that of the tests, and which setup.sh finds as it would have made it."""
    venv = folder / ".venv"
    venv.mkdir()
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", venv)
    for name in ("bin", "lib"):
        (venv / name).symlink_to(Path(sys.prefix) / name)
    lock = f"requirements/cpu-py3{sys.version_info.minor}.lock"
    summed = f"cat {lock} pyproject.toml | cksum"
    done = subprocess.run(["bash", "-c", summed], cwd=folder, capture_output=True, text=True)
    (venv / "prewrite-stamp").write_text(f"cpu {done.stdout}")


def _corpus(folder: Path) -> None:
    """The configurations, with short documents, short rewrites, and verdicts of any mass: a random
    model thinks of a verdict no more than of another token.
    """
    shutil.copytree(ROOT / "configs", folder / "configs")
    recipe = yaml.safe_load((folder / CONFIG).read_text())
    recipe["judge"]["min_mass"] = 0.0
    recipe["rewrite"]["sampling"] = {"max_tokens": 32}
    (folder / CONFIG).write_text(yaml.safe_dump(recipe, sort_keys=False))
    for path in (folder / "configs/sample").glob("*.jsonl"):
        records = [json.loads(line) for line in path.read_text().splitlines()]
        long = CHARACTERS[path.stem]
        short = [record | {"text": record["text"][:long]} for record in records]
        path.write_text("".join(f"{json.dumps(record)}\n" for record in short))


def _mine(folder: Path) -> None:
    """The reader's recipe is the quick start's, with a set and a run of its own."""
    recipe = yaml.safe_load((folder / CONFIG).read_text())
    recipe["output"] = "data/mine"
    recipe["train"] |= {"data": [{"set": "data/mine"}], "output": "runs/mine"}
    (folder / "configs/mine.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False))
    shutil.copytree(folder / "data/quickstart", folder / "data/mine")


def _documented(name: str) -> str:
    """The criterion of that name which a page shows."""
    for path in (ROOT / "docs").glob("*.md"):
        for block in re.findall(r"^```yaml\n(.*?)^```$", path.read_text(), re.M | re.S):
            if f"\nname: {name}\n" in f"\n{block}":
                return str(block)
    raise AssertionError(f"no page shows a criterion {name}")
