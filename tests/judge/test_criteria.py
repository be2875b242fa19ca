"""Criteria are data: shipped ones are sound, a user's wrong one is one sentence."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from base.errors import ConfigError
from engine.encoding import PromptEncoder
from judge.criteria import load_criterion

GOOD: dict[str, Any] = {
    "name": "clarity",
    "version": 1,
    "kind": "pointwise",
    "verdicts": {"A": 1, "B": 0.5},
    "answer": "Verdict: (",
    "template": "How clear is <p{{ fence }}>{{ candidate }}</p{{ fence }}>?",
}


@pytest.mark.parametrize("name", ["quality", "safety", "factuality"])
def test_shipped_criteria(name: str) -> None:
    criterion = load_criterion(name)
    assert criterion.name == name
    assert criterion.answer == "Verdict: ("
    texts = {"first", "second"} if criterion.kind == "pairwise" else {"candidate"}
    assert texts | {"reasoning"} <= criterion.prompt.variables
    assert max(criterion.verdicts.values()) == 1 and min(criterion.verdicts.values()) == 0
    for verdict in criterion.verdicts:
        for reasoning in ("", "yes"):
            whole = dict.fromkeys(criterion.prompt.variables, "x") | {"reasoning": reasoning}
            assert f'"Verdict: ({verdict})"' in "".join(criterion.prompt.render(whole))


def test_shipped_verdicts_are_single_tokens() -> None:
    encoder = PromptEncoder("models/smollm2-135m-instruct", {})
    for name in ("quality", "safety", "factuality"):
        verdicts = load_criterion(name).verdicts
        assert len(set(encoder.verdict_ids(verdicts).values())) == len(verdicts)


def test_what_each_criterion_may_see() -> None:
    seen = {
        name: load_criterion(name).prompt.variables for name in ("quality", "safety", "factuality")
    }
    assert seen["safety"] == {"candidate", "reasoning"}
    assert seen["quality"] == {"context", "first", "second", "reasoning"}
    assert seen["factuality"] == {"context", "reference", "candidate", "reasoning"}


def write(path: Path, **changes: Any) -> str:
    file = path / "clarity.yaml"
    file.write_text(yaml.safe_dump({k: v for k, v in (GOOD | changes).items() if v is not None}))
    return str(file)


def test_a_criterion_of_ones_own(tmp_path: Path) -> None:
    criterion = load_criterion(write(tmp_path))
    assert criterion.verdicts == {"A": 1, "B": 0.5}
    assert criterion.prompt.fence(["</p>"]) == "-1"


def test_every_part_that_verdicts_depend_on_is_in_its_identity(tmp_path: Path) -> None:
    before = load_criterion(write(tmp_path)).identity()
    for change in (
        {"version": 2},
        {"verdicts": {"A": 1, "B": 0}},
        {"answer": "("},
        {"template": "Is it clear: {{ candidate }}"},
    ):
        assert load_criterion(write(tmp_path, **change)).identity() != before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"name": "Clear text"}, "name: "),
        ({"name": None}, "name: "),
        ({"name": "score"}, "name: "),
        ({"name": "tokens"}, "name: "),
        ({"kind": "listwise"}, "kind: "),
        ({"verdicts": {"A": 1}}, "verdicts: "),
        ({"verdicts": {"A": 1, "B": 2}}, "verdicts: "),
        ({"verdicts": {"A": 1, "a": 0}}, "verdicts: "),
        ({"verdicts": {1: 1, 2: 0}}, "verdicts.1"),
        ({"verdicts": {"": 1, "B": 0}}, "verdicts: "),
        ({"verdicts": {"A": float("nan"), "B": 0}}, "verdicts.A: "),
        ({"version": "one"}, "version: "),
        ({"scale": 5}, "unknown key 'scale'; accepted: name, version"),
        ({"template": "{{ first }}"}, "unknown variable 'first'; accepted: fence, context, ref"),
        ({"template": "{{ candidate"}, "not a jinja template: "),
    ],
)
def test_a_wrong_criterion_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        load_criterion(write(tmp_path, **changes))
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"a: [", "not valid YAML: "),
        (b"\xff", "not valid YAML: "),
        (b"d: 2024-99-99", "not valid YAML: "),
        (b"name: a\nname: b", "not valid YAML: the key 'name' stands twice"),
        (b"", "the criterion: "),
        (b"- a", "the criterion: "),
    ],
)
def test_a_file_that_is_no_criterion(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"own.yaml: {sentence}"):
        load_criterion(str(path))


@pytest.mark.parametrize("name", ["qualty", "", ".", "none.yaml", "../judge"])
def test_a_missing_criterion_names_those_there_are(name: str) -> None:
    with pytest.raises(ConfigError, match="accepted: factuality, quality, safety, or the path of"):
        load_criterion(name)
