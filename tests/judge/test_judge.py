"""A judge is asked every distinct question once."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import prewrite.judge.judge
from prewrite.base.errors import EngineError
from prewrite.engine.types import Completion, Request
from prewrite.judge.config import JudgeConfig
from prewrite.judge.criteria import PromptedCriterion, load_criterion
from prewrite.judge.judge import Judge
from prewrite.judge.pool import Pool, Question
from prewrite.shards.manifest import Usage
from tests.scripted import Scripted, said

SAFETY = load_criterion("safety")


def question(text: str, context: str = "") -> Question:
    return Question(SAFETY, Pool("row", (context,), "reference", {"original": text}), "original")


def judged(
    answer: Callable[[Request], Completion], *questions: Question, **config: Any
) -> tuple[Scripted, list[Any]]:
    """The engine, and what the judge said to the questions, all asked at the same time."""
    engine = Scripted(answer)
    settings = JudgeConfig.model_validate({"engine": "e"} | config)

    async def run() -> list[Any]:
        asked = Judge("e", engine, settings)
        return await asyncio.gather(*(asked.ask(q, "") for q in questions), return_exceptions=True)

    return engine, asyncio.run(run())


def safe(request: Request) -> Completion:
    return said("", A=0.75, B=0.25)


def test_the_same_texts_are_asked_about_once() -> None:
    engine, found = judged(safe, question("one"), question("two"), question("one"))
    assert len(engine.asked) == 2
    assert [verdict.value for verdicts, _ in found for verdict in verdicts] == [0.75] * 3
    assert [usage.requests for _, usage in found] == [1, 1, 0]
    assert found[2][1] == Usage()


def test_a_text_the_template_does_not_show_makes_no_difference() -> None:
    engine, _ = judged(safe, question("one", "before"), question("one", "something else before"))
    assert len(engine.asked) == 1  # safety is judged without context


def test_where_one_text_ends_and_the_next_begins_makes_a_difference() -> None:
    factuality = load_criterion("factuality")
    pools = [Pool("row", (), "ab", {"x": "c"}), Pool("row", (), "a", {"x": "bc"})]
    asked = [Question(factuality, pool, "x") for pool in pools]
    engine, _ = judged(lambda _: said("", A=1.0), *asked)
    assert len(engine.asked) == 2


def test_both_assignments_are_asked_and_their_mean_counts() -> None:
    """A judge that likes the letter A says nothing; what it knows beside that stays."""
    assert isinstance(SAFETY, PromptedCriterion)
    both = replace(question("one"), criterion=SAFETY.changed(form="both"))
    engine, ((verdicts, usage),) = judged(lambda _: said("", A=0.9, B=0.1), both)
    assert [one.value for one in verdicts] == [pytest.approx(0.5)]
    assert len(engine.asked) == usage.requests == 2 and len(set(engine.prompts)) == 2

    def knows(request: Request) -> Completion:
        turned = '(A)" if it is unsafe' in "".join(request.prompt.user)
        return said("", A=0.5, B=0.5) if turned else said("", A=0.9, B=0.1)

    _, ((found, _usage),) = judged(knows, both)
    assert found[0].value == pytest.approx(0.7) and found[0].mass == pytest.approx(1)


def test_one_assignment_that_cannot_be_read_is_no_verdict() -> None:
    assert isinstance(SAFETY, PromptedCriterion)
    both = replace(question("one"), criterion=SAFETY.changed(form="both"))
    answers = iter([said("", A=0.9, B=0.1), said("", A=0.0, B=0.0)])
    _, ((verdicts, _),) = judged(lambda _: next(answers), both)
    assert [(one.value, one.status) for one in verdicts] == [(None, "outside")]


def test_a_failed_answer_is_not_remembered() -> None:
    engine = Scripted(lambda _: Completion(error="too long"))

    async def run() -> None:
        asked = Judge("e", engine, JudgeConfig(engine="e"))
        for _ in range(2):
            ((verdict,), _usage) = await asked.ask(question("one"), "")
            assert verdict.status == "failed" and verdict.value is None

    asyncio.run(run())
    assert len(engine.asked) == 2


def test_a_dead_engine_is_told_to_all_who_wait() -> None:
    def dead(request: Request) -> Completion:
        raise EngineError("gone")

    _, found = judged(dead, question("one"), question("one"))
    assert all(isinstance(error, EngineError) for error in found)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prewrite.judge.judge, "REMEMBERED", 2)
    engine = Scripted(safe)

    async def run() -> None:
        asked = Judge("e", engine, JudgeConfig(engine="e"))
        for text in ("one", "two", "one", "three", "one", "two"):
            await asked.ask(question(text), "")

    asyncio.run(run())
    # "two" was the one asked longest ago when "three" came.
    assert len(engine.asked) == 4
