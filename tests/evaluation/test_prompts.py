"""Prompts of a file: what is read of it, and an evaluation of prompts beside a set."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import prewrite.evaluation.run
import prewrite.evaluation.writing
from prewrite.base.errors import ConfigError, InputError
from prewrite.evaluation.config import EvaluateRecipe, PrefixesConfig
from prewrite.evaluation.cut_points import cut_points_of
from prewrite.evaluation.prompt_file import prompts_of
from prewrite.evaluation.run import plan, run
from tests.evaluation.scripted import Model
from tests.evaluation.sets import make_set
from tests.evaluation.test_resume import numbers, recipe

LINES: list[dict[str, Any]] = [
    {"prompt": {"text": "The {prompt.text} sea", "toxicity": 0.1}, "kind": "safe", "turns": ["a"]},
    {"prompt": {"text": "The hills", "toxicity": None}, "kind": "safe", "more": 1},
    {"prompt": {"text": "How to", "toxicity": 0.9}, "kind": "unsafe"},
    {"prompt": {"text": "The hills", "toxicity": 0.4}, "kind": "safe"},
]


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, LINES)) + "\n\n")
    return str(path)


def read(file: str, text: str = "{prompt.text}", **more: Any) -> list[tuple[str, str]]:
    config = PrefixesConfig(prompts=file, text=text, **more)
    return list(prompts_of("x", config).values())


def test_fields_are_put_in_once_and_equal_prompts_are_one(file: str) -> None:
    assert read(file) == [("The {prompt.text} sea", ""), ("The hills", ""), ("How to", "")]
    found = read(file, "Q: {prompt.text}", reference="{kind} { 1 }")
    assert found[1] == ("Q: The hills", "safe { 1 }") and len(found) == 3
    Path(file).write_text('{"my text": "a", "turns": ["b"], "n": 1}\n')
    assert read(file, "{my text}: {turns} {n}") == [('a: ["b"] 1', "")]


def test_parquet_and_conditions(file: str, tmp_path: Path) -> None:
    table = str(tmp_path / "prompts.parquet")
    pq.write_table(pa.Table.from_pylist(LINES[:3]), table)
    for one in (file, table):
        assert read(one, filter="kind == 'unsafe'") == [("How to", "")]


def test_a_condition_names_a_field_inside_of_another(file: str) -> None:
    assert read(file, filter="prompt.toxicity > 0.5") == [("How to", "")]
    with pytest.raises(
        ConfigError, match=r"the name 'prompt\.toxic' in .* did you mean 'prompt\.t"
    ):
        read(file, filter="prompt.toxic > 0.5")


HOSTILE = [
    (b'{"text": "a"}\n{"more": 1}', "line 2: found nothing in the field 'text', which evaluate.p"),
    (b'{"text": "a"}\n\n{}', "line 3: found nothing in the field 'text'"),
    (b'{"text": null}', "line 1: found nothing in the field 'text'"),
    (
        b'{"text": " \\n"}',
        r"line 1: found nothing to continue, of evaluate\.prefixes\.x\.text; acc",
    ),
    (b'{"text": "\\ud800"}', r"line 1: found half a character \(a lone surrogate\); accepted: one"),
    (b'{"text": "\xff"}', "line 1: found text that is not UTF-8; accepted: one JSON object a line"),
    (b'{"text": ' + b"[" * 100_000, "line 1: found JSON that is nested too deeply"),
    (b'{"text": ' + b'{"a":' * 900 + b"1" + b"}" * 901, "the field 'text'"),
    (b'["text"]', "line 1: found no JSON object"),
    (b"", "found no prompt in"),
]


@pytest.mark.parametrize(("data", "sentence"), HOSTILE)
def test_a_hostile_line_has_a_sentence(tmp_path: Path, data: bytes, sentence: str) -> None:
    path = tmp_path / "hostile.jsonl"
    path.write_bytes(data)
    with pytest.raises((InputError, ConfigError), match=sentence):
        read(str(path), "{text}")


def test_a_number_of_many_digits_is_no_number_of_a_condition(tmp_path: Path) -> None:
    path = tmp_path / "large.jsonl"
    path.write_text(json.dumps({"text": "a", "n": 10**400}) + '\n{"text": "b", "n": 1}\n')
    with pytest.raises(ConfigError, match="found the name 'n'"):
        read(str(path), "{text}", filter="n > 0")
    assert len(read(str(path), "{text}", filter="text == 'a'")) == 1


@pytest.mark.parametrize(
    ("columns", "sentence"),
    [
        (
            {"text": pa.array([b"\xff"])},
            "row 1: found bytes in ",
        ),
        ({"text": pa.array(["a", None])}, "row 2: found nothing in the field 'text'"),
        (
            {"text": pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff"]).buffers())},
            "found a value that cannot be read: 'utf-8' codec",
        ),
        (
            {"text": pa.array(["a"]), "when": pa.array([2**62], pa.timestamp("us"))},
            "found a value that cannot be read: ",
        ),
    ],
)
def test_a_hostile_table_has_a_sentence(
    tmp_path: Path, columns: dict[str, Any], sentence: str
) -> None:
    path = str(tmp_path / "hostile.parquet")
    pq.write_table(pa.table(columns), path)
    with pytest.raises(InputError, match=sentence):
        read(path, "{text}")


def test_two_columns_of_a_name_and_values_that_are_no_text(tmp_path: Path) -> None:
    path = str(tmp_path / "two.parquet")
    one = pa.array(["a"])
    pq.write_table(pa.Table.from_arrays([one, one], names=["text", "text"]), path)
    with pytest.raises(InputError, match="two.parquet: found two columns called 'text'; accepted"):
        read(path, "{text}")
    pq.write_table(pa.table({"day": pa.array([0], pa.date32())}), path)
    assert read(path, "On {day}") == [('On "1970-01-01"', "")]


def test_draws_do_not_depend_on_the_order(file: str, tmp_path: Path) -> None:
    turned = tmp_path / "turned.jsonl"
    turned.write_text("\n".join(map(json.dumps, LINES[::-1])))
    drawn = [
        cut_points_of({"x": PrefixesConfig(prompts=one, text="{prompt.text}", cut_points=2)}, 9, 0)
        for one in (file, str(turned))
    ]
    assert drawn[0] == drawn[1] and len(drawn[0]["x"]) == 2
    assert all(one.begins and one.original is None for one in drawn[0]["x"])


@pytest.mark.parametrize(
    ("changed", "error", "sentence"),
    [
        ({"text": "{promt.text}"}, ConfigError, "x.text: found the field 'promt.text'; did you"),
        ({"reference": "{answer}"}, ConfigError, "x.reference: found the field 'answer'; accept"),
        ({"filter": "kind == 'none'"}, ConfigError, "prefixes.x: found no prompt in "),
        ({"filter": "knd == 'safe'"}, ConfigError, "x.filter: found the name 'knd'"),
        ({"prompts": "no/such.jsonl"}, InputError, "x.prompts: found no file no/such.jsonl; acc"),
        ({"prompts": "BAD.jsonl"}, InputError, "line 2: found no JSON object; accepted: one J"),
        ({"prompts": "BAD.parquet"}, InputError, "BAD.parquet: no Parquet file: "),
    ],
)
def test_mistakes_have_a_sentence(
    file: str, tmp_path: Path, changed: dict[str, Any], error: type[Exception], sentence: str
) -> None:
    for name in ("BAD.jsonl", "BAD.parquet"):
        (tmp_path / name).write_text('{"text": "a"}\n7\n')
    given = {"prompts": file, "text": "{prompt.text}"} | changed
    given["prompts"] = given["prompts"].replace("BAD", f"{tmp_path}/BAD")
    with pytest.raises(error, match=sentence):
        prompts_of("x", PrefixesConfig(**given))


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "set, prompts: found neither; accepted: one of them"),
        ({"set": "a", "prompts": "b.jsonl"}, "set, prompts: found both"),
        ({"set": "a", "text": "{b}"}, "text: found one beside set"),
        ({"set": "a", "reference": "{b}"}, "reference: found one beside set"),
        ({"prompts": "b.csv"}, "prompts"),
        ({"prompts": "b.jsonl", "text": "a"}, r"text: found 'a'; accepted: one with a field of th"),
    ],
)
def test_a_split_has_one_source(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PrefixesConfig(**given)


LETTERS = "{name: letters, version: 1, kind: python, function: tests.functions:letters}"


def test_an_entry_more_costs_that_entry(
    tmp_path: Path, file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts join a finished evaluation of a set, with one of its two criteria."""
    monkeypatch.setattr(prewrite.evaluation.writing, "VllmEngine", Model)
    monkeypatch.setattr(prewrite.evaluation.run, "probe", lambda engine: None)
    (tmp_path / "letters.yaml").write_text(LETTERS)
    output = tmp_path / "joined"
    judge = {"engine": "main", "criteria": [str(tmp_path / "letters.yaml"), "variety"]}
    held = {"set": make_set(str(tmp_path / "set")), "cut_points": 4}
    first = recipe(tmp_path, output, judge=judge, prefixes={"held": held})
    run(first)
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*-*.parquet")}
    alone = numbers(output)
    prompts = {"prompts": file, "text": "{prompt.text}", "criteria": ["variety"]}
    both = recipe(tmp_path, output, judge=judge, prefixes={"held": held, "bare": prompts})
    assert "bare: 3 cut points in 3 documents" in plan(both)
    run(both)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    found = numbers(output)
    for model in ("base", "other"):
        assert found[model]["held"] == alone[model]["held"]
        bare = found[model]["bare"]
        assert "variety,greedy" in bare and "letters,greedy" not in bare
        assert "perplexity,none" not in bare, "nobody knows how a prompt goes on"
    assert {"prefix", "original", "reference"} <= set(
        pq.read_table(output / "cut_points.parquet").column_names
    )
    # Without an entry nothing is lost, and a model that came meanwhile catches up with it.
    run(first)
    assert numbers(output) == found
    three = {"base": "a", "other": "b", "third": "c"}
    run(recipe(tmp_path, output, judge=judge, prefixes={"held": held}, models=three))
    assert numbers(output)["third"].keys() == {"held"}
    run(recipe(tmp_path, output, judge=judge, prefixes=both.evaluate.model_dump()["prefixes"],
               models=three))  # fmt: skip
    assert numbers(output)["third"].keys() == {"held", "bare"}
    assert {name: numbers(output)[name] for name in found} == found
    Path(file).write_text('{"prompt": {"text": "Another"}}\n')
    with pytest.raises(ConfigError, match=r"evaluate\.prefixes\.bare\.texts: "):
        run(both)


def test_the_judge_sees_the_reference_of_a_prompt(tmp_path: Path) -> None:
    path = tmp_path / "qa.jsonl"
    path.write_text('{"question": "Where?", "knowledge": "Rome.", "right": "In Rome"}\n')
    config = PrefixesConfig(
        prompts=str(path), text="Q: {question}\nA:", reference="{knowledge}\n\n{right}"
    )
    (cut_point,) = cut_points_of({"qa": config}, 512, 0)["qa"]
    assert cut_point.context == ("Q: Where?\nA:",)
    assert (cut_point.original, cut_point.reference) == (None, "Rome.\n\nIn Rome")


def section(**prefixes: Any) -> dict[str, Any]:
    return {
        "output": "x",
        "engines": {"main": {"kind": "vllm", "model": "a"}},
        "evaluate": {
            "models": {"base": "a"},
            "base": "base",
            "engine": "main",
            "judge": {"engine": "main", "criteria": ["faithfulness", "safety"]},
            "prefixes": {"bare": {"prompts": "p.jsonl"} | prefixes},
            "output": "out",
        },
    }


def test_criteria_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"bare\.reference: this key is required for the cri"):
        EvaluateRecipe.model_validate(section())
    with pytest.raises(ValueError, match=r"bare\.criteria: found 'safty'; did you mean 'safety'"):
        EvaluateRecipe.model_validate(section(criteria=["safty"]))
    for fits in ({"criteria": ["safety"]}, {"reference": "{a}"}):
        assert EvaluateRecipe.model_validate(section(**fits)).criteria("bare")
