"""What a judge said becomes a number only where it can be read; nothing else ever does."""

import asyncio
import math

import pytest

from engine.types import Completion, FinishReason, Request, Sample
from judge.config import JudgeConfig, VoteSampling
from judge.readout import Verdict, ask, distribution, parse
from tests.scripted import Scripted, asked

QUALITY, SAFETY, FACTS = (asked(name) for name in ("quality", "safety", "factuality"))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Verdict: (1)", 1),
        ("Verdict: (2)", 0),
        ("Both are fine.\n\nVerdict: (1)\n", 1),
        ("verdict: (2)", 0),
        ("VERDICT:(1)", 1),
        ("Verdict: 1", 1),
        ("Verdict: 1.", 1),
        ("Verdict: [2]", 0),
        ("**Verdict: (1)**", 1),
        ("**Verdict:** (1)", 1),
        ("**Verdict**: **(2)**", 0),
        ("Verdict: **1**", 1),
        ("## Verdict: `(1)`", 1),
        ("Verdict:\n(2)", 0),
        ('I end with "Verdict: (1)".', 1),
        ("Verdict: (1) because it is clearer.", 1),
        ("Verdict: (1)\n\nThe first one is clearer than the second.", 1),
        ("Verdict: (1)\n...\nVerdict: (1)", 1),
        ("The 2nd has 2 faults (2), so\nVerdict: (1)", 1),
    ],
)
def test_a_named_verdict_is_read(text: str, value: float) -> None:
    assert parse(QUALITY, text) == Verdict(text, value, None, "ok")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Passage 1 is better.",
        "(1)",
        "1",
        "Verdict:",
        "Verdict: (",
        "Verdict: (3)",
        "Verdict: (12)",
        "Verdict: 10",
        "Verdict: (tie)",
        "Verdict: neither 1 nor 2",
        "Verdict: (1) or (2)",
        "Verdict: (1)/(2)",
        "Verdict: 1 or 2",
        "Verdict: (1)\nNo, wait.\nVerdict: (2)",
        "The verdict depends on (1) coherence.",
        # A hostile passage told the judge what to say, and the judge repeats it.
        'Passage 1 says "Verdict: (1)". I do not obey.\nVerdict: (2)',
        "Ignore all that. Verdict: (2)\nVerdict: (1)",
        "Verdict:\x00\ufffd",
    ],
)
def test_no_verdict_or_two_is_none(text: str) -> None:
    assert parse(QUALITY, text) == Verdict(text, None, None, "unparsable")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Verdict: (A)", 1),
        ("Verdict: (b)", 0.5),
        ("Verdict: c", 0),
        ("Verdict: a definite hallucination", None),
        ("Verdict: A passage like this is fine", None),
        ("Verdict: a hallucination. Verdict: (C)", 0),
        ("Verdict: (ab)", None),
    ],
)
def test_letters_are_no_words(text: str, value: float | None) -> None:
    assert parse(FACTS, text).value == value


def sample(**shares: float) -> Sample:
    return Sample("said", "length", verdicts=shares)


@pytest.mark.parametrize(
    ("shares", "value", "mass", "best"),
    [
        ({"A": 0.5, "B": 0.25, "C": 0.25}, 0.625, 1.0, "A"),
        ({"A": 0.1, "B": 0.05, "C": 0.05}, 0.625, 0.2, "A"),
        ({"A": 0.0, "B": 0.0, "C": 0.4}, 0.0, 0.4, "C"),
        ({"B": 0.3}, 0.5, 0.3, "B"),
        ({"A": 0.7, "B": 0.3, "C": 1e-7}, 0.85, 1.0, "A"),
    ],
)
def test_the_value_is_the_expected_one_over_the_verdicts(
    shares: dict[str, float], value: float, mass: float, best: str
) -> None:
    found = distribution(FACTS, sample(**shares), min_mass=0.1)
    assert (found.answer, found.status) == (best, "ok")
    assert found.value == pytest.approx(value, abs=1e-6)
    assert found.mass == pytest.approx(mass, abs=1e-6)
    assert found.mass is not None and found.mass <= 1


@pytest.mark.parametrize(
    ("shares", "least"),
    [
        ({"A": 0.05, "B": 0.04}, 0.1),
        ({"A": 0.0, "B": 0.0}, 0.0),
        ({}, 0.0),
        ({"A": 0.99}, 1.0),
        ({"A": math.nan, "B": 0.5}, 0.1),
    ],
)
def test_too_little_mass_is_no_verdict_and_never_zero(
    shares: dict[str, float], least: float
) -> None:
    found = distribution(SAFETY, sample(**shares), least)
    assert (found.value, found.status, found.answer) == (None, "outside", "said")


def answer(completion: Completion, config: JudgeConfig) -> tuple[list[Verdict], Request]:
    engine = Scripted(lambda _: completion, primes=False)
    verdicts, _ = asyncio.run(ask(engine, SAFETY, ("prompt",), config))
    (request,) = engine.asked
    return verdicts, request


def test_distribution_asks_for_one_token_of_a_primed_answer() -> None:
    completion = Completion((sample(A=0.75, B=0.25),))
    verdicts, request = answer(completion, JudgeConfig(engine="e"))
    assert verdicts == [Verdict("A", 0.75, 1.0, "ok")]
    assert request.prompt.answer == "Verdict: ("
    assert (request.sampling.max_tokens, request.sampling.temperature) == (1, 0)
    assert request.sampling.verdicts == ("A", "B")


def test_reasoning_asks_for_votes_and_reads_each() -> None:
    reasons: list[tuple[str, FinishReason]] = [
        ("Safe.\nVerdict: (A)", "stop"),
        ("Unsafe.\nVerdict: (B)", "stop"),
        ("I cannot say.", "stop"),
        ('It wants me to say "Verdict: (A)", but', "length"),
    ]
    completion = Completion(tuple(Sample(text, finish) for text, finish in reasons))
    config = JudgeConfig(engine="e", readout="reasoning", sampling=VoteSampling(votes=4, seed=9))
    verdicts, request = answer(completion, config)
    assert [verdict.value for verdict in verdicts] == [1, 0, None, None]
    assert [verdict.status for verdict in verdicts] == ["ok", "ok", "unparsable", "unparsable"]
    assert [verdict.answer for verdict in verdicts] == [text for text, _ in reasons]
    assert request.prompt.answer == ""
    assert (request.sampling.n, request.sampling.seed, request.sampling.verdicts) == (4, 9, ())


@pytest.mark.parametrize("readout", ["distribution", "reasoning"])
def test_a_failed_request_is_no_verdict(readout: str) -> None:
    config = JudgeConfig.model_validate({"engine": "e", "readout": readout})
    verdicts, _ = answer(Completion(error="the prompt is too long"), config)
    assert verdicts == [Verdict("the prompt is too long", None, None, "failed")]
