"""Real small models and functions: their numbers become verdicts, anything else becomes none."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

from prewrite.base.errors import ConfigError, PrewriteError
from prewrite.judge import classifiers
from prewrite.judge.classifiers import classify
from prewrite.judge.criteria import Classifier, PythonFunction
from prewrite.judge.readout import Verdict

GOOD = ["the river runs to the sea", "a bridge was built over the river", "the sea is deep"]
BAD = ["buy now cheap pills", "click here to win now", "cheap cheap click"]
TEXTS = ["a river and a sea", "click to buy", "the river is cheap to buy"]


@pytest.fixture(autouse=True)
def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifiers, "_scorers", {})


def verdicts(
    criterion: Classifier | PythonFunction, *texts: str, context: str = ""
) -> list[Verdict]:
    async def run() -> list[Verdict]:
        asked = (classify(criterion, (context, "the reference", text)) for text in texts)
        return await asyncio.gather(*asked)

    return asyncio.run(asyncio.wait_for(run(), 250))


# Files.


def fitted(last: Any, targets: list[Any]) -> Pipeline:
    return make_pipeline(TfidfVectorizer(), last).fit(GOOD + BAD, targets)


def logistic() -> Pipeline:
    return fitted(LogisticRegression(C=20), ["good"] * 3 + ["bad"] * 3)


def ridge() -> Pipeline:
    return fitted(Ridge(alpha=0.1), [6.0] * 3 + [-2.0] * 3)


def save_skops(model: Pipeline, folder: Path) -> str:
    from skops.io import dump

    path = folder / "model.skops"
    dump(model, path)
    return str(path)


def save_onnx(model: Pipeline, folder: Path) -> str:
    from skl2onnx import to_onnx
    from skl2onnx.common.data_types import StringTensorType

    path = folder / "model.onnx"
    # Else onnxruntime wants the locale en_US.UTF-8, which not every machine has.
    options = {TfidfVectorizer: {"locale": "C"}}
    found = to_onnx(model, initial_types=[("text", StringTensorType([None]))], options=options)
    path.write_bytes(found.SerializeToString())
    return str(path)


Save = Callable[[Pipeline, Path], str]
each_file = pytest.mark.parametrize("save", [save_skops, save_onnx])


def criterion(model: str, **keys: Any) -> Classifier:
    data = {"name": "c", "version": 1, "kind": "classifier", "model": model} | keys
    return Classifier.model_validate(data)


@each_file
def test_the_value_is_the_probability_of_the_class(save: Save, tmp_path: Path) -> None:
    model = logistic()
    path = save(model, tmp_path)
    for index, label in enumerate(model.classes_):
        found = verdicts(criterion(path, label=label), *TEXTS)
        expected = model.predict_proba(TEXTS)[:, index]
        assert [verdict.value for verdict in found] == pytest.approx(expected, abs=1e-5)
        assert {verdict.status for verdict in found} == {"ok"}
        assert max(expected) > 0.6 > 0.4 > min(expected)


@each_file
def test_a_regression_is_read_on_the_scale_and_clipped(save: Save, tmp_path: Path) -> None:
    model = ridge()
    path = save(model, tmp_path)
    found = verdicts(criterion(path, scale=[0, 4]), GOOD[0], BAD[0], TEXTS[2])
    told = model.predict([GOOD[0], BAD[0], TEXTS[2]])
    assert told[0] > 4 and told[1] < 0 < told[2] < 4
    assert [verdict.value for verdict in found] == pytest.approx([1, 0, told[2] / 4], abs=1e-5)
    assert found[0].answer.endswith(", taken as 4") and found[1].answer.endswith(", taken as 0")
    assert float(found[2].answer) == pytest.approx(told[2], abs=1e-4)


@each_file
@pytest.mark.parametrize(
    ("make", "label", "sentence"),
    [
        (logistic, "fair", "label: found 'fair'; accepted: bad, good"),
        (logistic, None, "label: found none; accepted: bad, good"),
        (ridge, "good", "label: found 'good'; accepted: none, for a model with one output"),
    ],
)
def test_a_label_that_does_not_fit(
    save: Save, make: Callable[[], Pipeline], label: str | None, sentence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        verdicts(criterion(save(make(), tmp_path), label=label), "text")


def test_a_skops_file_that_holds_foreign_code_is_refused(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(numpy.char.lower), TfidfVectorizer())
    path = save_skops(model, tmp_path)
    with pytest.raises(ConfigError) as raised:
        verdicts(criterion(path), "text")
    text = str(raised.value)
    assert "which skops does not trust" in text and "numpy" in text and "\n" not in text


@pytest.mark.parametrize("name", ["model.skops", "model.onnx"])
@pytest.mark.parametrize("content", [b"", b"no model", b"\x80\x04\x95 a pickle"])
def test_a_broken_file(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match="criterion c: model: cannot load") as raised:
        verdicts(criterion(str(tmp_path / name)), "text")
    assert "\n" not in str(raised.value)


# Functions.


def share_of_spaces(context: str, reference: str, candidate: str) -> float:
    return candidate.count(" ") / len(candidate)


def seen(context: str, reference: str, candidate: str) -> float:
    return 10.0 * ((context, reference, candidate) == ("before", "the reference", "text"))


def odd(context: str, reference: str, candidate: str) -> Any:
    kinds = {"text": "7", "none": None, "nan": float("nan"), "high": 1.5, "list": [0.5]}
    return kinds.get(candidate, numpy.float32(0.5))


def function(name: str, **keys: Any) -> PythonFunction:
    data = {"name": "p", "version": 1, "kind": "python", "function": f"{__name__}:{name}"} | keys
    return PythonFunction.model_validate(data)


def test_a_function_gets_the_three_texts() -> None:
    (found,) = verdicts(function("seen", scale=[0, 20]), "text", context="before")
    assert found == Verdict("10", 0.5, None, "ok")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("text", "found '7'; accepted: a number"),
        ("none", "found None; accepted: a number"),
        ("list", "found [0.5]; accepted: a number"),
        ("nan", "found nan; accepted: a number from 0 to 1"),
        ("high", "found 1.5; accepted: a number from 0 to 1"),
    ],
)
def test_what_is_no_number_on_the_scale_is_a_failed_verdict(text: str, sentence: str) -> None:
    bad, good = verdicts(function("odd"), text, "else")
    assert bad == Verdict(sentence, None, None, "failed")
    assert good == Verdict("0.5", 0.5, None, "ok")


def test_an_exception_is_a_failed_verdict_of_that_text_alone() -> None:
    bad, good = verdicts(function("share_of_spaces"), "", "a b")
    assert bad == Verdict("ZeroDivisionError: division by zero", None, None, "failed")
    assert good.value == pytest.approx(1 / 3)


# The batches.


def test_many_texts_over_several_loops_come_back_each_to_its_own() -> None:
    texts = ["a " * (number + 1) + "b" * number for number in range(300)]
    for _ in range(2):
        found = verdicts(function("share_of_spaces"), *texts)
        assert [v.value for v in found] == pytest.approx([t.count(" ") / len(t) for t in texts])


def test_what_waits_is_one_batch_and_a_bad_text_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = []

    def adapter(items: Any) -> list[float]:
        sizes.append(len(items))
        time.sleep(0.005)  # a model takes time, in which others come to wait
        if any(candidate == "bad" for _, _, candidate in items):
            raise ValueError("a bad\ntext")
        return [0.5] * len(items)

    monkeypatch.setattr(classifiers, "_make", lambda criterion: adapter)
    found = verdicts(criterion("m"), *["good"] * 200)
    assert {verdict.value for verdict in found} == {0.5}
    assert max(sizes) > 1 and sum(sizes) == 200
    bad, *good = verdicts(criterion("m"), "bad", *["good"] * 20)
    assert bad == Verdict("ValueError: a bad text", None, None, "failed")
    assert {verdict.status for verdict in good} == {"ok"}


def test_a_model_that_died_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def adapter(items: Any) -> list[float]:
        raise PrewriteError("vLLM died")

    monkeypatch.setattr(classifiers, "_make", lambda criterion: adapter)
    with pytest.raises(PrewriteError, match="vLLM died"):
        verdicts(criterion("m"), "one", "two")
