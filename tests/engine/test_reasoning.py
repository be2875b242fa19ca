"""Thoughts of a model are no part of its answer, in whichever tags they stand."""

import pytest

from prewrite.engine.reasoning import spoken

TAGS = [
    ("<think>", "</think>"),
    ("<Thinking>\n", "\n</Thinking>\n"),
    ("<think >", "</think\n>"),
    ('<think lang="en">', "</think>"),
    ("<seed:think>", "</seed:think>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<|think|>", "<|/think|>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<analysis>", "</analysis>"),
    ("◁think▷", "◁/think▷"),
    ("[THINK]", "[/THINK]"),
    ("<|begin_of_thought|>", "<|end_of_thought|><|begin_of_solution|>"),
    ("<|START_THINKING|>", "<|END_THINKING|><|START_RESPONSE|>"),
    ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
]


@pytest.mark.parametrize(("begin", "end"), TAGS)
def test_what_is_said_behind_the_thoughts(begin: str, end: str) -> None:
    assert str(spoken(f"{begin}Hm, so{end}A river.")).strip() == "A river."
    assert str(spoken(f"Hm, so{end}A river.")).strip() == "A river.", "opened in the prompt"
    assert spoken(f"{begin}Hm, so") is None
    assert spoken(f"Sure.\n{begin}Hm, so") is None


def test_what_is_put_around_an_answer_goes_with_the_thoughts() -> None:
    assert spoken("<|START_THINKING|>Hm<|END_THINKING|><|START_RESPONSE|>A<|END_RESPONSE|>") == "A"
    assert spoken("A <|END_RESPONSE|>") == "A <|END_RESPONSE|>"


@pytest.mark.parametrize(
    "text", ["A thought.", "I think < 3 > 2.", "<p>think</p>", "[thinker]", ""]
)
def test_ordinary_texts_stay(text: str) -> None:
    assert spoken(text) == text


def test_a_text_that_speaks_of_such_tags_itself() -> None:
    source = "It writes <think> and </think>."
    assert (
        spoken("We see <think> and </think> here.", source) == "We see <think> and </think> here."
    )
    thought = "<think>It says </think>, so</think>We see <think> and </think> here."
    assert spoken(thought, source) == "We see <think> and </think> here."
    assert spoken("<think>Hm</think>Nothing of it.", source) is None, "where does it end?"
    assert spoken("Nothing of it.", source) == "Nothing of it."
    assert spoken("<think>Hm", "It writes </think>.") is None
