"""Thoughts for a chunk: what is asked, and what becomes of any answer."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.engine.types import FinishReason
from prewrite.prompts.annotating import Annotating, numbered
from prewrite.prompts.checks import Checked
from prewrite.prompts.config import RewriteConfig
from prewrite.prompts.thoughts import OPEN, segments, strip
from tests.prompts.test_thoughts import AFTER, BEFORE, TEXTS

CHUNK = BEFORE + AFTER + " So ended the mill."
GOOD = "A mill by a river has to fear high water."


@cache
def annotating(**thoughts: Any) -> Annotating:
    config = {"engine": "e", "template": "think", "form": "thoughts", "thoughts": thoughts}
    return Annotating(RewriteConfig.model_validate(config), tokens=64, primes=True)


def read(answer: str, chunk: str = CHUNK, finish: FinishReason = "stop", **more: Any) -> Checked:
    return annotating(**more).read(chunk, "", answer, finish, "")


def test_the_prompt_shows_numbered_sentences_and_begins_no_answer() -> None:
    row = {"id": "a", "original": "\n\nOne.\r\nTwo three. \nfour. Five. "}
    asked = annotating(most=3).request(row, ("Before. ",), "")
    text = "".join(asked.prompt.user)
    assert "<context>Before. </context>" in text
    assert "<passage>[1] One.\n[2] Two three. \nfour.\n[3] Five.</passage>" in text
    assert "at most 3," in text and asked.prompt.answer == ""
    assert asked.sampling.max_tokens == 3 * 96
    assert "</passage>" in asked.sampling.stop


def test_thoughts_are_put_behind_the_sentences_of_their_numbers() -> None:
    read_ = read(f"2: {GOOD}\n\n4:  Was it built anew? \r\n")
    assert read_.status == "ok" and read_.text and not read_.dropped
    assert strip(read_.text) == CHUNK
    first, second = segments(read_.text)
    assert (first.before, first.thought) == (BEFORE, GOOD)
    assert (second.after, second.thought) == (" So ended the mill.", "Was it built anew?")


@pytest.mark.parametrize("line", ["2: {}", "[2] {}", "[2]: {}", "**2:** {}", " 2. {}", "(2) {}"])
def test_numbers_as_models_like_to_write_them(line: str) -> None:
    assert (
        read(line.format(GOOD)).text == BEFORE + f" <think> {GOOD}</think>" + CHUNK[len(BEFORE) :]
    )


LEAK = "the miller carried nine sacks of rye to the tower"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0: Where is the mill?", "thought_place"),
        ("5: Behind the last sentence stands no miller.", "thought_place"),
        ("99: Where is the mill?", "thought_place"),
        ("1: Where is the mill?", "thought_order"),
        ("2: Where is the mill?", "thought_order"),
        ("3: mill &lt;/think&gt; rye", "thought_marker"),
        ("3: ＜think＞ mill", "thought_marker"),
        ("3: Let me think about what comes next.", "thought_generic"),
        ("3: I'm sorry, but I can't help with that request.", "thought_generic"),
        (f"3: {GOOD}", "thought_repeated"),
        ("4: A ferryman from Bergen brought him bread and a letter; what then?", ""),
        ("Here they are:", "thought_form"),
        ("3 Where is the mill", "thought_form"),
        ("12:30 is the time of the mill", "thought_form"),
        ("```", "thought_form"),
    ],
)
def test_a_bad_thought_is_left_out_and_the_others_stay(line: str, reason: str) -> None:
    good = f"2: {GOOD}"
    told = read(f"{good}\n{line}")
    assert told.status == "ok" and told.text and strip(told.text) == CHUNK
    assert told.dropped == ((reason,) if reason else ())
    alone = read(line) if reason not in ("thought_order", "thought_repeated") else None
    if alone and reason:
        assert (alone.status, alone.text, alone.reason) == ("failed", None, reason)


def test_a_planted_leak_is_left_out() -> None:
    told = read(f"1: I recall how {LEAK}.\n2: {GOOD}\n")
    assert told.dropped == ("thought_leak",)
    assert told.text and [one.thought for one in segments(told.text)] == [GOOD]
    assert read(f"1: {LEAK}").reason == "thought_leak"
    assert read(f"1: {LEAK}", leak=1).status == "ok"


def test_more_than_the_most_are_left_out() -> None:
    told = read(f"1: What of the river?\n2: {GOOD}\n3: Did he come home?", most=2)
    assert told.dropped == ("thought_over",)
    assert told.text and told.text.count(OPEN) == 2


def test_the_last_line_of_an_answer_that_was_cut_is_left_out() -> None:
    told = read(f"2: {GOOD}\n3: Did he", finish="length")
    assert told.dropped == ("thought_cut",) and told.text and told.text.count(OPEN) == 1
    assert read("2: A mill by a", finish="length").reason == "thought_cut"


@pytest.mark.parametrize(
    ("answer", "finish", "status", "reason"),
    [
        ("", "stop", "empty", "no_text"),
        ("I'm sorry, but I can't assist with that.", "stop", "refused", "refusal"),
        ("2: x", "filtered", "refused", "content_filter"),
        ("<think>Hm", "length", "failed", "only_reasoning"),
        ("2: half \ud800", "stop", "failed", "not_unicode"),
        ("<passage>2: x", "stop", "failed", "leaked_tags"),
        ("2: The numbers rise, each comes once, and that of the last", "stop", "failed", None),
        ("None.", "stop", "failed", "thought_form"),
    ],
)
def test_an_answer_without_a_thought_has_no_rewrite(
    answer: str, finish: FinishReason, status: str, reason: str | None
) -> None:
    told = read(answer, finish=finish)
    assert (told.status, told.reason, told.text) == (status, reason or "leaked_prompt", None)


def test_reasoning_before_the_answer_is_no_thought() -> None:
    told = read(f"<think>Where do I put one?</think>\n2: {GOOD}")
    assert told.text and [one.thought for one in segments(told.text)] == [GOOD]


def test_chunks_that_are_left_alone_say_why() -> None:
    asked = annotating()
    assert asked.unasked("One. Two <think> three. Four.") == "own_markers"
    assert asked.unasked("Only one sentence, and no more") == "one_sentence"
    assert asked.unasked(CHUNK) is None


ANSWERS = st.lists(
    st.one_of(TEXTS, st.builds("{}: {}".format, st.integers(-1, 12), TEXTS)), max_size=6
).map("\n".join)


@given(TEXTS, ANSWERS, st.sampled_from(["stop", "length", "refused"]))
def test_no_answer_changes_a_chunk(chunk: str, answer: str, finish: FinishReason) -> None:
    asked = annotating(leak=1)
    if asked.unasked(chunk):
        return
    told = asked.read(chunk, "", answer, finish, "")
    assert (told.text is None) == (told.status != "ok")
    assert (told.reason is None) == (told.status == "ok")
    if told.text is not None:
        assert strip(told.text) == chunk and told.text != chunk


@given(TEXTS)
def test_a_fence_holds_around_numbered_sentences(chunk: str) -> None:
    asked = annotating()
    fence = asked.fence([{"original": chunk}])
    assert f"</passage{fence}>" not in numbered(chunk) + chunk
