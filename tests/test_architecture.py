"""The floors of the architecture hold, and the check that says so can fail."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from scripts.homonyms import folders, homonyms, meanings

ROOT = Path(__file__).parents[1]
PACKAGES = (
    "base",
    "shards",
    "engine",
    "pipeline",
    "prompts",
    "judge",
    "rewrite",
    "train",
    "evaluation",
)
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", LINT, "--no-cache"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The packages and their contracts, free to be spoiled."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package)
    shutil.copytree(ROOT / "prewrite", tmp_path / "prewrite", symlinks=True)
    return tmp_path


def test_contracts_are_kept() -> None:
    result = lint_imports(ROOT)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


@pytest.mark.parametrize(
    ("package", "imported"),
    [
        ("base", "shards"),
        ("shards", "engine"),
        ("shards", "judge"),
        ("engine", "shards"),
        ("judge", "rewrite"),
        ("base", "transformers"),
        ("shards", "torch"),
        ("judge", "openai"),
        ("rewrite", "vllm"),
        ("train", "vllm"),
        ("train", "rewrite"),
        ("engine", "megatron"),
        ("pipeline", "judge"),
        ("pipeline", "prompts"),
        ("prompts", "judge"),
        ("train/data", "train.online"),
    ],
)
def test_a_planted_import_breaks_a_contract(copy: Path, package: str, imported: str) -> None:
    planted = copy / package / "planted.py"
    name = f"prewrite.{imported}" if imported.split(".")[0] in PACKAGES else imported
    planted.write_text(f"def late() -> None:\n    import {name}\n")
    result = lint_imports(copy)
    assert result.returncode == 1, result.stdout
    assert f"{package.replace('/', '.')}.planted" in result.stdout
    assert "0 broken" not in result.stdout


def test_shards_loads_no_model_library() -> None:
    """Every module of shards and base, imported, leaves the model libraries unloaded."""
    program = """
import importlib, pkgutil, sys
for package in ("prewrite.base", "prewrite.shards"):
    path = importlib.import_module(package).__path__
    for module in pkgutil.walk_packages(path, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(*({"torch", "vllm", "transformers", "openai", "megatron"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == ""


def test_no_command_loads_a_slow_library_before_it_is_needed() -> None:
    """`--help`, a mistake in a recipe and each worker process would wait for it."""
    program = """
import sys
import prewrite.evaluation.run, prewrite.judge.command, prewrite.rewrite.command
import prewrite.commands, prewrite.shards.command, prewrite.train.command, prewrite.pipeline.tasks
slow = {"matplotlib", "megatron", "openai", "pandas", "scipy", "sklearn", "torch", "transformers"}
print(*({*slow, "vllm"} & set(sys.modules)))
"""
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert output.stdout.strip() == ""


def test_a_type_name_with_two_meanings_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("Row = dict[str, int]\nclass Part: ...\nMask = list[bool]\n")
    (tmp_path / "b.py").write_text("Row = dict[str, str]\nclass Part: ...\nMask = list[bool]\n")
    assert homonyms([tmp_path]).keys() == {"Row", "Part"}


def test_type_names_of_every_folder_are_looked_at() -> None:
    assert {path.name for path in folders()} >= {*PACKAGES, "prewrite", "scripts"}
    assert {"Manifest", "ConfigError", "Learner", "Commands"} <= meanings(folders()).keys()


def test_every_direct_dependency_is_documented() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    names = {re.split(r"[^\w-]", line)[0] for group in groups for line in group}
    page = (ROOT / "CONTRIBUTING.md").read_text().partition("### To run")[2]
    assert names == set(re.findall(r"^\| ([\w-]+) \|.*\|.*\|$", page, re.MULTILINE)) - {"package"}
