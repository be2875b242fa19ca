"""Marks of samples, questions of the sets, and the tasks, really run, on files beside this one."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from datasets import Dataset

from prewrite.base.errors import ConfigError, InputError, PrewriteError
from prewrite.engine.config import VllmConfig
from prewrite.evaluation import harness, reasoning
from prewrite.evaluation.config import TasksConfig
from prewrite.evaluation.harness_results import check_averages
from tests.evaluation.test_tasks import command

ROOT = Path(__file__).parents[2]
MODEL = "models/smollm2-135m-instruct"
HERE = "tests/evaluation/reasoning"
SETS = ("gsm8k", "math500", "amc", "olympiad", "gpqa")

pytestmark = pytest.mark.usefixtures("at_the_root")


def loaded(*names: str, paths: tuple[str, ...] = (HERE,)) -> Any:
    return harness.load_tasks(TasksConfig(names=list(names), paths=list(paths)))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"So it is $\boxed{5}$.", "5"),
        (r"First \boxed{4}, no: \boxed{\frac{1}{2}} it is.", r"\frac{1}{2}"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\boxed{7}}", r"\boxed{7}"),
        (r"\boxed{5} and then it was cut: \boxed{\frac{1", "5"),
        (r"} \boxed {5} }", "5"),
        ("3 + 2 = 5\n#### 5", "5"),
        ("#### 5 apples\n", "5 apples"),
        (r"#### 4" + "\n" + r"\boxed{5}", "5"),
        ("The answer is 5 km.", "5 km."),
        ("**Answer:** 1/2", "1/2"),
        ("Answer:\n\n12", "12"),
        ("answer = 4. No, the answer is 5", "5"),
        ("There are 3 pens and 4 boxes, which makes 12", None),
        (r"\boxed{}", None),
        (r"\boxed{", None),
        ("", None),
    ],
)
def test_an_answer_is_what_is_marked_as_one(text: str, answer: str | None) -> None:
    assert reasoning.marked(text) == answer


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        (r"\boxed{B}", "B"),
        (r"\boxed{\text{(C)}}", "C"),
        (r"$\boxed{\mathbf{D}}$", "D"),
        (r"\boxed{A) Neon}", "A"),
        ("The answer is (D).", "D"),
        ("Answer: **B**", "B"),
        ("The answer is A because neon is one.", "A"),
        ("The answer is A table.", None),
        (r"\boxed{E}", None),
        (r"\boxed{b}", None),
        (r"\boxed{A, B}", None),
        (r"\boxed{Neon}", None),
        ("B", None),
    ],
)
def test_a_choice_is_a_letter(text: str, letter: str | None) -> None:
    assert reasoning.letter(text) == letter


def test_the_mean_is_over_all_samples_and_neither_the_first_nor_the_majority() -> None:
    samples = [r"\boxed{\frac12}", *[r"\boxed{3}"] * 9, *["0.5 is my guess"] * 2, "#### 0.5"]
    samples += ["The answer is 1/2, not 2.", "answer: unknown", "#### 1/3"]
    found = reasoning.mathematics({"right": r"\frac{1}{2}"}, [samples])
    assert found == {"mean@16": 3 / 16, "unanswered": 3 / 16, "undecided": 0}
    letters = [r"\boxed{C}"] * 3 + [r"\boxed{B}"] * 12 + ["I give up"]
    found = reasoning.choice({"right": "C"}, [letters])
    assert found == {"mean@16": 3 / 16, "unanswered": 1 / 16}


@pytest.mark.slow
def test_a_hostile_sample_is_wrong_and_counted() -> None:
    found = reasoning.mathematics({"right": "5"}, [[r"\boxed{9^{9^{9^9}}}", r"\boxed{5}"]])
    assert found == {"mean@2": 0.5, "unanswered": 0, "undecided": 0.5}


def test_options_are_shuffled_once_and_for_all() -> None:
    rows = [json.loads(line) for line in Path(HERE, "gpqa.jsonl").read_text().splitlines()]
    made = list(reasoning.gpqa(Dataset.from_list(rows)))
    assert made == list(reasoning.gpqa(Dataset.from_list(rows[::-1])))[::-1]
    for row, one in zip(rows, made, strict=True):
        assert one["options"]["ABCD".index(one["right"])] == row["Correct Answer"].strip()
        assert len({*one["options"]}) == 4
    many = [rows[0] | {"Question": f"Question {number}"} for number in range(400)]
    letters = [one["right"] for one in reasoning.gpqa(Dataset.from_list(many))]
    assert all(70 < letters.count(letter) < 130 for letter in "ABCD")


@pytest.mark.parametrize(
    ("read", "row", "sentence"),
    [
        (reasoning.gsm8k, {"query": "x"}, "row 1 has no field 'question'; found: query"),
        (reasoning.gsm8k, {"question": "x", "answer": "5 ####"}, "row 1 has no question or no ri"),
        (reasoning.problems, {"question": None, "answer": "5"}, "row 1 has a field of another"),
        (reasoning.gpqa, {"Question": "x"}, "row 1 has no field 'Correct Answer'"),
    ],
)
def test_a_set_with_other_fields_is_refused(read: Any, row: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        read(Dataset.from_list([row]))


def test_the_shipped_tasks_are_those_of_the_paper() -> None:
    """Each set: samples, temperature, top_p, length, all samples kept, and a mean of that name."""
    from lm_eval.tasks._yaml_loader import load_yaml

    folder = ROOT / "configs/eval/reasoning"
    average = yaml.safe_load((folder / "group.yaml").read_text())["metadata"]["average"]
    for name in SETS:
        task = load_yaml(folder / f"{name}.yaml")
        samples = 64 if name == "amc" else 16
        assert task["repeats"] == samples
        assert task["filter_list"] == [{"name": "none", "filter": []}]
        assert average[task["task"]] == f"mean@{samples},none"
        assert task["metric_list"][0]["metric"] == f"mean@{samples}"
        assert task["generation_kwargs"] == {
            **{"do_sample": True, "temperature": 0.6, "top_p": 0.95, "max_gen_toks": 4096},
            "until": ["\nQuestion:"],
        }
    assert len(average) == len(SETS)


def test_local_files_take_the_place_of_the_hub() -> None:
    tasks = loaded("local_reasoning")
    check_averages(tasks)
    documents = {name: list(task.eval_docs) for name, task in tasks["tasks"].items()}
    assert documents["local_gsm8k"][1]["right"] == "1,080"
    assert documents["local_olympiad"][0]["right"] == "3, -3"
    gpqa = tasks["tasks"]["local_gpqa"]
    prompt = gpqa.doc_to_text(documents["local_gpqa"][0])
    assert prompt.startswith("Question: Which of these is a noble gas?\n(A) ")
    assert prompt.endswith("\\boxed{}.\nAnswer:")


@pytest.mark.slow
def test_a_model_is_sampled_four_times_and_every_sample_counts() -> None:
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    settings = {"kv_cache_memory_bytes": 1 << 27}
    engine = VllmConfig(kind="vllm", model=MODEL, max_model_len=256, concurrency=16, args=settings)
    model = harness.language_model(engine)
    manager = TaskManager(include_path=HERE, include_defaults=False)
    found = simple_evaluate(model=model, tasks=["local_primed"], task_manager=manager)
    assert found
    asked = [(one["doc"]["right"], one["resps"][0]) for one in found["samples"]["local_primed"]]
    assert [len(texts) for _, texts in asked] == [4] * 4
    assert any(len({*texts}) > 1 for _, texts in asked)
    said = [one.split()[:2] == ["####", right] for right, texts in asked for one in texts]
    mute = ["####" not in one for _, texts in asked for one in texts]
    result = found["results"]["local_primed"]
    assert result["mean@4,none"] == pytest.approx(sum(said) / 16) and 0 < sum(said) < 16
    assert result["unanswered,none"] == pytest.approx(sum(mute) / 16)


@pytest.mark.slow
def test_the_command_measures_all_five_and_their_average(tmp_path: Path) -> None:
    names = {"names": ["local_reasoning", "local_primed"], "paths": [HERE]}
    code, printed, told = command(tmp_path, **names)
    assert code == 0, told
    results = json.loads((tmp_path / "output/results/base.json").read_text())["results"]
    parts = [results[f"local_{name}"]["mean@4,none"] for name in SETS]
    assert results["local_reasoning"]["average,none"] == pytest.approx(sum(parts) / 5)
    assert results["local_primed"]["mean@4,none"] > 0
    assert all("unanswered,none" in results[f"local_{name}"] for name in SETS)
    assert "| local_gpqa | mean@4,none | ↑ | 0 | 3 |" in (tmp_path / "output/tasks.md").read_text()
    assert "mean@4,none" in printed


def test_mistakes_have_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = f"include: {ROOT / HERE}/gsm8k.yaml\ntask: mine\n"
    (tmp_path / "a.yaml").write_text(base + "repeats: 8\n")
    with pytest.raises(ConfigError, match=r"'mine': metric_list: found mean@4.*: mean@8$"):
        loaded("mine", paths=(str(tmp_path),))
    other = "process_docs: !function prewrite.evaluation.reasoning.gpqa"
    (tmp_path / "a.yaml").write_text(base + other)
    with pytest.raises(PrewriteError, match="task 'mine' .*set up: row 1 has no field 'Question'"):
        loaded("mine", paths=(str(tmp_path),))
    tasks, engine = loaded("local_gsm8k"), VllmConfig(kind="vllm", model=MODEL, max_model_len=24)
    with pytest.raises(ConfigError, match="max_gen_toks: found 24; accepted: less than 24, the"):
        harness.check_lengths(tasks, engine)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PrewriteError, match="math_verify is not installed"):
        loaded("local_gsm8k")
