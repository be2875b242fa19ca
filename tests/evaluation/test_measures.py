"""The numbers, on texts whose numbers are known by hand, and how the table shows them."""

from math import log
from typing import Any

import pytest

from prewrite.evaluation.measures import measure
from prewrite.evaluation.results import MetricValue, TaskResult
from prewrite.evaluation.table import Page
from prewrite.judge.criteria import load_criterion
from prewrite.prompts.text import distinct_share

CRITERIA = [load_criterion("quality"), load_criterion("safety")]


def text(cut_point: int, text: str | None, ended: bool = False, number: int = 0) -> dict[str, Any]:
    return {
        "id": f"p{cut_point}", "doc_id": f"d{cut_point}", "decoding": "greedy", "number": number,
        "text": text, "tokens": len(text or ""), "ended": ended, "logprob": None,
    }  # fmt: skip


def original(cut_point: int, text: str, tokens: int, nats: float) -> dict[str, Any]:
    return {
        "id": f"p{cut_point}", "doc_id": f"d{cut_point}", "decoding": "original", "number": 0,
        "text": text, "tokens": tokens, "ended": None, "logprob": -nats,
    }  # fmt: skip


def score(cut_point: int, criterion: str, value: float | None, agree: float | None = None) -> Any:
    return {
        "id": f"p{cut_point}", "doc_id": f"d{cut_point}", "decoding": "greedy", "number": 0,
        "criterion": criterion, "score": value, "consistency": agree,
    }  # fmt: skip


def numbers(own: Any, base: Any = None) -> dict[str, MetricValue]:
    return {one.metric: one for one in measure(own, base, CRITERIA)}


def test_what_is_told_of_texts() -> None:
    texts = [
        text(0, "a b c d a b c d", ended=True),
        text(1, "I'm sorry, but I can't help with that."),
    ]
    found = numbers(([*texts, text(2, None)], []))
    assert found["repetition"].value == pytest.approx((1 / 5 + 0) / 2)
    assert found["refusals"].value == found["ended"].value == 0.5
    assert found["characters"].value == pytest.approx((15 + 38) / 2)
    assert found["safety"].value is None
    assert found["safety_judged"].value == 0
    assert "quality_win_rate" not in found


def test_likelihoods_are_per_token_and_per_byte() -> None:
    rows = [original(0, "äb", 2, 2 * log(2)), original(1, "abcde", 6, 6 * log(2))]
    found = numbers((rows, []))
    assert found["perplexity"].value == pytest.approx(2)
    assert found["bits_per_byte"].value == pytest.approx(8 / 8)
    assert found["bits_per_byte"].better is False


def test_verdicts_that_could_not_be_read_count_for_nothing() -> None:
    own = [score(0, "quality", 1.0, 1.0), score(1, "quality", None), score(0, "safety", 0.5)]
    own += [score(1, "safety", 0.25)]
    base = [score(0, "safety", 0.25), score(1, "safety", None)]
    texts = [text(0, "one"), text(1, "two")]
    found = numbers((texts, own), (texts, base))
    assert (found["quality_win_rate"].value, found["quality_win_rate_judged"].value) == (1, 1)
    assert found["quality_consistency"].value == 1
    assert found["safety"].value == 0.375
    assert found["difference_safety"].value == 0.25, "only over the place known of both"


def test_longer_texts_have_no_more_words_to_be_distinct_with() -> None:
    varied = " ".join(f"w{n}" for n in range(50))
    assert distinct_share([varied, varied + " w0" * 500], 1, 50) == 0.5
    assert numbers(([text(0, varied + " w0" * 500)], []))["distinct_1"].value == 1


def test_the_table_marks_what_is_apart_from_the_base() -> None:
    def task(*measures: MetricValue) -> list[TaskResult]:
        return [TaskResult("ordinary", measures, 9, 30)]

    def apart(
        value: float, metric: str = "safety", better: bool | None = True
    ) -> list[MetricValue]:
        return [
            MetricValue(metric, "greedy", 0.5, 0.1, 0.4, 0.6, better),
            MetricValue(
                f"difference_{metric}", "greedy", value, 0.1, value - 0.1, value + 0.1, better
            ),
        ]

    models = {
        "base": task(MetricValue("safety", "greedy", 0.5, 0.1, 0.4, 0.6, True)),
        "up": task(*apart(0.2), *apart(0.2, "tokens", None)),
        "down": task(
            *apart(-0.2), MetricValue("quality_win_rate", "greedy", 0.4, 0.0, 0.3, 0.45, True)
        ),
        "same": task(*apart(0.05)),
    }
    text = Page(models, "base", ["Judge: J"], ["warning: W"]).markdown()
    cell = "0.500 [0.400, 0.600]"
    assert f"| safety | {cell} | {cell} ▲ | {cell} ▼ | {cell} |" in text
    assert "| tokens | – | 0.500 [0.400, 0.600] • | – | – |" in text
    assert "0.400 [0.300, 0.450] ▼" in text
    assert "## ordinary, greedy: 30 cut points, 9 documents" in text
    assert "Judge: J" in text and "warning: W" in text
    assert "difference_" not in text
