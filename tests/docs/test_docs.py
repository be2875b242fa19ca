"""The docs say what the code does: examples run, links resolve, nothing that has a name is missing.

Each check reads the names out of the code, so a new key, status or error fails here until a page
tells what it is.
"""

import ast
import dataclasses
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any, get_args

import datasets
import pytest
import torch
import yaml
from pydantic import BaseModel

import prewrite
from prewrite.base import errors
from prewrite.base.config import SECTIONS, parse_yaml
from prewrite.commands import app
from prewrite.evaluation.config import EvaluateRecipe
from prewrite.judge.combine import Combine
from prewrite.judge.config import JudgeRecipe
from prewrite.judge.criteria import load_criterion
from prewrite.judge.measure.canaries import CONTROL, ENCODINGS, AttackTally, load_suite
from prewrite.judge.measure.corruptions import CorruptionKind
from prewrite.judge.measure.report import MEANING
from prewrite.judge.readout import ReadStatus
from prewrite.prompts.checks import Checked
from prewrite.prompts.load import VARIABLES, RewriteTemplate
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.files import SUFFIXES
from prewrite.rewrite.layouts import LAYOUTS
from prewrite.shards import manifest
from prewrite.shards.parts import Part
from prewrite.shards.schema import JUDGEMENT_SCHEMA, MEASURES, STATUSES, columns_of
from prewrite.train.advantages import advantages
from prewrite.train.config.phases import Dpo, Grpo, Nll, RfNll
from prewrite.train.config.recipe import TrainRecipe
from prewrite.train.config.sections import AlertsConfig
from prewrite.train.data.rows import Candidates
from prewrite.train.objectives import Loss
from prewrite.train.online import kept_pools, observe
from prewrite.train.state import FREE
from prewrite.train.tasks import probed
from scripts.pages import GENERATED
from scripts.reference import api, configuration
from scripts.reference.commands import EXAMPLES, GROUPS, real_help
from tests.docs.shell import environment

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = [path for floor in ("base", "shards", "engine", "pipeline", "judge", "prompts", "rewrite",
                           "train", "evaluation")
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
    expected = json.loads((at_work / "data/quickstart/_prewrite/manifest.json").read_text())["rows"]
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
    template = RewriteTemplate("example", text, VARIABLES, needed=("text",))
    assert "</passage-7>" in template.render({name: name for name in VARIABLES}, "-7")[-1]


@pytest.mark.parametrize("text", blocks("sh"))
def test_overrides_in_shell_examples_are_keys(text: str) -> None:
    known = {key.replace("engines.NAME", "engines.main") for key in documented_keys()} | {"output"}
    others = "PREWRITE_DEVICE=|--rdzv-conf \\S+"  # of make and of torchrun
    for key in re.findall(r"\b([a-z_]+(?:\.[a-z_]+)*)=\S", re.sub(others, "", text)):
        # A section, or a list of them, is given as a whole.
        of_a_judge = re.sub(r"^(?:train\.rollouts|evaluate)\.judge\.", "judge.", key)
        found = any(f"{k}.".startswith(f"{of_a_judge}.") for k in known)
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
    """Those that are read; what is looked up in a reference is found by its headings."""
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in PAGES}
    references = {*GENERATED, "docs/errors.md"}
    assert not {n: lines for n, lines in lengths.items() if lines > 200 and n not in references}


def test_pages_name_no_place_of_one_machine() -> None:
    for path in PAGES:
        assert not re.search(r"/(work|tmp|root|home|opt)/", path.read_text()), path.name


# Configuration: every key has a sentence, and every shipped recipe is one by the schema.


ALL_RECIPES: tuple[type[BaseModel], ...] = (*configuration.RECIPES, JudgeRecipe)


def documented_keys() -> set[str]:
    return set(re.findall(r"^\| `([\w.]+)` \|", page("docs/configuration.md"), re.MULTILINE))


def models(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for section in configuration.sections_of(field.annotation):
            yield from models(section)


def test_every_key_and_section_has_a_sentence() -> None:
    found = {one for recipe in ALL_RECIPES for one in models(recipe)}
    assert len(found) > 30
    for model in found:
        assert model.__doc__
        for name, field in model.model_fields.items():
            inner = configuration.sections_of(field.annotation)
            assert inner or field.description, f"{model.__name__}.{name}"


def test_configuration_has_every_section() -> None:
    for recipe in ALL_RECIPES:
        assert set(recipe.model_fields) <= set(SECTIONS)
    assert {key.partition(".")[0] for key in documented_keys()} == {*SECTIONS}


RECIPES = sorted((ROOT / "configs").glob("*.yaml")) + sorted((ROOT / "configs/ablations").glob("*"))


def schema_errors(recipe: Any) -> list[str]:
    validators = pytest.importorskip("jsonschema.validators")
    validator = validators.Draft202012Validator(json.loads(page("configs/schema.json")))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(recipe)]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.name)
def test_a_shipped_recipe_names_the_schema_and_fits_it(path: Path) -> None:
    first, text = path.read_text().split("\n", 1)
    schema = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert schema and (path.parent / schema[1]).resolve() == ROOT / "configs/schema.json"
    assert schema_errors(parse_yaml(text)) == []


@pytest.mark.parametrize(
    "override",
    [
        {"rewrit": {}},
        {"judge": {"sampling": {"vote": 5}}},
        {"engines": {"main": {"kind": "vlm"}}},
        {"train": {"curriculum": [{"objective": "sft"}]}},
        {"chunking": {"tokens": 0}},
    ],
    ids=str,
)
def test_the_schema_finds_a_mistake(override: Any) -> None:
    assert schema_errors(override)


# Commands: the real help.


def shards_command(arguments: list[str]) -> int:
    from tests.commands import shards as main

    return main(arguments)


@pytest.mark.parametrize("name", GENERATED)
def test_what_is_generated_is_what_would_be(name: str) -> None:
    """`python -m scripts.pages` renews it."""
    assert page(name) == GENERATED[name]()


def test_asking_for_help_leaves_no_trace_in_this_process() -> None:
    before = sys.argv, os.environ.get("COLUMNS"), os.environ.get("NO_COLOR")
    real_help("shards show")
    assert before == (sys.argv, os.environ.get("COLUMNS"), os.environ.get("NO_COLOR"))


def test_every_command_is_in_one_group_and_has_a_line_to_try() -> None:
    known = sorted(str(command.name) for command in app.registered_commands)
    assert known == sorted(name for group in GROUPS.values() for name in group)
    assert known == sorted(EXAMPLES)


def test_coming_from_0_1_names_commands_and_modules_that_are_there() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| `([^`]+)`", page("docs/from-0.1.md"), re.MULTILINE)
    new = [name for _, name in rows]
    since = {"shards remove", "shards upgrade", "evaluate prefixes", "reproduce"}
    since |= {"judge calibrate", "evaluate thoughts", "improve", "train pools"}
    assert {name.removeprefix("prewrite ") for name in new} >= set(EXAMPLES) - since
    modules = [name for name in new if name.startswith("prewrite.")]
    assert len(modules) > 10 and all(find_spec(name) for name in modules)
    top = [old.removeprefix("python -m ").partition(" ")[0].partition(".")[0] for old, _ in rows]
    assert {"shards", "judge", "rewrite", "train", "evaluation"} <= set(top)


def test_every_command_is_listed_with_its_whole_first_sentence() -> None:
    assert "..." not in real_help("").partition("Commands:")[2]


def test_the_api_page_has_every_name_that_is_exported() -> None:
    assert sorted(api.TITLES) == sorted(prewrite.__all__)


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
    """Those of the page of errors."""
    cells = re.findall(r"^\| (`.*?) \| [^|]* \|$", page("docs/errors.md"), re.MULTILINE)
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
    templates = {path.stem for path in (ROOT / "prompts/templates").glob("*.jinja")}
    criteria = {path.stem for path in (ROOT / "judge/criteria").glob("*.yaml")}
    assert first_cells("docs/rewriting.md") >= templates | set(VARIABLES) | {"fence"}
    assert not [name for name in criteria if f"`{name}`" not in page("docs/criteria.md")]


def test_judging_has_every_column_and_status_of_a_judgement() -> None:
    assert first_cells("docs/judging.md") >= set(JUDGEMENT_SCHEMA.names)
    assert not [s for s in get_args(ReadStatus) if f"`{s}`" not in page("docs/judging.md")]


def test_architecture_names_every_room_in_one_line() -> None:
    rows = re.findall(r"^\| `([\w/]+/)` \| [^|\n]+ \|$", page("docs/architecture.md"), re.MULTILINE)
    rooms = {f"{path.parent.relative_to(ROOT)}/" for path in CODE}
    assert len(rows) == len(set(rows)) and set(rows) == rooms | {"judge/criteria/"}


def test_the_modules_on_the_ways_of_data_exist() -> None:
    text = page("docs/architecture.md")
    for words in re.findall(r"^    \S.*?  +([a-z][\w/, ]+?)(?:, with.*)?$", text, re.MULTILINE):
        folder = ""
        for name in re.split(r", | or ", words):
            folder, _, module = name.rpartition("/") if "/" in name else (folder, "", name)
            assert (ROOT / folder / f"{module}.py").exists() or (ROOT / folder / module).is_dir(), (
                name
            )


def test_judging_has_every_way_to_combine() -> None:
    assert first_cells("docs/judging.md") >= set(get_args(Combine))


def test_the_report_page_has_every_measure_and_corruption() -> None:
    assert first_cells("docs/trusting-a-judge.md") >= {*MEANING}
    assert first_cells("docs/training-models.md") >= {*get_args(CorruptionKind)}


def test_canaries_has_the_size_of_the_suite_and_what_is_counted() -> None:
    attacks = {family: some for family, some in load_suite().attacks.items() if family != CONTROL}
    size = f"plants {sum(map(len, attacks.values()))} such attacks, in {len(attacks)} families"
    assert size in page("docs/trusting-a-judge.md")
    counted = {field.name for field in fields(AttackTally)} - {"low", "high"}
    assert first_cells("docs/trusting-a-judge.md") >= counted
    assert not [name for name in ENCODINGS if f"`{name}`" not in page("docs/trusting-a-judge.md")]


def test_the_readme_has_every_column() -> None:
    measures = [f"quality_{measure}" for measure in MEASURES]
    columns = {name for name, _, _ in columns_of(["quality"], measures)}
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| `.*?\|", page("README.md"), re.M))))
    assert told >= columns


@pytest.mark.parametrize(
    "model", [manifest.Manifest, manifest.PassInfo, manifest.Input, manifest.LogFile,
              manifest.Usage, manifest.Skip, manifest.Removed, manifest.Record],
    ids=lambda model: model.__name__
)  # fmt: skip
def test_shard_format_has_every_field_of_the_manifest(model: type[BaseModel]) -> None:
    text = page("docs/shard-format.md")
    assert not [name for name in model.model_fields if f"`{name}`" not in text]


def test_shard_format_has_every_column_of_the_log() -> None:
    text = page("docs/shard-format.md")
    assert not [one.name for one in dataclasses.fields(Part) if f"`{one.name}`" not in text]


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
    (candidates,) = advantages([candidates], Grpo(kind="grpo"))
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


def test_training_models_has_every_measure_of_a_probe() -> None:
    canaries = re.findall(r'"(canary_[a-z_]+)":', page("train/tasks/canaries.py"))
    text = page("docs/training-models.md")
    assert len(canaries) == 5
    for name in {*probed.REWRITING, *probed.JUDGING, *canaries}:
        assert f"`probe/{name}`" in text, name


def test_training_runs_has_every_alert() -> None:
    text = page("docs/training-runs.md")
    assert not [name for name in AlertsConfig.model_fields if f"`{name}" not in text]


def test_training_has_every_count_of_samples() -> None:
    counted = re.search(r"^COUNTED = (\(.*?\))$", page("train/trainer.py"), re.M | re.S)
    assert counted
    for name in ast.literal_eval(counted[1]):
        assert f"`data/{name}`" in page("docs/training.md"), name


def test_training_has_every_key_that_may_change() -> None:
    assert not [key for key in FREE if f"`{key}`" not in page("docs/training-runs.md")]
