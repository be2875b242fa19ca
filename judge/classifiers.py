"""Verdicts of classifiers and of Python functions: nothing is asked; texts go in, numbers come out.

An adapter is a function, texts → numbers. All run in one thread beside the event loop, and what has
come in while one ran is its next batch. vLLM classifies in `engine.pooling`; scikit-learn (.skops)
and ONNX files (.onnx) get the text itself, so a file holds the whole pipeline. A skops file is
data and no code: one that needs a type outside skops' own trusted list is refused.
A number that is missing, NaN, or (of a function) off the scale is a failed verdict; a failed batch
is tried again text by text, so that one text fails alone.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from numbers import Real
from typing import Any

from prewrite.base.errors import ConfigError, PrewriteError
from prewrite.base.extras import require
from prewrite.base.fingerprint import fingerprint
from prewrite.engine.registry import get_pooling
from prewrite.judge.criteria import Classifier, PythonFunction
from prewrite.judge.readout import Verdict, failed

JudgedTexts = tuple[str, str, str]
"""context, reference, candidate"""

Adapter = Callable[[Sequence[JudgedTexts]], Sequence[float | str]]
"""For each item its number, or the sentence why it has none."""

_BATCH = 64
_thread = ThreadPoolExecutor(1, "classifiers")
_scorers: dict[str, "_Scorer"] = {}


async def classify(criterion: Classifier | PythonFunction, texts: JudgedTexts) -> Verdict:
    """The verdict on one candidate; its `answer` is the number as it was told. ConfigError or
    EngineError in one sentence where there is no model to tell it.
    """
    key = fingerprint(criterion.identity())
    if key not in _scorers:
        _scorers[key] = _Scorer(criterion)
    told = await _scorers[key].score(texts)
    if isinstance(told, str):
        return failed(told)
    if criterion.on_scale(told):
        return Verdict(f"{told:.6g}", criterion.share(told), None, "ok")
    low, high = criterion.scale
    if isinstance(criterion, PythonFunction) or math.isnan(told):
        return failed(f"found {told:.6g}; accepted: a number from {low:g} to {high:g}")
    end = min(max(told, low), high)
    return Verdict(f"{told:.6g}, taken as {end:g}", criterion.share(end), None, "ok")


class _Scorer:
    """Takes one item at a time, from any event loop, and hands them to its adapter in batches."""

    def __init__(self, criterion: Classifier | PythonFunction) -> None:
        self._waiting: deque[tuple[JudgedTexts, Future[float | str]]] = deque()
        self._adapter = _thread.submit(_make, criterion)

    async def score(self, item: JudgedTexts) -> float | str:
        """The number of one item, or why it has none."""
        future: Future[float | str] = Future()
        self._waiting.append((item, future))
        _thread.submit(self._work)
        return await asyncio.wrap_future(future)

    def _work(self) -> None:
        """One batch of what waits. Each item brings a call; most find their work done already."""
        taken = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
        batch = [pair for pair in taken if pair[1].set_running_or_notify_cancel()]
        try:
            found = _each(self._adapter.result(), [item for item, _ in batch])
        except BaseException as error:
            for _, future in batch:
                future.set_exception(error)
        else:
            for (_, future), number in zip(batch, found, strict=True):
                future.set_result(number)


def _each(adapter: Adapter, items: Sequence[JudgedTexts]) -> Sequence[float | str]:
    if not items:
        return []
    try:
        return adapter(items)
    except PrewriteError:
        raise
    except Exception as error:
        if len(items) == 1:
            return [_sentence(error)]
        return [number for item in items for number in _each(adapter, [item])]


def _sentence(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _make(criterion: Classifier | PythonFunction) -> Adapter:
    if isinstance(criterion, PythonFunction):
        return _python(criterion)
    make = {".skops": _skops, ".onnx": _onnx}.get(criterion.model[criterion.model.rfind(".") :])
    try:
        return (make or _vllm)(criterion)
    except PrewriteError:
        raise
    except Exception as error:  # each library has its own way to say that a file is broken
        raise ConfigError(
            f"criterion {criterion.name}: model: cannot load '{criterion.model}': "
            f"{_sentence(error)}"
        ) from None


def _python(criterion: PythonFunction) -> Adapter:
    def call(item: JudgedTexts) -> float | str:
        try:
            found: Any = criterion.call(*item)
        except Exception as error:
            return _sentence(error)
        accepted = isinstance(found, Real)
        return float(found) if accepted else f"found {found!r:.60}; accepted: a number"

    return lambda items: [call(item) for item in items]


def _vllm(criterion: Classifier) -> Adapter:
    model = get_pooling(criterion.model, criterion.revision, criterion.args)
    index = _index(criterion, model.labels)

    def call(items: Sequence[JudgedTexts]) -> list[float | str]:
        pair = criterion.input == "pair"
        texts = [(context, text) if pair else (text,) for context, _, text in items]
        return [told if isinstance(told, str) else told[index] for told in model(texts)]

    return call


def _skops(criterion: Classifier) -> Adapter:
    require("skops")
    from skops.io import get_untrusted_types, load

    if unknown := get_untrusted_types(file=criterion.model):
        raise ConfigError(
            f"criterion {criterion.name}: model: '{criterion.model}' holds {', '.join(unknown)}, "
            "which skops does not trust; accepted: pipelines of scikit-learn's own parts"
        )
    model = load(criterion.model, trusted=[])
    if not hasattr(model, "classes_"):  # a regression
        _index(criterion, ["its number"])
        return lambda items: [float(told) for told in model.predict(_candidates(items))]
    index = _index(criterion, [str(label) for label in model.classes_])
    return lambda items: model.predict_proba(_candidates(items))[:, index].tolist()


def _onnx(criterion: Classifier) -> Adapter:
    require("onnxruntime")
    import numpy
    import onnxruntime

    session = onnxruntime.InferenceSession(criterion.model, providers=["CPUExecutionProvider"])
    (first,) = session.get_inputs()
    last = session.get_outputs()[-1].name
    shape = (-1, 1)[: len(first.shape)]

    def run(items: Sequence[JudgedTexts]) -> Any:
        texts = numpy.array(_candidates(items), dtype=object).reshape(shape)
        return session.run([last], {first.name: texts})[0]

    (known,) = run([("", "", "a")])
    if not isinstance(known, dict):  # a regression
        _index(criterion, ["its number"] * numpy.size(known))
        return lambda items: numpy.reshape(run(items), len(items)).astype(float).tolist()
    label = list(known)[_index(criterion, [str(label) for label in known])]
    return lambda items: [float(told[label]) for told in run(items)]


def _candidates(items: Sequence[JudgedTexts]) -> list[str]:
    return [candidate for _, _, candidate in items]


def _index(criterion: Classifier, labels: Sequence[str]) -> int:
    """Which of a model's outputs is the value."""
    label = criterion.label
    if len(labels) == 1 and label is None:
        return 0
    if len(labels) > 1 and label in labels:
        return list[str | None](labels).index(label)
    found = "none" if label is None else f"'{label}'"
    accepted = ", ".join(labels) if len(labels) > 1 else "none, for a model with one output"
    raise ConfigError(f"criterion {criterion.name}: label: found {found}; accepted: {accepted}")
