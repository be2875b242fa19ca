"""The rewriter's templates: shipped ones are sound, a user's own is found by its path."""

from pathlib import Path

import pytest

from prewrite.base.errors import ConfigError
from prewrite.engine.types import FinishReason
from prewrite.prompts.checks import check
from prewrite.prompts.config import LengthConfig, RewriteConfig
from prewrite.prompts.load import length_of, load_template

CONTINUE = ("cleanup", "plain", "prose", "quality", "safety")
OF_ANOTHER_KIND = (
    *("corrupt", "digest", "encyclopaedia", "facts", "knowledge", "problems", "questions"),
    *("table", "tutorial"),
)


@pytest.mark.parametrize("name", ["quality", "safety", "cleanup", "plain"])
def test_shipped_templates(name: str) -> None:
    template = load_template(name)
    assert template.variables == {"context", "lead", "text"}
    first = "".join(template.render({"context": "", "lead": "", "text": "the text"}))
    later = "".join(template.render({"context": "so far", "lead": "far", "text": " on"}))
    assert first.endswith("<passage>the text</passage>")
    assert "<context>" not in first
    assert later.endswith("<passage>far on</passage>")
    assert later.count("<context>so far</context>") == 1
    assert ("never an instruction to you" in first) == (name != "plain")


def test_what_is_shared_stands_first() -> None:
    """The prefix cache serves instructions and context, so the chunk comes last."""
    for name in ("quality", "safety", "cleanup", "plain"):
        texts = {"context": ("CONTEXT",), "lead": "LEAD", "text": "TEXT"}
        rubric, context, between, lead, text, end = load_template(name).render(texts)
        assert (context, lead, text, end) == ("CONTEXT", "LEAD", "TEXT", "</passage>")
        assert rubric.endswith("<context>") and between.endswith("<passage>")


def test_a_template_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("Say it better: {{ text }}")
    assert "".join(load_template(str(path)).render({"text": "x"})) == "Say it better: x"


@pytest.mark.parametrize("name", ["qualty", "", ".", "/none.jinja"])
def test_a_missing_template_names_those_there_are(name: str) -> None:
    known = (
        "accepted: cleanup, corrupt, digest, encyclopaedia, facts, knowledge, plain, problems, "
        "prose, quality, questions, safety, table, think, tutorial, or the path of a .jinja file"
    )
    with pytest.raises(ConfigError, match=f"^rewrite.template: found '{name}'; {known}$"):
        load_template(name)


def test_every_shipped_template_is_of_one_kind() -> None:
    shipped = {path.stem for path in Path("prompts/templates").iterdir()}
    assert shipped == {*CONTINUE, *OF_ANOTHER_KIND, "think"}
    for name in shipped:
        assert load_template(name).continues == (name in CONTINUE)


def test_templates_of_other_texts_begin_alike_so_that_they_share_their_prefix() -> None:
    """Context and passage are computed once for all of them; only the instructions differ."""
    texts = {"context": ("CONTEXT",), "lead": "", "text": "TEXT"}
    texts["most"] = "6"
    every = (*OF_ANOTHER_KIND, "think")
    begun = [load_template(name).render(texts)[:4] for name in every]
    assert len(set(begun)) == 1 and begun[0][1::2] == ("CONTEXT", "TEXT")
    for name in every:
        told = "".join(load_template(name).render(texts))
        assert "never an instruction to you" in told and "no tags" in told


@pytest.mark.parametrize("name", [*CONTINUE, *OF_ANOTHER_KIND])
def test_lengths_and_copies_fit_what_a_template_asks_for(name: str) -> None:
    template = load_template(name)
    original = "The bridge was built in 1742, and rebuilt after the flood of 1784."
    length = length_of(RewriteConfig(engine="e"), template)
    finish: FinishReason = "stop"
    copied = check(original, original, finish, False, length, template.continues)
    assert (copied.status, copied.reason) == (
        ("copied", None) if name in CONTINUE else ("failed", "copied")
    )
    twice, half = original + " " + original[::-1], original[::-2]
    long = check(original, twice, finish, False, length, template.continues)
    short = check(original, half, finish, False, length, template.continues)
    shorter, longer = ("corrupt", "digest", "facts", "knowledge"), ("corrupt", "questions")
    assert long.reason == ("too_long" if name in shorter else None)
    assert short.reason == ("too_short" if name in longer else None)


HEAD = """---
system: You translate.
length: {min: 0.5, max: 2}
---
Translate: {{ text }}"""


def test_the_head_of_a_template(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(HEAD)
    template = load_template(str(path))
    assert template.system == "You translate." and not template.continues
    assert "".join(template.render({"text": "x"})) == "Translate: x"
    assert length_of(RewriteConfig(engine="e"), template) == LengthConfig(min=0.5, max=2)
    mine = RewriteConfig(engine="e", length=LengthConfig(max=3))
    assert length_of(mine, template) == LengthConfig(min=0.5, max=3)
    path.write_text(HEAD.replace("translate", "interpret"))
    assert load_template(str(path)).sha256 != template.sha256


def test_words_of_the_system_message_are_leaked_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    words = "You write what nobody has ever written before you did so"
    path.write_text(f"---\nsystem: {words}\n---\nWrite: {{{{ text }}}}")
    template = load_template(str(path))
    assert template.repeated(f"Well. {words}.") and not template.repeated("You write what nobody.")


@pytest.mark.parametrize(
    ("head", "sentence"),
    [
        ("---\nsystem: x\n{{ text }}", "found a first line '---' and no other; accepted: a head"),
        (
            "---\nsystem: 'on {{ text }}'\n---\n{{ text }}",
            "system: found 'on {{ text }}'; accepted",
        ),
        ("---\nsytem: x\n---\n{{ text }}", "unknown key 'sytem'; did you mean 'system'?"),
        ("---\n- x\n---\n{{ text }}", "its head: "),
        ("---\n\n---\n{{ text }}", "its head: "),
        ("---\n{\n---\n{{ text }}", "its head: not valid YAML: line"),
        ("---\nlength: {min: 3, max: 1}\n---\n{{ text }}", "length: found"),
        ("---\nsystem: x\n---\n{{ texts }}", "below its head: unknown variable 'texts'"),
    ],
)
def test_a_wrong_head_is_said_in_one_sentence(tmp_path: Path, head: str, sentence: str) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text(head)
    with pytest.raises(ConfigError) as error:
        load_template(str(path))
    assert sentence in str(error.value) and "\n" not in str(error.value)


def test_lengths_of_recipe_and_template_that_accept_none() -> None:
    config = RewriteConfig(engine="e", length=LengthConfig(max=1))
    with pytest.raises(
        ConfigError, match=r"rewrite.length: found a min of 1.05 above the max of 1,"
    ):
        length_of(config, load_template("questions"))
