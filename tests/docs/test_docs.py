"""The docs say what the code does: examples run, links resolve, nothing that has a name is missing.

Each check reads the names out of the code, so a new key, status or error fails here until a page
tells what it is.
"""

import ast
import json
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import datasets
import pytest
import torch
import yaml
from pydantic import BaseModel

from prewrite.base import errors
from prewrite.base.config import SECTIONS
from prewrite.engine.config import EndpointConfig, VllmConfig
from prewrite.engine.template import Template
from prewrite.evaluation.__main__ import COMMANDS as EVALUATE_COMMANDS
from prewrite.evaluation.config import EvaluateRecipe
from prewrite.judge.canaries import CONTROL, ENCODINGS, AttackTally, load_suite
from prewrite.judge.combine import Combine
from prewrite.judge.command import COMMANDS as JUDGE_COMMANDS
from prewrite.judge.config import JudgeRecipe
from prewrite.judge.corrupt import CORRUPTIONS
from prewrite.judge.criteria import load_criterion
from prewrite.judge.readout import ReadStatus
from prewrite.judge.report.report import MEANING
from prewrite.rewrite.checks import Checked
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.files import SUFFIXES
from prewrite.rewrite.layouts import LAYOUTS
from prewrite.rewrite.prompts import VARIABLES
from prewrite.shards import manifest
from prewrite.shards.schema import JUDGEMENT_SCHEMA, MEASURES, STATUSES, describe
from prewrite.train.config import AlarmsConfig, TrainRecipe
from prewrite.train.data.rows import Candidates
from prewrite.train.objectives import Loss
from prewrite.train.online import kept_pools, observe
from prewrite.train.phases import Dpo, Grpo, Nll, RfNll
from prewrite.train.state import FREE
from scripts.help import COMMANDS, real_help, renewed
from scripts.help import page as commands_page
from tests.docs.shell import environment

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = [path for floor in ("base", "shards", "engine", "judge", "rewrite", "train", "evaluation")
        for path in sorted((ROOT / floor).rglob("*.py"))]  # fmt: skip


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(language: str) -> list[Any]:
    """Every fenced block of one language, as test parameters."""
    found = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(pytest.param(match[1], id=f"{path.name}:{line}"))
    return found


# Examples run.


@pytest.fixture
def at_work(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which data/quickstart is a set."""
    monkeypatch.chdir(workplace)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(workplace / "cache"))
    return workplace


@pytest.mark.parametrize("code", blocks("python"))
def test_python_examples_run(code: str, at_work: Path) -> None:
    exec(compile(code, "example", "exec"), {"__name__": "example"})


def test_the_lines_of_the_readme_read_every_row(at_work: Path) -> None:
    code = next(block for block in blocks("python") if "README" in str(block.id)).values[0]
    names: dict[str, Any] = {}
    lengths = []
    for statement in ast.parse(str(code)).body:
        source = ast.unparse(statement)
        if isinstance(statement, ast.Expr):
            lengths.append(len(eval(source, names)))
        else:
            exec(source, names)
    expected = json.loads((at_work / "data/quickstart/manifest.json").read_text())["rows"]
    assert expected and lengths == [expected] * 4


def test_the_example_pass_writes_a_set(at_work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = next(block for block in blocks("python") if "passes" in str(block.id)).values[0]
    exec(compile(str(code), "example", "exec"), {"__name__": "example"})
    assert shards_command(["verify", "data/shouted"]) == 0
    assert "good: 6 rows of 6 documents" in capsys.readouterr().out


@pytest.mark.parametrize("text", blocks("yaml"))
def test_yaml_examples_are_accepted(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = yaml.safe_load(text)
    if "version" in data:
        beside_a_criterion(data, tmp_path, monkeypatch)
        (tmp_path / "example.yaml").write_text(text)
        load_criterion(str(tmp_path / "example.yaml"))
        return
    if "evaluate" in data:
        EvaluateRecipe.model_validate(data)
        return
    if "train" in data:
        TrainRecipe.model_validate(data)
        return
    recipe = yaml.safe_load(page("configs/quickstart.yaml"))
    del recipe["train"], recipe["evaluate"]
    if "engines" in data:
        # An example with its own engines names them, or is read with the first of them.
        name = next(iter(data["engines"]))
        recipe["rewrite"]["engine"] = recipe["judge"]["engine"] = name
    RewriteRecipe.model_validate(recipe | data)


def beside_a_criterion(data: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a criterion names lies in the folder the command runs in: its file, its function."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    if data.get("model", "").endswith(".skops"):
        Path(data["model"]).touch()
    if function := data.get("function"):
        module, name = function.split(":")
        sources = [block.values[0] for block in blocks("python") if "criteria" in str(block.id)]
        source = next(str(source) for source in sources if f"def {name}(" in str(source))
        Path(f"{module}.py").write_text(source)


@pytest.mark.parametrize("text", blocks("jinja"))
def test_template_examples_are_accepted(text: str) -> None:
    template = Template("example", text, VARIABLES)
    assert template.variables == set(VARIABLES)
    assert "</passage-7>" in template.render({name: name for name in VARIABLES}, "-7")[-1]


@pytest.mark.parametrize("text", blocks("sh"))
def test_overrides_in_shell_examples_are_keys(text: str) -> None:
    known = {key.replace("engines.NAME", "engines.main") for key, *_ in expected_keys()}
    others = "PREWRITE_DEVICE=|--rdzv-conf \\S+"  # of make and of torchrun
    for key in re.findall(r"\b([a-z_]+(?:\.[a-z_]+)*)=\S", re.sub(others, "", text)):
        # A section, or a list of them, is given as a whole.
        found = any(f"{k}.".startswith(f"{key}.") for k in known)
        assert found or key.startswith("judge.weights."), key


# Links resolve.


def links(path: Path) -> Iterator[tuple[str, str]]:
    """(file, anchor) of each relative link of a page, outside of code."""
    text = re.sub(r"```.*?```|`[^`\n]*`", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" not in target:
            file, _, anchor = target.partition("#")
            yield file, anchor


def anchors(path: Path) -> set[str]:
    """The anchors GitHub gives to the headings of a page."""
    found = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


@pytest.mark.parametrize("path", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda path: path.name)
def test_relative_links_resolve(path: Path) -> None:
    for file, anchor in links(path):
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{file} in {path.name}"
        assert not anchor or anchor in anchors(target), f"{file}#{anchor} in {path.name}"


def test_pages_stay_short() -> None:
    lengths = {path.name: len(path.read_text().splitlines()) for path in PAGES}
    assert not {name: length for name, length in lengths.items() if length > 200}


def test_pages_name_no_place_of_one_machine() -> None:
    for path in PAGES:
        assert not re.search(r"/(work|tmp|root|home|opt)/", path.read_text()), path.name


# Configuration: every key, with its type and default.


def kind(annotation: Any) -> str:
    """A type in the words of configuration.md."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join("null" if one is type(None) else kind(one) for one in inner)
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in inner)
    if origin is Annotated:
        return kind(inner[0])
    if origin is list:
        return f"list of {kind(inner[0])}" + "s" * (get_origin(inner[0]) is not Literal)
    if origin is dict:
        return "mapping"
    words = {str: "text", int: "integer", float: "number", bool: "true or false"}
    return words[annotation]


def keys(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str, str]]:
    """(key, type, default) of each leaf of a section."""
    for name, field in model.model_fields.items():
        inner = sections_of(field.annotation)
        if not inner:
            default = "required" if field.is_required() else f"`{json.dumps(field.default)}`"
            yield f"{prefix}.{name}", kind(field.annotation), default
        step = f"{name}.NAME" if get_origin(field.annotation) is dict else name
        for section in inner:
            yield from keys(section, f"{prefix}.{step}")


def sections_of(annotation: Any) -> list[type[BaseModel]]:
    """The sections a field holds, also where it may be null, or is a list of several kinds."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for one in get_args(annotation) for found in sections_of(one)]


def fields_of_recipes() -> dict[str, Any]:
    """Every section of every recipe."""
    recipes = (RewriteRecipe, TrainRecipe, EvaluateRecipe)
    return {name: field for recipe in recipes for name, field in recipe.model_fields.items()}


def expected_keys() -> list[tuple[str, str, str]]:
    found = [*keys(VllmConfig, "engines.NAME"), *keys(EndpointConfig, "engines.NAME")]
    found += [("output", "text", "required")]
    for name, field in fields_of_recipes().items():
        if name != "engines":
            found += [
                key for section in sections_of(field.annotation) for key in keys(section, name)
            ]
    return found


def test_configuration_has_every_key_with_type_and_default() -> None:
    row = re.compile(r"^\| `([\w.]+\.\w+)` \| (.+?) \| (required|`.+?`) \| .+ \|$", re.MULTILINE)
    names = [path for path in PAGES if path.name.endswith("configuration.md")]
    pages = "".join(path.read_text() for path in [*names, ROOT / "docs/clusters.md"])
    documented = row.findall(pages)
    # Those of the judges of rollouts and evaluations are those of `judge`, and the pages say so.
    told = ("output", "train.rollouts.judge.", "evaluate.judge.")
    expected = [found for found in expected_keys() if not found[0].startswith(told)]
    assert sorted(documented) == sorted(expected)


def test_configuration_has_every_section() -> None:
    text = page("docs/configuration.md")
    tables = set(re.findall(r"`(\w+)`", text.partition("## input")[0].partition("| section")[2]))
    assert set(SECTIONS) <= tables
    for recipe in (RewriteRecipe, JudgeRecipe, TrainRecipe, EvaluateRecipe):
        assert set(recipe.model_fields) <= set(SECTIONS)


# Commands: the real help.


def shards_command(arguments: list[str]) -> int:
    from tests.commands import shards as main

    return main(arguments)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_a_command_shows_its_real_help(command: str) -> None:
    """`python -m scripts.help` renews them."""
    assert f"```text\n{real_help(command)}```" in commands_page(command).read_text()


def test_asking_for_help_leaves_no_trace_in_this_process() -> None:
    before = sys.argv, os.environ.get("COLUMNS"), os.environ.get("NO_COLOR")
    real_help("shards show")
    assert before == (sys.argv, os.environ.get("COLUMNS"), os.environ.get("NO_COLOR"))


def test_every_help_on_any_page_is_the_real_one() -> None:
    helps = {command: real_help(command) for command in COMMANDS}
    for path in PAGES:
        assert renewed(path.read_text(), helps) == path.read_text(), path.name


def test_every_command_has_a_page_and_no_other() -> None:
    """Those that a module hands on to, and those of argparse."""
    known = {f"judge {name}" for name in JUDGE_COMMANDS}
    known |= {f"evaluation {name}" for name in EVALUATE_COMMANDS}
    shards_help = re.search(r"\{(.*?)\}", real_help("shards"))
    assert shards_help
    known |= {f"shards {name}" for name in shards_help[1].split(",")}
    for module in ("rewrite", "train"):
        source = page(f"{module}/__main__.py")
        named = re.findall(r"(?:name == |arguments\[:1\] == \[)\"(\w+)\"", source)
        known |= {module, *(f"{module} {name}" for name in named)}
    assert known | {"judge", "shards", "evaluation"} <= set(COMMANDS)
    pages = set((ROOT / "docs/commands").glob("*.md"))
    assert pages == {commands_page(command) for command in COMMANDS}


def made(words: str) -> subprocess.CompletedProcess[str]:
    """`make WORDS` without doing it."""
    command = ["make", "-n", *words.split()]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)


@pytest.mark.parametrize(
    ("given", "found", "accepted"),
    [
        ("rewrite CONFG=x", "CONFG", "CONFIG ARGS PREWRITE_DEVICE TORCH_CPU_INDEX."),
        ("rewrite MODEL=x", "MODEL", "CONFIG ARGS PREWRITE_DEVICE TORCH_CPU_INDEX."),
        ("train PYTHON=x CONFIG=x", "PYTHON", "CONFIG ARGS PREWRITE_DEVICE TORCH_CPU_INDEX."),
        ("judge SET=x", "SET", "CONFIG ARGS PREWRITE_DEVICE TORCH_CPU_INDEX."),
        ("report CONFIG=x SET=x", "CONFIG", "SET RUN ARGS PREWRITE_DEVICE TORCH_CPU_INDEX."),
        ("lint ARGS=x", "ARGS", "PREWRITE_DEVICE TORCH_CPU_INDEX."),
        ("rewrite clean CONFIG=x", "CONFIG", "none."),
        ("CONFIG=x", "CONFIG", "none."),
    ],
)
def test_make_refuses_a_variable_that_a_target_does_not_read(
    given: str, found: str, accepted: str
) -> None:
    done = made(given)
    assert done.returncode == 2 and not done.stdout
    assert f": found the variable {found}; accepted: {accepted}" in done.stderr


def test_make_report_takes_a_set_or_a_run() -> None:
    done = made("report SET=a RUN=b")
    assert done.returncode == 2 and "found SET and RUN; accepted: one of them" in done.stderr


def test_commands_names_every_target_of_make() -> None:
    targets = re.findall(r"^([\w-]+):.*## ", page("Makefile"), re.MULTILINE)
    assert {f"make {t}" for t in targets} - {"make help"} <= set(
        re.findall(r"make [\w-]+", page("docs/commands.md"))
    )


# Errors, statuses, reasons: every name the code knows.


def exceptions() -> list[type[errors.PrewriteError]]:
    return [
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, errors.PrewriteError)
    ]


def test_errors_has_every_exception_with_its_exit_code() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", page("docs/errors.md"), re.MULTILINE)
    assert sorted(rows) == sorted((str(one.exit_code), one.__name__) for one in exceptions())


@pytest.mark.parametrize("name", ["README.md", "docs/errors.md"])
def test_every_exit_code_is_told(name: str) -> None:
    for code in {0, *(one.exit_code for one in exceptions())}:
        assert re.search(rf"\b{code}\b", page(name)), code


def texts_in_code() -> list[str]:
    """Every string constant of the code; the parts of an f-string each by itself."""
    nodes = [node for path in CODE for node in ast.walk(ast.parse(path.read_text()))]
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def documented_sentences() -> list[str]:
    """Those of the pages of errors."""
    text = "".join(
        page(f"docs/{name}.md") for name in ("errors", "errors-runs", "errors-evaluation")
    )
    cells = re.findall(r"^\| (`.*?) \| [^|]* \|$", text, re.MULTILINE)
    return [one for cell in cells for one in re.findall(r"`([^`]+)`", cell)]


def raised() -> Iterator[tuple[str, str]]:
    """(where, sentence with … for what differs) of every error that the code raises."""
    names = {one.__name__ for one in exceptions()} | {"refuse"}
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) in names and node.args:
                text = sentence_of(node.args[0])
                if any(part.strip(" :;,'/") for part in text.split("…")):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", text


def sentence_of(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(sentence_of(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return sentence_of(node.left) + sentence_of(node.right)
    return "…"


def fits(text: str, documented: str) -> bool:
    """The parts of a documented sentence stand in the text, in their order."""
    place = 0
    parts = [part.strip() for part in documented.split("…") if part.strip(" :;,'")]
    for part in parts:
        found = text.find(part, place)
        if found < 0:
            return False
        place = found + len(part)
    return bool(parts)


# Parts of a sentence that another function completes, and what only a programmer can cause.
PARTS = ("shards/filters.py", "train/report/metrics.py", "engine/vllm_engine.py")


def test_every_sentence_of_the_code_is_documented() -> None:
    documented = documented_sentences()
    found = list(raised())
    assert len(found) > 150
    missing = [
        (where, text)
        for where, text in found
        if not where.startswith(PARTS)
        and not any(fits(text, one) or fits(one, text) for one in documented)
    ]
    assert missing == []


def test_every_documented_sentence_is_one_of_the_code() -> None:
    sentences = documented_sentences()
    known = texts_in_code()
    assert len(sentences) > 140
    for sentence in sentences:
        for part in sentence.split("…"):
            assert any(part in text for text in known), part


def called_with(name: str, argument: str | int) -> set[str]:
    """Every constant that any code passes to `name` as that argument."""
    found: set[str] = set()
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == name:
                given = [k.value for k in node.keywords if k.arg == argument]
                if isinstance(argument, int):
                    given = node.args[argument : argument + 1]
                # A conditional passes one of its branches; its test is no argument.
                nodes = [
                    n
                    for g in given
                    for n in ([g.body, g.orelse] if isinstance(g, ast.IfExp) else [g])
                ]
                found |= {str(n.value) for n in nodes if isinstance(n, ast.Constant)}
    return found


def code_cells(text: str) -> set[str]:
    """What is code in the first column of the tables of a text."""
    cells = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE)
    return {one for cell in cells for one in re.findall(r"`(\w+)`", cell)}


def first_cells(name: str) -> set[str]:
    """What is code in the first column of the tables of a page."""
    return code_cells(page(name))


def cells_below(name: str, heading: str) -> set[str]:
    """The same of the section with that heading alone."""
    sections = re.split(r"^## ", page(name), flags=re.MULTILINE)
    (text,) = [one for one in sections if one.startswith(f"{heading}\n")]
    return code_cells(text)


def test_corpus_has_every_reason_of_a_skip() -> None:
    reasons = called_with("BadRecord", 0) | called_with("Fault", 0)
    assert len(reasons) >= 10
    assert cells_below("docs/corpus.md", "Bad records") == reasons


def test_corpus_has_every_suffix_and_layout() -> None:
    text = page("docs/corpus.md")
    assert not [one for one in (*SUFFIXES, *LAYOUTS) if f"`{one}`" not in text]


def test_corpus_has_every_reason_to_leave_a_document_out() -> None:
    section = "RedPajama v2: filter and duplicates"
    assert cells_below("docs/corpus.md", section) >= {"filtered", "duplicate"}


def test_rewriting_has_every_status_and_reason() -> None:
    reasons = called_with("Checked", "reason")
    assert len(reasons) >= 5 and "reason" in Checked.__dataclass_fields__
    assert first_cells("docs/rewriting.md") >= {*STATUSES, *reasons}
    assert first_cells("README.md") >= {"rewrite_status"}
    assert not [one for one in STATUSES if f"`{one}`" not in page("README.md")]


def test_rewriting_and_criteria_have_every_shipped_name_and_variable() -> None:
    templates = {path.stem for path in (ROOT / "rewrite/templates").glob("*.jinja")}
    criteria = {path.stem for path in (ROOT / "judge/criteria").glob("*.yaml")}
    assert first_cells("docs/rewriting.md") >= templates | set(VARIABLES) | {"fence"}
    assert not [name for name in criteria if f"`{name}`" not in page("docs/criteria.md")]


def test_judging_has_every_column_and_status_of_a_judgement() -> None:
    assert first_cells("docs/judging.md") >= set(JUDGEMENT_SCHEMA.names)
    assert not [s for s in get_args(ReadStatus) if f"`{s}`" not in page("docs/judging.md")]


def test_architecture_names_every_module() -> None:
    """A module, or the folder it lies in."""
    text = page("docs/architecture.md")
    for path in (one.relative_to(ROOT) for one in CODE if not one.name.startswith("__")):
        names = (f"`{path.name}`", f"`{path}`", f"/{path.name}`", f"`{path.parent}/`")
        assert any(name in text for name in names), path


def test_judging_has_every_way_to_combine() -> None:
    assert first_cells("docs/judging.md") >= set(get_args(Combine))


def test_the_report_page_has_every_measure_and_corruption() -> None:
    assert first_cells("docs/trusting-a-judge.md") >= {*MEANING, *CORRUPTIONS}


def test_canaries_has_the_size_of_the_suite_and_what_is_counted() -> None:
    attacks = {family: some for family, some in load_suite().attacks.items() if family != CONTROL}
    size = f"plants {sum(map(len, attacks.values()))} such attacks, in {len(attacks)} families"
    assert size in page("docs/trusting-a-judge.md")
    counted = {field.name for field in fields(AttackTally)} - {"low", "high"}
    assert first_cells("docs/trusting-a-judge.md") >= counted
    assert not [name for name in ENCODINGS if f"`{name}`" not in page("docs/trusting-a-judge.md")]


def test_the_readme_has_every_column() -> None:
    measures = [f"quality_{measure}" for measure in MEASURES]
    columns = {name for name, _, _ in describe(["quality"], measures)}
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*?\|", page("README.md"), re.M))))
    assert told >= columns


@pytest.mark.parametrize(
    "model", [manifest.Manifest, manifest.PassInfo, manifest.Input, manifest.File, manifest.Usage,
              manifest.Skip, manifest.Record], ids=lambda model: model.__name__
)  # fmt: skip
def test_shard_format_has_every_field_of_the_manifest(model: type[BaseModel]) -> None:
    text = page("docs/shard-format.md")
    assert not [name for name in model.model_fields if f"`{name}`" not in text]


def test_shard_format_has_every_status_of_a_set() -> None:
    states = get_args(manifest.Manifest.model_fields["status"].annotation)
    assert not [state for state in states if f"`{state}`" not in page("docs/shard-format.md")]


def test_training_has_every_metric_of_an_objective() -> None:
    candidates = Candidates(
        candidate_T=torch.tensor([0, 1]),
        cut_C=torch.tensor([0, 0]),
        kind_C=torch.tensor([0, 1]),
        score_C=torch.tensor([0.0, 1.0]),
        reference_C=torch.tensor([0.0, 0.0]),
        sampled_T=torch.tensor([0.0, 0.0]),
        ids=("a", "a"),
    )
    both = [Nll(kind="nll"), Nll(kind="nll", text="rewrite")]
    loss = Loss([*both, RfNll(kind="rf_nll"), Dpo(kind="dpo"), Grpo(kind="grpo")], online=True)
    _, sums = loss(torch.zeros(2), candidates, loss.counts(candidates))
    text = page("docs/training.md")
    for name in sums:
        whole = name.startswith(("loss", "policy"))
        told = name if whole else name.partition("/")[2]
        assert f"`{told}`" in text, name


def test_online_has_every_metric_and_column() -> None:
    names = {*observe.TOTALS, *observe.MEANS, *kept_pools.COLUMNS.names}
    text = page("docs/online.md")
    assert not [name for name in names if f"`{name}`" not in text and f"`{name}:" not in text]


def test_training_runs_has_every_alert() -> None:
    text = page("docs/training-runs.md")
    assert not [name for name in AlarmsConfig.model_fields if f"`{name}" not in text]


def test_training_has_every_count_of_samples() -> None:
    counted = re.search(r"^COUNTED = (\(.*?\))$", page("train/trainer.py"), re.M | re.S)
    assert counted
    for name in ast.literal_eval(counted[1]):
        assert f"`data/{name}`" in page("docs/training.md"), name


def test_training_has_every_key_that_may_change() -> None:
    assert not [key for key in FREE if f"`{key}`" not in page("docs/training-runs.md")]
