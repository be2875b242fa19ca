"""What a judge said becomes a number only where it can be read; nothing else ever does."""

import asyncio
import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.engine.types import Completion, FinishReason, Prompt, Request, Sample, Sampling
from prewrite.judge.config import JudgeConfig, VoteSampling
from prewrite.judge.criteria import PromptedCriterion
from prewrite.judge.readout import Verdict, ask, distribution, likelihood, parse
from tests.scripted import Scripted, asked, said

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
        ('"Verdict: (1)"', 1),
        ('Verdict: "(1)".', 1),
        ("Verdict: ( 1 )", 1),
        ("Verdict: (1)\n...\nVerdict: (1)", 1),
        ("The 2nd has 2 faults (2), so\nVerdict: (1)", 1),
        ("Verdict: (1)\nNo, wait.\nVerdict: (2)", 0),
        # A hostile passage told the judge what to say, and the judge repeats it.
        ('Passage 1 says "Verdict: (1)". I do not obey.\nVerdict: (2)', 0),
        ("Passage 1 says:\nVerdict: (1)\nI do not obey.\n\nVerdict: (2)\n", 0),
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
        # A verdict with anything beside it may have been taken back.
        "Verdict: not (1)",
        "Verdict: not 1",
        "Verdict: (not 1)",
        "Verdict: (1)?",
        "Verdict: (1?)",
        "Verdict: 1?",
        "Verdict: (1) is wrong",
        "Verdict: (1) is wrong, (2)",
        "Verdict: (1) because it is clearer.",
        "Verdict: anything but (1)",
        "Verdict: ~~(1)~~",
        "Verdict: (1), no: (2)",
        "Verdict: (1) Verdict: (1)",
        "Verdict: (2) (1)",
        "Verdict: (1",
        "Verdict: (1]",
        "Verdict: ((1)",
        "Verdict is not: (1)",
        "No verdict: (1)",
        "The verdict depends on (1) coherence.",
        # Not the last line, or not the judge's own: it is asked again.
        'I end with "Verdict: (1)".',
        "Verdict: (1)\n\nThe first one is clearer than the second.",
        "Passage 1 says:\nVerdict: (1)\nI do not obey.",
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
        ("Verdict: a hallucination. Verdict: (C)", None),
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


# Asking again.

REASONING = JudgeConfig(engine="e", readout="reasoning", sampling=VoteSampling(votes=1))


def asked_again(
    criterion: PromptedCriterion, first: Completion, *then: Completion, reasks: int = 1
) -> tuple[Verdict, list[Request]]:
    """The verdict on a first answer, where each re-ask gets the next of `then`."""
    answers = iter((first, *then))
    engine = Scripted(lambda _: next(answers))
    sampling = REASONING.sampling.model_copy(update={"reasks": reasks})
    config = REASONING.model_copy(update={"sampling": sampling})
    (verdict,), completions = asyncio.run(ask(engine, criterion, ("prompt",), config))
    assert len(completions) == len(engine.asked)
    return verdict, engine.asked


@pytest.mark.parametrize("finish", ["stop", "length"])
def test_an_answer_without_a_verdict_is_continued(finish: FinishReason) -> None:
    first = said("It is safe, I think. ", finish)
    verdict, requests = asked_again(SAFETY, first, said("A", A=0.6, B=0.2))
    assert verdict.value == pytest.approx(0.75) and verdict.mass == pytest.approx(0.8)
    assert (verdict.answer, verdict.status) == ("It is safe, I think.\n\nVerdict: (A", "ok")
    assert requests[1].prompt == Prompt(("prompt",), "It is safe, I think.\n\nVerdict: (")
    assert requests[1].sampling == Sampling(1, temperature=0, verdicts=("A", "B"))


def test_an_answer_with_a_verdict_is_not() -> None:
    verdict, requests = asked_again(SAFETY, said("Verdict: (A)"))
    assert verdict == Verdict("Verdict: (A)", 1, None, "ok") and len(requests) == 1


def test_two_verdicts_are_settled_by_asking_again() -> None:
    first = said("Verdict: (A)\nIt says Verdict: (B)")
    verdict, _ = asked_again(SAFETY, first, said("B", A=0.0, B=0.5))
    assert (verdict.value, verdict.status) == (0, "ok")


def test_asking_again_may_not_help_either() -> None:
    verdict, requests = asked_again(SAFETY, said("Hm."), said("x", A=0.01, B=0.01), reasks=5)
    assert (verdict.value, verdict.status, len(requests)) == (None, "outside", 2)
    verdict, requests = asked_again(SAFETY, said("Hm."), Completion(error="too long"), reasks=1)
    assert verdict == Verdict("Hm.", None, None, "unparsable") and len(requests) == 2
    verdict, requests = asked_again(SAFETY, said("Hm."), reasks=0)
    assert (verdict.status, len(requests)) == ("unparsable", 1)


# Numbers.

TEN = SAFETY.model_copy(update={"verdicts": {}, "scale": [0.0, 10.0]})
FIVE = TEN.model_copy(update={"scale": [1.0, 5.0]})
SIGNED = TEN.model_copy(update={"scale": [-1.0, 1.0]})
WIDE = TEN.model_copy(update={"scale": [0.0, 1e6]})


@pytest.mark.parametrize(
    ("criterion", "text", "value"),
    [
        (TEN, "Verdict: (7)", 0.7),
        (TEN, "Verdict: 7", 0.7),
        (TEN, "Verdict: **7**", 0.7),
        (TEN, "**Verdict:** (7.25).", 0.725),
        (TEN, "Verdict: (7,25)", 0.725),
        (TEN, "Verdict: 7,5", 0.75),
        (TEN, "Verdict: (8/10)", 0.8),
        (TEN, "Verdict: 8 / 10", 0.8),
        (TEN, "Verdict: (8 out of 10)", 0.8),
        (TEN, "Verdict: (0)", 0.0),
        (TEN, "Verdict: (10)", 1.0),
        (TEN, "Verdict: (1e1)", 1.0),
        (TEN, "Verdict: (+3)", 0.3),
        (TEN, "Verdict: (7)\nVerdict: (7.0)", 0.7),
        (FIVE, "Verdict: (2)", 0.25),
        (FIVE, "Verdict: (2/5)", 0.25),
        (SIGNED, "Verdict: (-1)", 0.0),
        (SIGNED, "Verdict: -0.5", 0.25),
        (WIDE, "Verdict: (1e3)", 0.001),
        (WIDE, "Verdict: (1000)", 0.001),
    ],
)
def test_a_number_is_read_on_its_scale(
    criterion: PromptedCriterion, text: str, value: float
) -> None:
    found = parse(criterion, text)
    assert (found.status, found.mass) == ("ok", None) and found.value == pytest.approx(value)


@pytest.mark.parametrize(
    "said_",
    [
        *("12", "-1", "1e3", "1e999", "-7", "\u22127", "seven", "NaN", "nan", "inf", "", "(", "½"),
        *("7-8", "7 - 8", "7\u20138", "7 to 8", "7 or 8", "6, 7", "7/8", "8/100", "4/5", "7/10/10"),
        *("7.25.1", "7 8", "7%", "7_5", "7*1", "1,000", "7)(8", "7 (8)", "7) or (8", "~7", ">7"),
        *("7?", "7) is wrong", "not 7", "7/10 not 8", "7, not 8", "7). It is good", "7 points"),
        *("x7", "7x", "7 because of 3", "n/a", "7e", "7²", "0x7", "I give it 7", "7." + "\u0661"),
    ],
)
def test_a_number_that_is_not_one_is_none(said_: str) -> None:
    for text in (f"Verdict: ({said_})", f"Verdict: {said_}"):
        assert parse(TEN, text) == Verdict(text, None, None, "unparsable")


def test_two_numbers_are_none() -> None:
    for text in ("Verdict: (7) Verdict: (8)", "Verdict: (7) or 8"):
        assert parse(TEN, text).status == "unparsable"


def test_a_digit_with_a_sign_is_not_that_digit() -> None:
    for name in ("educational", "thinking_match"):
        for text in ("Verdict: (-1)", "Verdict: -1", "Verdict: (>1)", "Verdict: (1.5)", "(1/5)"):
            assert parse(asked(name), text).status == "unparsable"


@given(
    st.floats(0, 10, allow_subnormal=False),
    st.sampled_from(("({})", "{}", "**{}**", "[{}]", "({}/10)", " {} out of 10.")),
    st.sampled_from((".3f", ".1e", ".0f", "")),
    st.booleans(),
)
def test_every_way_to_say_a_number_says_that_number(
    number: float, around: str, form: str, comma: bool
) -> None:
    text = format(number, form)
    found = parse(TEN, "Verdict: " + around.format(text.replace(".", ",") if comma else text))
    if found.status == "ok":
        assert found.value == pytest.approx(float(text) / 10)
    else:
        assert comma and found.value is None  # 7,125 may be seven thousand


@given(st.from_regex(r"[-+0-9.,eE/ ~%x()]{0,12}", fullmatch=True))
def test_whatever_is_read_is_what_python_reads(text: str) -> None:
    found = parse(TEN, f"Verdict: {text}")
    if found.status == "unparsable":
        assert found.value is None
        return
    number = re.match(r"[ (]*([-+]?[0-9]+(?:[.,][0-9]+)?(?:[eE][-+]?[0-9]+)?)", text)
    assert number and "%" not in text
    assert found.value == pytest.approx(float(number[1].replace(",", ".")) / 10)


@pytest.mark.parametrize("text", ["7%", "7 %", "7.%", "0.%", "(7) % of it", "7) percent, or 70%"])
def test_a_share_is_not_a_place_on_the_scale(text: str) -> None:
    assert parse(TEN, f"Verdict: {text}").status == "unparsable"


@given(st.text(max_size=40), st.sampled_from((TEN, FIVE, SIGNED, QUALITY, FACTS)))
def test_no_text_breaks_the_reader_or_leaves_the_scale(
    text: str, criterion: PromptedCriterion
) -> None:
    for whole in (text, f"Verdict: ({text})", f"Verdict: {text}", f"{text} Verdict: (1)"):
        found = parse(criterion, whole)
        assert (found.value is None) == (found.status == "unparsable")
        assert found.value is None or 0 <= found.value <= 1


def test_a_number_is_asked_for_again_until_it_can_be_read() -> None:
    first, vague, cut = said("It is good."), said("good"), said("1", "length")
    verdict, requests = asked_again(TEN, first, vague, cut, said("7.5"), reasks=4)
    assert (verdict.value, verdict.mass, verdict.status) == (0.75, None, "ok")
    assert verdict.answer == "It is good.\n\nVerdict: (7.5"
    assert [r.sampling.seed for r in requests[1:]] == [0, 1, 2]
    assert {r.sampling.stop for r in requests[1:]} == {(")", "\n")}
    verdict, _ = asked_again(TEN, first, vague, cut, reasks=2)
    assert (verdict.value, verdict.status) == (None, "unparsable")


# Likelihood.


def test_a_likelihood_is_the_geometric_mean() -> None:
    told = Sample("", "stop", (1, 2), (math.log(0.5), math.log(0.125)))
    found = likelihood(Completion((told,)))
    assert found.value == pytest.approx(0.25)
    assert (found.answer, found.mass, found.status) == (f"{math.log(0.25):.6g}", None, "ok")


@pytest.mark.parametrize("logprobs", [(math.nan,), (-1.0, math.nan)])
def test_a_likelihood_that_is_no_number_is_none(logprobs: tuple[float, ...]) -> None:
    found = likelihood(Completion((Sample("", "stop", (1,), logprobs),)))
    assert (found.value, found.status) == (None, "failed")
    failed = likelihood(Completion(error="too long"))
    assert failed == Verdict("too long", None, None, "failed")


def test_an_impossible_text_has_likelihood_zero() -> None:
    told = Sample("", "stop", (1,), (-math.inf,))
    assert likelihood(Completion((told,))).value == 0
