"""From a recipe to both files."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import prewrite.judge.judge
from prewrite.engine.types import Completion, Request, Sample
from prewrite.judge.criteria import load_criterion
from prewrite.judge.measure import command
from prewrite.judge.measure.corruptions import CORRUPTIONS
from prewrite.judge.measure.sample import labelled, sample
from tests.commands import judge
from tests.judge.measure.test_labels import ALONE, PAIR
from tests.scripted import Scripted, said


def prefers_small_letters(request: Request) -> Completion:
    """A judge that tells an original from the same text in capitals."""
    if "none" in request.sampling.verdicts:
        return said("", none=0.5, possible=0.25, certain=0.25)
    if "C" in request.sampling.verdicts:
        return said("", A=0.5, B=0.25, C=0.25)
    first = "".join(request.prompt.user).partition("<first>")[2].partition("</first>")[0]
    shares = {"1": 0.1, "2": 0.9} if first.isupper() else {"1": 0.8, "2": 0.2}
    return said("", "stop", **shares)


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scripted engines stand where real ones would be loaded."""
    scripted = Scripted(prefers_small_letters)
    monkeypatch.setattr(prewrite.judge.judge, "get_engine", lambda config: scripted)
    section: dict[str, Any] = {"engine": "main", "criteria": ["quality", "factuality"]}
    engines = {"main": {"kind": "vllm", "model": "none"}}
    path = tmp_path / "recipe.yaml"
    path.write_text(
        json.dumps({"output": str(tmp_path / "out"), "engines": engines, "judge": section})
    )
    return path


def read(recipe: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((recipe.parent / "out" / command.JSON).read_text())
    return found


def test_a_sample_of_a_set(
    recipe: Path, rewritten: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--config", str(recipe), f"judge.input={rewritten}", "measure.report.rows=15"]
    arguments.append("measure.report.canaries=false")
    assert judge(["report", *arguments]) == 0
    told = capsys.readouterr().out
    assert "quality" in told and command.HTML in told
    report = read(recipe)
    assert report["source"] == f"15 rows of {rewritten}, without labels"
    quality, factuality, *_ = report["judges"][0]["criteria"]
    assert (quality["items"], factuality["items"]) == (15, 30)
    assert quality["measures"]["order_inconsistency"]["value"] == 0
    assert quality["cost"]["cache_hit_rate"] == 0.4
    html = (recipe.parent / "out" / command.HTML).read_text()
    assert "Without labels" not in html and "not measured" in html


def test_labels(recipe: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    lines = [PAIR | {"first": "SHOUTED"}] * 12 + [ALONE] * 12
    labels.write_text("\n".join(json.dumps(line) for line in lines))
    arguments = ["--config", str(recipe), f"measure.report.labels={labels}"]
    assert judge(["report", *arguments, "measure.report.canaries=false"]) == 0
    quality, factuality, *_ = read(recipe)["judges"][0]["criteria"]
    assert quality["measures"]["agreement"]["value"] == 1
    assert quality["measures"]["kappa"]["why"].startswith("every label is the same")
    assert factuality["labelled"] == 12


def test_a_report_counts_votes_as_the_judge_does(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    votes = [Sample(f"Verdict: ({name})", "stop") for name in "AAB"]
    engine = Scripted(lambda request: Completion(tuple(votes)), primes=False)
    monkeypatch.setattr(prewrite.judge.judge, "get_engine", lambda config: engine)
    labels = tmp_path / "labels.jsonl"
    labels.write_text('{"criterion": "safety", "candidate": "A text.", "label": "A"}\n')
    given = [f"measure.report.labels={labels}", "measure.report.canaries=false"]
    given += ["judge.criteria=[safety]", "judge.readout=reasoning"]
    for how, expected in (("mean", 2 / 3), ("majority", 1)):
        own = f"judge.sampling_by_criterion={{safety: {{votes: 3, aggregate: {how}}}}}"
        assert judge(["report", "--config", str(recipe), *given, own]) == 0
        (point,) = read(recipe)["judges"][0]["criteria"][0]["points"]
        assert point["value"] == pytest.approx(expected)


def test_a_criterion_with_words_is_compared_in_each_form(recipe: Path, tmp_path: Path) -> None:
    """In the report alone; the canaries attack the form that the recipe asks for."""
    labels = tmp_path / "labels.jsonl"
    labels.write_text("\n".join([json.dumps(ALONE)] * 12))
    arguments = ["--config", str(recipe), f"measure.report.labels={labels}"]
    assert judge(["report", *arguments, "judge.criteria=[factuality]"]) == 0
    (found,) = read(recipe)["judges"]
    names = [one["criterion"] for one in found["criteria"]]
    assert names == ["factuality", "factuality_words", "factuality_both"]
    assert [one["items"] for one in found["criteria"]] == [12] * 3
    assert found["criteria"][2]["cost"]["requests"] == 2  # the same text, in both assignments
    assert {*found["canaries"]} == {"factuality", "all attacks", "harmless additions"}
    measures = found["criteria"][0]["measures"]
    assert (measures["distinct_values"]["value"], measures["distinct_values"]["n"]) == (1, 12)
    assert measures["undecided"]["value"] == 0


def corrupted(cut: str, folder: Path, *overrides: str) -> str:
    """A corrupted set."""
    recipe = {
        "output": f"{folder}/corrupted",
        "engines": {"main": {"kind": "vllm", "model": "none"}},
        "judge": {"engine": "main", "input": cut},
    }
    (folder / "corrupt.yaml").write_text(json.dumps(recipe))
    assert judge(["corrupt", "--config", f"{folder}/corrupt.yaml", *overrides]) == 0
    return f"{folder}/corrupted"


def test_the_scores_of_a_set_are_labels(recipe: Path, tmp_path: Path, cut: str) -> None:
    url = corrupted(cut, tmp_path)
    arguments = ["--config", str(recipe), f"measure.report.labels={url}", "measure.report.rows=60"]
    assert judge(["report", *arguments, "measure.report.canaries=false"]) == 0
    report = read(recipe)
    (quality,) = report["judges"][0]["criteria"]
    assert quality["criterion"] == "quality", "of factuality the set says nothing"
    assert report["source"] == f"{quality['labelled']} labelled items of {url}"
    assert 30 < quality["labelled"] <= 60 and {*quality["groups"]} == {*CORRUPTIONS}
    labels = Counter(point["label"] for point in quality["points"])
    assert {*labels} == {0, 1} and abs(labels[0] - labels[1]) <= len(CORRUPTIONS)


def test_labels_of_texts_that_are_judged_alone(cut: str, tmp_path: Path) -> None:
    """Without a reference both texts have one; where the original is the reference, it has none."""
    both, one = (load_criterion(name) for name in ("safety", "factuality"))
    for criterion, labels in ((both, {0.0, 1.0}), (one, {0.0})):
        (folder := tmp_path / criterion.name).mkdir()
        url = corrupted(cut, folder, f"measure.corrupt.criterion={criterion.name}")
        items = labelled(sample(url, 30, 0, 512), [criterion])
        assert {item.label for item in items} == labels and len(items) > 20
        assert all(item.pool.candidates.keys() <= {"original", "rewrite"} for item in items)


def test_a_pair_with_a_middling_score_has_a_label_between(cut: str, tmp_path: Path) -> None:
    sampled = sample(corrupted(cut, tmp_path), 20, 0, 512)
    for row, _ in sampled:
        row["original_quality"], row["rewrite_quality"] = 0.75, 0.25
    items = labelled(sampled, [load_criterion("quality")])
    for item in items:
        assert item.label == (0.75 if [*item.pool.candidates][0] == "original" else 0.25)


def test_a_set_without_labels_is_refused(
    recipe: Path, cut: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(["report", "--config", str(recipe), f"measure.report.labels={cut}"]) == 1
    told = capsys.readouterr().err
    assert f"{cut}: found no labels for quality, factuality; accepted: a set with scores" in told


def test_canaries_are_played_unless_told_not_to(recipe: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.jsonl"
    labels.write_text(json.dumps(PAIR))
    arguments = ["--config", str(recipe), f"measure.report.labels={labels}"]
    assert judge(["report", *arguments]) == 0
    (measured,) = read(recipe)["judges"]
    # It looks at capitals, which no attack changes.
    assert measured["canaries"]["quality"]["n"] > 100
    assert measured["canaries"]["all attacks"]["value"] == 0
    assert judge(["report", *arguments, "measure.report.canaries=false"]) == 0
    assert read(recipe)["judges"][0]["canaries"] == {}


def test_the_same_seed_draws_the_same_rows(rewritten: str) -> None:
    def drawn(seed: int) -> list[str]:
        return [row["id"] for row, _ in sample(rewritten, 10, seed, 100)]

    assert drawn(0) == drawn(0) != drawn(1)
    assert len(set(drawn(0))) == 10


def test_a_sampled_row_has_its_context(rewritten: str) -> None:
    for row, context in sample(rewritten, 1000, 0, 10_000):
        assert ("".join(context) == "") == (row["chunk"] == 0)


@pytest.mark.parametrize(
    ("override", "code", "sentence"),
    [
        ("output=x", 1, "x: no shard set here"),
        ("measure.report.labels=none.jsonl", 1, "none.jsonl: cannot read the labels"),
        ("measure.report.label=x", 2, "unknown key 'label'; did you mean 'labels'?"),
        ("judge.input=nowhere", 1, "no shard set here"),
    ],
)
def test_a_mistake_is_one_sentence(
    recipe: Path, override: str, code: int, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert judge(["report", "--config", str(recipe), override]) == code
    assert sentence in capsys.readouterr().err


def test_a_judge_of_whom_nothing_can_be_read_is_not_measured(
    recipe: Path,
    rewritten: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    silent = Scripted(lambda request: Completion((), error="HTTP 503: no capacity"))
    monkeypatch.setattr(prewrite.judge.judge, "get_engine", lambda config: silent)
    arguments = ["--config", str(recipe), f"judge.input={rewritten}", "measure.report.rows=5"]
    assert judge(["report", *arguments]) == 1
    assert "judge report: " in (told := capsys.readouterr().err) and "HTTP 503" in told
    assert not (recipe.parent / "out").exists()
