"""What becomes of an answer: by its form alone, and never a refusal among the rewrites."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prewrite.engine.types import FinishReason
from prewrite.prompts.checks import Checked, check, fit
from prewrite.prompts.config import LengthConfig
from prewrite.prompts.text import is_refusal

LENGTH = LengthConfig()
CUT = "max_tokens"
ORIGINAL = "The bridge was built in 1742, and rebuilt after the flood."

REFUSALS = [
    "I'm sorry, but I can't assist with that request.",
    "I’m sorry, I can’t help with that.",
    "I am sorry, but I cannot rewrite this passage.",
    "I'm sorry, but as an AI language model, I am not able to produce this content.",
    "Sorry, but I can't continue this text.",
    "Sorry, I cannot help you with that.",
    "My apologies, but I cannot write that.",
    "Apologies, but I'm unable to rewrite this.",
    "I apologize, but I cannot provide a version of this passage.",
    "I must apologize, but I won't be able to write that.",
    "I cannot fulfill this request.",
    "I can't assist with creating sexual content.",
    "I can not comply with this.",
    "I won't be able to help with that.",
    "I will not write content that promotes hatred.",
    "I'm unable to assist with this passage.",
    "I am unable to provide a rewrite of this text.",
    "I'm not able to help with that request.",
    "I'm not comfortable rewriting this passage.",
    "I do not feel comfortable continuing this story.",
    "I don't think I can help with this.",
    "I must decline to rewrite this passage.",
    "I have to decline this request.",
    "I'm afraid I can't do that.",
    "Unfortunately, I cannot assist with this request.",
    "Unfortunately, I am not able to rewrite the passage.",
    "Regrettably, I can't help with that.",
    "As an AI language model, I cannot create such content.",
    "As a large language model, I do not have opinions.",
    "As an AI assistant, I'm designed to be helpful and harmless.",
    "As a responsible AI, I can't generate this.",
    "I'm just an AI, I cannot provide legal advice.",
    "This content violates my guidelines and I cannot rewrite it.",
    "This request goes against my guidelines.",
    "The passage you provided contains harmful content, and I cannot rewrite it.",
    "Your request is inappropriate.",
    "\"I'm sorry, but I can't assist with that.\"",
    "**I can't help with that.**",
    "I cannot and will not produce this content.",
    "I can't do that.",
    "Sorry, I can't.",
    "I'd rather not continue this text.",
    "I would prefer not to rewrite this passage.",
]

INNOCENT = [
    "I can't believe how good this soup is.",
    "I'm sorry for your loss, wrote the queen to the widow.",
    "I'm sorry I was late, she said, and sat down.",
    "I am sorry to say that the old bridge is gone.",
    "Unfortunately, I can see the neighbours' garden from here.",
    "Unfortunately, I am allergic to nuts, so I asked the cook.",
    "Unfortunately, I must leave at noon.",
    "I can't help but smile when I hear that song.",
    "I can't help falling in love with you.",
    "I cannot recommend this book enough.",
    "I can't wait to write about the trip.",
    "I don't create art for money; I paint for joy.",
    "I do not support the proposal, the senator said.",
    "I won't continue the diet after Christmas.",
    "I will write to you every day.",
    "I'm unable to sleep when the moon is full.",
    "I'm afraid of spiders, but not of snakes.",
    "I'm afraid the weather will be bad tomorrow.",
    "As an assistant professor, she taught algebra.",
    "As an artificial lake, it was made in 1932.",
    "As an AI startup founder, he raised ten million dollars.",
    "Sorry seems to be the hardest word.",
    "Sorry, I forgot the keys, he muttered.",
    "The content of the barrels is harmful to fish.",
    "This text is against the war and for the poor.",
    "The request is before the court, which offers no appeal against it.",
    "I apologize for the typos in my last post.",
    "Apologies for the long silence on this blog.",
    "I decline verbs in Latin for fun.",
    "I do not discuss politics at dinner.",
    "This content is for members. Log in to read the harmful effects of sugar.",
    "I'm not able to reach the top shelf.",
    "I can provide references on request.",
    "I don't feel comfortable in crowds.",
]


@pytest.mark.parametrize("text", REFUSALS)
def test_a_refusal_is_none_of_the_rewrites(text: str) -> None:
    for answer in (text, text.lower(), f"\n  {text} Is there something else?", text.upper()):
        assert is_refusal(answer)
        assert check(ORIGINAL, answer, "stop", False, LengthConfig(max=9)) == Checked(
            "refused", reason="refusal"
        )


@pytest.mark.parametrize("text", INNOCENT)
def test_a_text_that_begins_alike_is_no_refusal(text: str) -> None:
    assert not is_refusal(text)
    assert check(ORIGINAL, text, "stop", False, LENGTH).status == "ok"


def test_a_refusal_later_in_a_text_is_a_part_of_it() -> None:
    assert not is_refusal("She asked for the file. I'm sorry, but I can't help with that, he said.")


@pytest.mark.parametrize("original", REFUSALS)
def test_a_document_about_refusals_may_be_rewritten(original: str) -> None:
    """A corpus quotes chats too."""
    assert check(original, REFUSALS[0], "stop", False, LengthConfig(min=0, max=9)).text


@pytest.mark.parametrize(
    ("answer", "finish", "repeats", "found"),
    [
        (
            "A better text about the bridge.",
            "stop",
            False,
            Checked("ok", "A better text about the bridge."),
        ),
        ("  A better text.\n", "stop", False, Checked("ok", "A better text.")),
        ("A text that was cu", "length", False, Checked("truncated", "A text that was cu", CUT)),
        (
            "A text with half 漢\ufffd",
            "length",
            False,
            Checked("truncated", "A text with half 漢", CUT),
        ),
        ("", "stop", False, Checked("empty", reason="no_text")),
        (" \n\t", "stop", False, Checked("empty", reason="no_text")),
        ("\ufffd", "length", False, Checked("empty", reason="no_text")),
        (" \ufffd\ufffd", "length", False, Checked("empty", reason="no_text")),
        (ORIGINAL, "stop", False, Checked("copied", ORIGINAL)),
        (ORIGINAL.replace(" ", "\n "), "length", False, Checked("copied", ORIGINAL)),
        ("A text. </passage>", "stop", True, Checked("failed", reason="leaked_prompt")),
        (ORIGINAL, "stop", True, Checked("failed", reason="leaked_prompt")),
        ("Half \ud800 a pair.", "stop", False, Checked("failed", reason="not_unicode")),
        ("Short.", "stop", False, Checked("failed", reason="too_short")),
        ("Long. " * 40, "stop", False, Checked("failed", reason="too_long")),
        ("Long. " * 40, "length", False, Checked("failed", reason="too_long")),
        (REFUSALS[0], "length", False, Checked("refused", reason="refusal")),
        (REFUSALS[0], "stop", True, Checked("failed", reason="leaked_prompt")),
    ],
)
def test_an_answer_has_its_status(
    answer: str, finish: FinishReason, repeats: bool, found: Checked
) -> None:
    assert check(ORIGINAL, answer, finish, repeats, LENGTH) == found


def test_only_usable_statuses_have_a_text() -> None:
    for answer in ("", "x", ORIGINAL, "A better text.", "y" * 999, *REFUSALS):
        for finish in ("stop", "length"):
            found = check(ORIGINAL, answer, finish, False, LENGTH)
            assert (found.text is not None) == (found.status in ("ok", "copied", "truncated"))
            assert (found.reason is None) == (found.status in ("ok", "copied"))


@pytest.mark.parametrize(
    ("ratio", "status"), [(0.19, "failed"), (0.2, "ok"), (1, "ok"), (3, "ok"), (3.01, "failed")]
)
def test_the_bounds_of_length_are_kept(ratio: float, status: str) -> None:
    original = "  " + "x" * 100 + "\n"
    assert check(original, "y" * round(100 * ratio), "stop", False, LENGTH).status == status


spaces = st.text(" \n\t\r\u3000", max_size=4)
words = st.text(min_size=1).filter(lambda text: text == text.strip())


@given(spaces, words, spaces, words)
def test_a_rewrite_stands_between_the_white_space_of_its_original(
    before: str, body: str, after: str, text: str
) -> None:
    assert fit(before + body + after, text) == before + text + after
