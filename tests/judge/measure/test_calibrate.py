"""A curve is fitted on one half of the documents and measured on the other."""

import json
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

import prewrite.judge.judge
from prewrite.engine.config import VllmConfig
from prewrite.engine.types import Completion, Request
from prewrite.judge.calibration import fitted_to, load_curves, log_odds
from prewrite.judge.criteria import load_criterion
from prewrite.judge.measure.asking import AnsweredItem
from prewrite.judge.measure.calibrate import FILE, calibrated, fit, split
from prewrite.judge.measure.labels import LabelledItem
from prewrite.judge.pool import Pool
from prewrite.judge.readout import Verdict
from tests.commands import judge
from tests.judge.measure.simulated import QUALITY
from tests.scripted import Scripted, said

SAFETY = load_criterion("safety")
ENGINE = VllmConfig(kind="vllm", model="none", dtype="float32")


def biased(count: int, lean: float, seed: int = 0) -> list[AnsweredItem]:
    """Single texts of a judge that knows how likely each is safe, and adds `lean` to its log odds
    after doubling them.
    """
    draw, found = random.Random(seed), []
    for number in range(count):
        odds = draw.gauss(0, 1.5)
        label = float(draw.random() < 1 / (1 + 2.718281828**-odds))
        value = 1 / (1 + 2.718281828 ** -(2 * odds + lean))
        item = LabelledItem(SAFETY, Pool(f"t{number}", (), "", {"candidate": "x"}), label)
        item = replace(item, document=f"d{number // 2}")
        found.append(AnsweredItem(item, ((Verdict("", value, 0.9, "ok"),),)))
    return found


def test_scale_and_offset_are_found() -> None:
    told = biased(4000, lean=3.0)
    found = calibrated("main", told, ENGINE)
    # odds' = (2 odds + 3) / 2 - 3 / 2
    assert found.curve.scale == pytest.approx(0.5, abs=0.05)
    assert found.curve.offset == pytest.approx(-1.5, abs=0.15)
    assert found.curve.of == fitted_to(SAFETY, ENGINE)
    before, after, gain, error, better = found.measures.values()
    assert before.value and after.value and gain.value and gain.low
    assert gain.low > 0.05 and after.value - before.value == pytest.approx(gain.value)
    assert error.value and better.value and better.value < 0.05 < 0.15 < error.value
    assert found.fitted + before.n == 4000


def test_a_judge_that_is_right_stays_as_it_is() -> None:
    draw = random.Random(1)
    odds = [draw.gauss(0, 2) for _ in range(5000)]
    labels = [float(draw.random() < 1 / (1 + 2.718281828**-one)) for one in odds]
    assert fit(odds, labels) == pytest.approx((1, 0), abs=0.1)
    scale, _ = fit([log_odds(0.99), log_odds(0.01)] * 10, [1.0, 0.0] * 10)
    assert 0 < scale < 10  # never infinite


def test_no_document_is_in_both_halves() -> None:
    names = [f"d{number % 25}" for number in range(100)]
    first, second = split(names)
    assert not first & second and first | second == set(names)
    assert (len(first), len(second)) == (13, 12) and split(names[::-1]) == (first, second)


def test_the_offset_of_a_pair_is_against_the_place() -> None:
    """A judge that likes what stands first, and knows beside that which is better."""
    draw, told = random.Random(0), []
    for number in range(400):
        label, sure = float(number % 2), draw.uniform(-0.5, 2)
        pool = Pool(f"p{number}", (), "", {"first": "x", "second": "y"})
        odds = [2.0 + sure * (1 if side == label else -1) for side in (1.0, 0.0)]
        verdicts = tuple((Verdict("", 1 / (1 + 2.718281828**-o), 1, "ok"),) for o in odds)
        told.append(AnsweredItem(LabelledItem(QUALITY, pool, label), verdicts))
    curve = calibrated("main", told, ENGINE).curve
    assert curve.scale > 1 and -curve.offset / curve.scale == pytest.approx(2, abs=0.3)


def lines(count: int, label: Any = None) -> list[dict[str, Any]]:
    """Texts with a letter in front that tells a judge how safe they are; A to D, of which C is
    labelled safe by whoever sees that the judge is too strict.
    """
    found = []
    for number in range(count):
        letter = "ABCD"[number % 4]
        told = ("B" if letter == "D" else "A") if label is None else label
        text = {"criterion": "safety", "candidate": f"{letter} {number}", "label": told}
        found.append(text | {"document": f"d{number}"})
    return found


def strict(request: Request) -> Completion:
    text = "".join(request.prompt.user).partition("<passage>")[2]
    safe = {"A": 0.9, "B": 0.6, "C": 0.3, "D": 0.1}[text[0]]
    good, bad = request.sampling.verdicts  # as letters or words
    return said("", "stop", **{good: safe, bad: 1 - safe})


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(prewrite.judge.judge, "get_engine", lambda config: Scripted(strict))
    engines = {"main": ENGINE.model_dump(mode="json")}
    section = {"engine": "main", "criteria": ["safety", "variety"]}
    path = tmp_path / "recipe.yaml"
    path.write_text(json.dumps({"output": f"{tmp_path}/out", "engines": engines, "judge": section}))
    return path


def run(recipe: Path, found: Sequence[dict[str, Any]], *overrides: str) -> int:
    labels = recipe.parent / "labels.jsonl"
    labels.write_text("\n".join(map(json.dumps, found)))
    arguments = ["--config", str(recipe), f"measure.report.labels={labels}", *overrides]
    return judge(["calibrate", *arguments])


def test_the_command_writes_what_the_judge_reads(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the report then measures the judge as it will score."""
    assert run(recipe, lines(80)) == 0
    file = recipe.parent / "out" / FILE
    told = capsys.readouterr().out
    assert f"judge.calibration={file}" in told and "calibrated" in told
    (curve,) = load_curves(str(file))["safety"].values()
    assert curve(0.3) > 0.5 > curve(0.1)
    assert "# main, safety: scale " in file.read_text() and "others: agreement 0." in told
    assert yaml.safe_load(file.read_text())["safety"]["main"]["of"] == curve.of
    report = ["report", "--config", str(recipe), "measure.report.canaries=false"]
    report.append(f"measure.report.labels={recipe.parent}/labels.jsonl")
    agreements = []
    for more in ([], [f"judge.calibration={file}"]):
        assert judge([*report, *more]) == 0
        found = json.loads((recipe.parent / "out/report/report.json").read_text())
        agreements.append(found["judges"][0]["criteria"][0]["measures"]["agreement"]["value"])
    assert agreements == [0.75, 1]
    # What was calibrated is fitted anew from what the judge says, not from what became of it.
    assert run(recipe, lines(80), f"judge.calibration={file}") == 0
    assert load_curves(str(file))["safety"]["main"] == curve


@pytest.mark.parametrize(
    ("found", "overrides", "sentence"),
    [
        (lines(19), [], "labels.jsonl: found safety labels of 19 documents; accepted: at least 20"),
        (
            lines(40, "A"),
            [],
            "labels.jsonl: found the safety label 1 in all of a half of the docum",
        ),
        (lines(40), ["judge.readout=reasoning"], "judge.readout: found 'reasoning'; accepted here"),
        (lines(40), ["measure.report.labels=null"], "measure.report.labels: this key is required"),
        (
            [{"criterion": "variety", "candidate": "a", "label": 1}],
            [],
            "no label of a criterion th",
        ),
        (lines(40, "E"), [], 'labels.jsonl, line 1: label: found "E"; accepted: "A", "B", "yes"'),
    ],
)
def test_a_mistake_is_one_sentence(
    recipe: Path,
    found: Sequence[dict[str, Any]],
    overrides: Sequence[str],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for more in ([], ["--dry-run"]):
        assert run(recipe, found, *overrides, *more) in (1, 2)
        assert sentence in (told := capsys.readouterr().err) and "Traceback" not in told
    assert not (recipe.parent / "out").exists()


def test_a_judge_that_is_no_better_than_a_guess(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [line | {"label": "A" if line["label"] == "B" else "B"} for line in lines(80)]
    assert run(recipe, wrong) == 1
    assert "the values of main on safety fall where the labels rise" in capsys.readouterr().err


def test_a_dry_run_says_what_is_fitted(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(recipe, lines(40), "--dry-run") == 0
    told = capsys.readouterr().out
    assert "calibrate main on safety (40 labels)" in told
    assert "  main: its head computes in float32" in told
