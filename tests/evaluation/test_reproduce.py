"""The paper's tables: the averages that it printed, and what of a recipe is measured."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import prewrite.evaluation.run
import prewrite.evaluation.tasks
import prewrite.evaluation.writing
from prewrite.base.config import load
from prewrite.base.errors import EngineError, InputError, PrewriteError
from prewrite.engine.types import Completion, Request
from prewrite.evaluation import judging
from prewrite.evaluation.ablation import sizes
from prewrite.evaluation.config import EvaluateRecipe
from prewrite.evaluation.reproduce import run as reproducing
from prewrite.evaluation.reproduce.page import markdown
from prewrite.evaluation.reproduce.printed import columns, measured, tables, weighted
from prewrite.evaluation.results import MetricValue, TaskResult, write_results
from prewrite.judge.judge import Judge
from tests.commands import reproduce
from tests.evaluation.scripted import Model
from tests.scripted import Scripted, said

PAPER, TINY = "configs/reproduce/paper.yaml", "configs/reproduce/tiny.yaml"


def rows(title: str) -> dict[str, dict[str, float]]:
    """Model → column → printed value, of the tables whose titles begin so."""
    return {
        row.model: dict(zip(table.columns, row.printed, strict=True))
        for table in tables()
        if table.title.startswith(title)
        for row in table.rows
    }


@pytest.mark.parametrize(
    ("average", "parts", "model", "exact", "printed"),
    [
        ("factuality", "Table 4", "base", 42.28, 42.3),
        ("factuality", "Table 4", "slimpajama-next-token", 44.04, 44.0),
        ("factuality", "Table 4", "factuality", 57.60, 57.6),
        ("safety", "Table 5", "base", 76.87, 76.9),
        ("safety", "Table 5", "safety", 91.10, 91.1),
        ("safety", "Table 5", "next-token", 76.84, 75.5),  # the one that does not recompute
    ],
)
def test_the_inferred_weights_give_the_printed_averages(
    average: str, parts: str, model: str, exact: float, printed: float
) -> None:
    found = weighted(columns()[average].weights, rows(parts)[model])
    assert found == pytest.approx(exact, abs=0.01)
    assert (round(found, 1) == printed) == (model != "next-token")
    wanted = {"factuality": "Table 1: continued, for factuality", "safety": "Table 1: continued, f"}
    assert rows(wanted[average])[model][average] == printed


def test_the_plain_average_of_the_standard_tasks_is_the_printed_one() -> None:
    """Of all six rows of Table 3."""
    printed = rows("Table 24")
    for model, values in rows("Table 3").items():
        assert len(values) == 8
        assert sum(values.values()) / 8 == pytest.approx(printed[model]["standard"], abs=0.051)
    exact = {"base": 47.60, "quality": 50.76}
    for model, mean in exact.items():
        assert sum(rows("Table 3")[model].values()) / 8 == pytest.approx(mean, abs=0.005)


def test_what_is_printed_twice_is_the_same() -> None:
    """But for one value: the paper's Tables 1 and 24 differ in the safety of a baseline."""
    again, differ = rows("Table 24"), set()
    for objective in ("quality", "factuality", "safety"):
        for model, values in rows(f"Table 1: continued, for {objective}").items():
            found = {column: again[model].get(column, value) for column, value in values.items()}
            differ |= {(model, column) for column in values if found[column] != values[column]}
    assert differ == {("slimpajama-next-token", "safety")}


def test_every_table_is_whole_and_its_models_stand_in_the_recipe() -> None:
    models = load(EvaluateRecipe, PAPER).evaluate.models
    for table in tables():
        for row in table.rows:
            assert len(row.printed) == len(table.columns), row.method
            assert row.model in models, row.method
    assert [len(table.rows) for table in tables()] == [3, 3, 4, 4, 6, 3, 3, 13, 7]
    variants = {*rows("Table 2:"), *rows("Table 6")} - {"base"}
    assert {*sizes.variants()} <= variants
    for name in variants:
        assert models[name] == f"runs/ablations/{name}/model"


@pytest.mark.parametrize("path", [PAPER, TINY])
def test_every_column_is_measured_by_the_recipe(path: str) -> None:
    recipe = load(EvaluateRecipe, path)
    evaluate = recipe.evaluate
    standard = yaml.safe_load(Path("configs/eval/standard.yaml").read_text())["metadata"]["average"]
    for name, column in columns().items():
        if column.weights:
            assert {*column.weights} <= {*columns()}
        elif column.task in evaluate.prefixes:
            metric = column.metric.partition(",")[0].removesuffix("_win_rate")
            known = [criterion.name for criterion in recipe.criteria(column.task)]
            assert metric in known or path == TINY, name
        else:
            tasks = evaluate.tasks.names if evaluate.tasks else []
            assert column.task in {*tasks, *standard} or path == TINY, name


def test_the_recipe_evaluates_as_printed() -> None:
    recipe = load(EvaluateRecipe, PAPER)
    evaluate, judge = recipe.evaluate, recipe.evaluate.judge
    assert (evaluate.tokens, evaluate.context_tokens, evaluate.sampled.continuations) == (
        128, 1920, 0,
    )  # fmt: skip
    asked = {one.name: judge.about(one).sampling for one in recipe.criteria("ordinary")}
    asked |= {one.name: judge.about(one).sampling for one in recipe.criteria("unsafe")}
    asked |= {one.name: judge.about(one).sampling for one in recipe.criteria("factscore")}
    assert {name: (one.votes, one.temperature, one.aggregate) for name, one in asked.items()} == {
        "quality": (8, 0.7, "mean"),
        "coherence": (8, 0.7, "mean"),
        "factuality": (8, 0.7, "mean"),
        "faithfulness": (8, 0.7, "mean"),
        "safety": (8, 1.0, "majority"),
    }
    sizes_of = {name: one.cut_points for name, one in evaluate.prefixes.items()}
    weights = {**columns()["safety"].weights, **columns()["factuality"].weights}
    for name, weight in weights.items():
        if columns()[name].task in sizes_of:
            assert sizes_of[columns()[name].task] == weight


def test_a_number_has_its_interval_and_an_average_all_its_parts() -> None:
    results: dict[str, dict[str, Any]] = {
        "prewrite_standard": {"average,none": 0.4, "average_stderr,none": 0.01},
        "ordinary": {
            "quality_win_rate,greedy": 0.6,
            "quality_win_rate_interval,greedy": [0.55, 0.66],
        },
    }
    found = measured("standard", results, {}, False)
    assert found and found.interval == pytest.approx((0.3804, 0.4196))
    found = measured("ordinary", results, {}, False)
    assert found and (found.value, found.interval) == (0.6, (0.55, 0.66))
    assert measured("coherence", results, {}, False) is None
    found = measured("ordinary", {}, {"ordinary": {}}, True)
    assert found and found.value == 0.5
    assert measured("ordinary", {}, {}, True) is None

    safety = {
        columns()[name].task: {"safety,greedy": 0.8, "safety_stderr,greedy": 0.02}
        for name in columns()["safety"].weights
    }
    found = measured("safety", safety, {}, False)
    assert found and found.value == pytest.approx(0.8)
    weights = columns()["safety"].weights.values()
    assert found.stderr == pytest.approx(
        0.02 * sum(one**2 for one in weights) ** 0.5 / sum(weights)
    )
    del safety["toxigen"]
    assert measured("safety", safety, {}, False) is None


def test_a_printed_value_is_never_a_measured_one() -> None:
    page = markdown({}, "base", [], ["model base: gone"])
    lines = [line for line in page.splitlines() if line.startswith("| ") and " printed" not in line]
    assert len(lines) == sum(len(table.rows) for table in tables())
    for line in lines:
        cells = line.strip("| ").split(" | ")[2:]
        assert set(cells[1::2]) == {"not measured"}
    assert "- model base: gone" in page


def judge(request: Request) -> Completion:
    """Sees quality in length, finds one text in three unsafe, and ties the rest."""
    text, verdicts = "".join(request.prompt.user), request.sampling.verdicts
    if "A" in verdicts:
        return said("A", A=float(len(text) % 3 > 0), B=float(len(text) % 3 == 0))
    first, second = (len(text.partition(f"<{tag}>")[2].partition("<")[0]) for tag in TAGS)
    return said("1", "stop", **{"1": float(first > second), "2": float(first <= second)})


TAGS = ("first", "second")


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Models that are functions of their name, and a judge that is one; nobody looks for them."""
    monkeypatch.setattr(prewrite.evaluation.writing, "VllmEngine", Model)
    monkeypatch.setattr(prewrite.evaluation.run, "probe_all", lambda _: None)
    monkeypatch.setattr(reproducing, "probe", lambda _: None)
    monkeypatch.setattr(reproducing, "probe_judges", lambda *_: None)
    monkeypatch.setattr(
        judging, "load_judges", lambda config, *_: [Judge("main", Scripted(judge), config)]
    )
    yield


def tiny(folder: Path, *overrides: str) -> tuple[int, str]:
    """The exit code of the shipped recipe in a folder of its own, and the page."""
    given = [
        f"evaluate.output={folder}/out",
        f"evaluate.leaderboard={folder}/leaderboard.jsonl",
        *overrides,
    ]
    code = reproduce(["--config", TINY, *given])
    page = folder / "out/reproduce.md"
    return code, page.read_text() if page.exists() else ""


def cells(page: str, table: str, method: str) -> list[str]:
    part = page.partition(f"## {table}")[2].partition("## ")[0]
    (line,) = [one for one in part.splitlines() if one.startswith(f"| {method}")]
    return line.strip("| ").split(" | ")[2:]


NO_TASKS = "evaluate.tasks=null"
TWIN = "evaluate.models.quality=models/smollm2-135m-instruct"


def test_what_is_at_hand_is_measured_and_what_comes_later_too(
    tmp_path: Path, scripted: None, capsys: pytest.CaptureFixture[str]
) -> None:
    gone = f"evaluate.prefixes.toxigen.prompts={tmp_path}/later.jsonl"
    absent = f"evaluate.models.quality={tmp_path}/none/model"
    code, page = tiny(tmp_path, NO_TASKS, gone, absent)
    assert code == 0
    shown, told = capsys.readouterr()
    assert (
        "not measured: texts toxigen" in told and f"{tmp_path}/none/model: no such folder" in told
    )
    assert page in shown
    assert "- texts xstest_safe: configs/reproduce/prompts.jsonl, 4 of at most 256\n" in page
    base = cells(page, "Table 1: continued, for quality", "Llama Base")
    assert base[0::2] == ["50.0", "47.6", "50.1"], "printed"
    assert base[1::2] == ["50.0", "not measured", "50.0"], "by definition"
    toxic = cells(page, "Table 5", "Llama Base")
    assert toxic[-1] == "not measured" and "[" in toxic[1]
    own = cells(page, "Table 1: continued, for quality", "Self-Improving")
    assert set(own[1::2]) == {"not measured"}

    (tmp_path / "later.jsonl").write_text('{"kind": "heated", "text": "Later that day"}\n')
    code, page = tiny(tmp_path, NO_TASKS, gone, TWIN)
    assert code == 0
    assert cells(page, "Table 5", "Llama Base")[-1] != "not measured"
    own = cells(page, "Table 1: continued, for quality", "Self-Improving")
    assert own[1].startswith("50.0"), "a model against itself"
    assert cells(page, "Table 1: continued, for safety", "Llama Base")[-1] != "not measured"

    (tmp_path / "later.jsonl").unlink()
    code, again = tiny(tmp_path, NO_TASKS, gone, TWIN)
    assert code == 0 and f"- texts toxigen: {tmp_path}/later.jsonl: no such file" in again
    assert cells(again, "Table 5", "Llama Base") == cells(page, "Table 5", "Llama Base")


@pytest.mark.slow
def test_the_shipped_tasks_are_measured_by_the_harness(
    tmp_path: Path, scripted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By real vLLM and the real harness, in a process of their own."""
    monkeypatch.setattr(prewrite.evaluation.tasks, "probe", lambda _: None)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    nothing = "evaluate.prefixes={gone: {prompts: no.jsonl, criteria: [safety]}}"
    code, page = tiny(tmp_path, nothing, "evaluate.tasks.limit=4")
    assert code == 0 and "- texts gone: no.jsonl: no such file" in page
    base = cells(page, "Table 1: continued, for quality", "Llama Base")
    assert 0 <= float(base[3].partition(" ")[0]) <= 100
    assert "the first 4 documents: a trial only" in page


def test_a_task_without_data_keeps_none_of_the_others(
    tmp_path: Path, scripted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[list[str]]()

    def measure(recipe: EvaluateRecipe) -> None:
        assert recipe.evaluate.tasks
        (name,) = recipe.evaluate.tasks.names
        asked.append([name, recipe.evaluate.output])
        if name == "truthfulqa_mc1":
            raise PrewriteError("task 'truthfulqa_mc1' cannot be set up")
        found = [MetricValue("average", "none", 0.45, 0.01)]
        write_results(recipe.evaluate.output, "base", "m", [TaskResult(name, found, 4, 4)])

    monkeypatch.setattr(prewrite.evaluation.tasks, "run", measure)
    nothing = "evaluate.prefixes={gone: {prompts: no.jsonl, criteria: [safety]}}"
    names = "evaluate.tasks.names=[truthfulqa_mc1, prewrite_standard]"
    code, page = tiny(tmp_path, nothing, names)
    assert code == 0 and "- task truthfulqa_mc1: task 'truthfulqa_mc1' cannot be set up" in page
    assert cells(page, "Table 6", "Llama Base")[5] == "45.0 [43.0, 47.0]"
    assert asked[1] == ["prewrite_standard", f"{tmp_path}/out/prewrite_standard"]


def test_a_judge_that_is_not_there_leaves_the_page(
    tmp_path: Path,
    scripted: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def silent(*_: Any) -> None:
        raise EngineError("the endpoint does not answer")

    monkeypatch.setattr(reproducing, "probe_judges", silent)
    code, page = tiny(tmp_path, NO_TASKS)
    assert code == 1 and "- the judge: the endpoint does not answer" in page
    told = capsys.readouterr().err
    assert "not measured: the judge" in told and "error: nothing was measured; what is n" in told


def test_nothing_at_hand_and_a_dry_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    none = [f"evaluate.models={{base: {tmp_path}/a/b}}"]
    assert reproduce(["--config", TINY, "--dry-run", *none]) == 0
    shown = capsys.readouterr().out
    assert (
        "models: none" in shown and f"not measured: model base: {tmp_path}/a/b: no such f" in shown
    )
    code, page = tiny(tmp_path, *none)
    assert code == 1 and "No model was at hand." in page


def test_damaged_results_have_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    recipe = load(EvaluateRecipe, TINY, [f"evaluate.output={tmp_path}"])
    for text in ("{", "[]", json.dumps({"a": 1})):
        (tmp_path / "results/base.json").write_text(text)
        with pytest.raises(InputError, match=r"results/base\.json: damaged; remove it"):
            dict(reproducing._results(recipe, "base"))
