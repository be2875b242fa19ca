"""Corruptions of real text: worse in one known way, balanced, the same for a seed."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.judge.criteria import load_criterion
from prewrite.judge.measure.corrupt import (
    CORRUPTIONS,
    FILE,
    falsified,
    lines,
    repeated,
    shuffled,
    truncated,
)
from prewrite.judge.measure.labels import read_labels
from prewrite.judge.measure.sample import SampledRow, sample
from tests.commands import judge
from tests.judge.measure.conftest import rewritten  # noqa: F401  (a fixture)

DRAW = random.Random
TEXT = (
    " the king met Ptolemy and Antigonus in 280 BC. It was the year of the great flood, as one "
    "says. They spoke for 3 days. What they said, nobody knows.\n\nAll of it went with the library"
)


@pytest.fixture(scope="module")
def sampled(rewritten: str) -> list[SampledRow]:  # noqa: F811
    return sample(rewritten, 60, 0, 512)


@given(st.text(), st.text(), st.sampled_from(sorted(CORRUPTIONS)), st.integers())
def test_any_text_is_changed_or_left_out(text: str, other: str, kind: str, seed: int) -> None:
    worse = CORRUPTIONS[kind](text, other, DRAW(seed))
    assert worse is None or worse != text
    assert worse == CORRUPTIONS[kind](text, other, DRAW(seed))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_real_text_can_be_corrupted(kind: str, sampled: list[SampledRow]) -> None:
    other = max((row["original"] for row, _ in sampled), key=len)
    found = [CORRUPTIONS[kind](row["original"], other, DRAW(1)) for row, _ in sampled]
    assert sum(worse is not None for worse in found) > len(sampled) / 3
    assert all(worse != row["original"] for worse, (row, _) in zip(found, sampled, strict=True))


def test_shuffled_keeps_every_word() -> None:
    worse = shuffled(TEXT, "", DRAW(0))
    assert worse is not None and sorted(worse.split()) == sorted(TEXT.split())


def test_repeated_says_fewer_things_in_as_many_words() -> None:
    worse = repeated(TEXT, "", DRAW(0))
    assert worse is not None and len(worse.split()) == len(TEXT.split())
    assert len(set(worse.split())) < len(set(TEXT.split()))


def test_truncated_is_the_beginning() -> None:
    worse = truncated(TEXT, "", DRAW(0))
    assert worse is not None and TEXT.startswith(worse) and len(worse) < len(TEXT) / 2


def test_falsified_changes_names_and_numbers_only() -> None:
    worse = falsified(TEXT, "", DRAW(0))
    assert worse is not None and worse.startswith(" the king met Antigonus and Ptolemy in ")
    assert "280" not in worse and " 3 days" not in worse
    changed = [b for a, b in zip(TEXT.split(), worse.split(), strict=True) if a != b]
    assert len(changed) == 4
    assert falsified("no name and no number", "", DRAW(0)) is None


def test_pairs_are_balanced_in_every_way(sampled: list[SampledRow]) -> None:
    found = list(lines(load_criterion("quality"), sampled, 0))
    originals = {row["id"]: row["original"] for row, _ in sampled}
    counts = Counter((line["group"], line["label"]) for line in found)
    for kind in CORRUPTIONS:
        assert abs(counts[kind, "1"] - counts[kind, "2"]) <= 1
        assert counts[kind, "1"] >= 3
    assert len({line["id"] for line in found}) == len(found)
    for line in found:
        better = line["first"] if line["label"] == "1" else line["second"]
        assert better == originals[line["id"]] and line["first"] != line["second"]


def test_facts_differ_in_nothing_but_facts(sampled: list[SampledRow]) -> None:
    found = list(lines(load_criterion("factuality"), sampled, 0))
    counts = Counter((line["group"], line["label"]) for line in found)
    assert set(counts) == {("falsified", "C"), ("true", "A")}
    assert abs(counts["falsified", "C"] - counts["true", "A"]) <= 1
    for line in found:
        assert line["reference"].startswith(line["candidate"]) == (line["group"] == "true")


def test_an_answer_that_is_a_number_has_the_ends_of_the_scale(sampled: list[SampledRow]) -> None:
    criterion = load_criterion("factuality").model_copy(update={"verdicts": {}})
    assert {line["label"] for line in lines(criterion, sampled, 0)} == {0, 1}


def test_a_criterion_without_a_known_label_has_no_lines(sampled: list[SampledRow]) -> None:
    assert list(lines(load_criterion("safety"), sampled, 0)) == []


def recipe(folder: Path, url: str, criteria: list[str]) -> list[str]:
    path = folder / "recipe.yaml"
    engines = {"main": {"kind": "vllm", "model": "none"}}
    judge: dict[str, Any] = {"engine": "main", "input": url, "criteria": criteria}
    path.write_text(json.dumps({"output": str(folder / "out"), "engines": engines, "judge": judge}))
    return ["--config", str(path), "measure.corrupt.rows=40"]


def test_the_command_writes_labels_that_can_be_read(
    rewritten: str,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = recipe(tmp_path, rewritten, ["quality", "safety", "factuality"])
    assert judge(["corrupt", *arguments]) == 0
    told = capsys.readouterr().out
    assert "safety: no corruption has a known label" in told
    path = tmp_path / "out" / FILE
    criteria = [load_criterion(name) for name in ("quality", "factuality")]
    items = read_labels(str(path), criteria)
    assert f"{len(items)} lines" in told and len(items) > 40
    before = path.read_bytes()
    assert judge(["corrupt", *arguments]) == 0
    assert path.read_bytes() == before
    assert judge(["corrupt", *arguments, "measure.corrupt.seed=1"]) == 0
    assert path.read_bytes() != before


def test_the_command_says_when_nothing_can_be_corrupted(
    rewritten: str,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert judge(["corrupt", *recipe(tmp_path, rewritten, ["safety"])]) == 1
    assert "accepted: criteria named quality, coherence, factuality" in capsys.readouterr().err
