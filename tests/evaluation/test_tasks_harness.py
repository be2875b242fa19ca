"""The harness's vLLM class with our settings, against its `hf` class on the same task files."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from prewrite.base.errors import ConfigError, PrewriteError
from prewrite.engine.config import VllmConfig
from prewrite.evaluation import harness
from prewrite.evaluation.config import TasksConfig
from prewrite.evaluation.harness_results import check_averages, tasks_of

ROOT = Path(__file__).parents[2]
MODEL = "models/smollm2-135m-instruct"
PATHS = ["tests/evaluation/tasks"]
FOREIGN = "{metric: bertscore, aggregation: mean, higher_is_better: true}"

pytestmark = pytest.mark.usefixtures("at_the_root")


def config(*names: str, paths: list[str] = PATHS, **more: Any) -> TasksConfig:
    return TasksConfig(names=list(names), paths=paths, **more)


def measured(model: Any) -> dict[str, Any]:
    """Results with every single answer."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=PATHS, include_defaults=False)
    names: list[Any] = ["local_choice", "local_generate", "local_rolling"]
    found = simple_evaluate(model=model, tasks=names, task_manager=manager)
    assert found
    return dict(found)


@pytest.fixture(scope="module")
def both() -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """The model in vLLM, what it finds, and what transformers finds."""
    from lm_eval.models.huggingface import HFLM

    settings = {"kv_cache_memory_bytes": 1 << 27}
    ours = harness.language_model(
        VllmConfig(kind="vllm", model=MODEL, max_model_len=256, concurrency=16, args=settings)
    )
    theirs = HFLM(pretrained=MODEL, dtype="float32", device="cpu", batch_size=8)
    return ours, measured(ours), measured(theirs)


def likelihoods(found: dict[str, Any], task: str) -> list[float]:
    answers = [answer for one in found["samples"][task] for answer in one["resps"]]
    return [answer[0][0] if isinstance(answer[0], tuple) else answer[0] for answer in answers]


@pytest.mark.slow
def test_likelihoods_are_those_of_transformers(both: Any) -> None:
    _, ours, theirs = both
    for task, number in (("local_choice", 24), ("local_rolling", 3)):
        found = likelihoods(ours, task)
        assert len(found) == number and max(found) < 0
        assert found == pytest.approx(likelihoods(theirs, task), abs=1e-3)


@pytest.mark.slow
def test_greedy_answers_and_every_metric_are_those_of_transformers(both: Any) -> None:
    _, ours, theirs = both
    greedy = [[answer[0][1] for answer in one["resps"]] for one in ours["samples"]["local_choice"]]
    assert greedy == [
        [answer[0][1] for answer in one["resps"]] for one in theirs["samples"]["local_choice"]
    ]
    assert {True, False} == {one for line in greedy for one in line}
    for task, values in theirs["results"].items():
        numbers = {key: value for key, value in values.items() if isinstance(value, float)}
        assert numbers
        assert {key: ours["results"][task][key] for key in numbers} == pytest.approx(
            numbers, rel=1e-3
        )


@pytest.mark.slow
def test_shots_and_limit_reach_the_harness_and_a_group_has_its_average(both: Any) -> None:
    some = config("local", shots=0, limit=3)
    loaded = harness.load_tasks(some)
    check_averages(loaded)
    tasks = {task.name: task for task in tasks_of(harness.measure(both[0], loaded, some), loaded)}
    assert {name: task.documents for name, task in tasks.items()} == {
        "local": 6,
        "local_choice": 3,
        "local_generate": 3,
    }
    assert (tasks["local_choice"].config or {})["num_fewshot"] == 0
    told = {f"{m.metric},{m.filter}": m for name in tasks for m in tasks[name].measures}
    parts = [told["acc_norm,none"], told["exact_match,first-number"]]
    assert told["average,none"].value == pytest.approx(sum(m.value or 0 for m in parts) / 2)
    squares = sum((m.stderr or 0) ** 2 for m in parts)
    assert told["average,none"].stderr == pytest.approx(squares**0.5 / 2)
    assert told["acc_norm,none"].better is True


def test_the_standard_group_is_the_printed_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight values of acc, MMLU with five shots; every task is in the installed harness."""
    from lm_eval.api.group import Group
    from lm_eval.tasks import TaskManager, _factory

    manager, made = TaskManager(include_path="configs/eval"), dict[str, dict[str, Any]]()
    names = list(harness.leaves(manager.task_index, ["prewrite_standard"]))
    assert len(names) == 7 + 57 and not [n for n in names if n not in manager.task_index]
    monkeypatch.setattr(
        _factory, "ConfigurableTask", lambda config: made.update({config["task"]: config})
    )
    monkeypatch.setattr(Group, "add", lambda *_: None)
    manager._load_spec("prewrite_standard")  # without data, which are not here
    assert {*made} == {*names}
    for name, task in made.items():
        assert task.get("num_fewshot") == (5 if name.startswith("mmlu_") else None)
        assert "acc" in [metric["metric"] for metric in task["metric_list"]]
    group = yaml.safe_load((ROOT / "configs/eval/standard.yaml").read_text())
    averaged = group["metadata"]["average"]
    assert {*averaged.values()} == {"acc,none"} and len(averaged) == 8
    assert [*averaged] == [one if isinstance(one, str) else one["group"] for one in group["task"]]


@pytest.mark.parametrize(
    ("files", "names", "sentence"),
    [
        ({}, ["local_chioce"], r"found 'local_chioce'; did you mean 'local_choice'\? accepted"),
        ({"a.yaml": "task: [a"}, ["a"], r"a\.yaml: not a task file: while parsing"),
        ({"g.yaml": "group: g\ntask: [no_such_task]"}, ["g"], "found 'no_such_task'"),
        (
            {"a.yaml": "{task: a, dataset_path: json, dataset_kwargs: {data_files: no.jsonl}}"},
            ["a"],
            r"task 'a' \(data set json\) cannot be set up: Unable to find .*no\.jsonl",
        ),
        (
            {"a.yaml": f"{{include: CHOICE, task: a, metric_list: [{FOREIGN}]}}"},
            ["a"],
            "task 'a': metric 'bertscore' is none of lm-eval's own",
        ),
        ({"a.yaml": "{include: CHOICE, task: a, unsafe_code: true}"}, ["a"], "task 'a' runs prog"),
        (
            {"g.yaml": "{group: g, task: [{task: local_choice}], metadata: {average: {b: 'a,b'}}}"},
            ["g"],
            "group 'g': metadata.average: found 'b'; accepted",
        ),
    ],
)
def test_mistakes_have_a_sentence(
    files: dict[str, str], names: list[str], sentence: str, tmp_path: Path
) -> None:
    choice = str(ROOT / "tests/evaluation/tasks/choice.yaml")
    for name, text in files.items():
        (tmp_path / name).write_text(text.replace("CHOICE", choice))
    with pytest.raises(PrewriteError, match=sentence) as told:
        check_averages(harness.load_tasks(config(*names, paths=[*PATHS, str(tmp_path)])))
    assert len(str(told.value).splitlines()) == 1


def test_data_out_of_reach_have_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    (tmp_path / "a.yaml").write_text("{task: a, dataset_path: someone/set, dataset_name: part}")
    (tmp_path / "g.yaml").write_text("{group: g, task: [local_choice, a]}")
    with pytest.raises(PrewriteError, match=r"task 'a' \(data set someone/set part\).*fill the"):
        harness.load_tasks(config("g", paths=[*PATHS, str(tmp_path)]))


def test_a_folder_that_is_none_and_a_harness_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match="paths: found 'no-such'; accepted: a folder"):
        harness.load_tasks(config("local", paths=["no-such"]))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PrewriteError, match=r"lm_eval is not installed.*prewrite\[eval\]"):
        harness.version()
