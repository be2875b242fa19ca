"""The rewriter's templates: shipped ones are sound, a user's own is found by its path."""

from pathlib import Path

import pytest

from prewrite.base.errors import ConfigError
from prewrite.prompts.load import load_template


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
    known = "accepted: cleanup, plain, quality, safety, or the path of a .jinja file"
    with pytest.raises(ConfigError, match=f"^rewrite.template: found '{name}'; {known}$"):
        load_template(name)
