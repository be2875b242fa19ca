"""The section `rewrite`: how chunks are rewritten."""

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from prewrite.base.config import Location, Section, explain, laid_over, refuse
from prewrite.base.errors import ConfigError
from prewrite.shards.schema import RESERVED, TEMPLATE_NAME, texts_of


class RewriteSampling(Section):
    """How rewrites are sampled: by default as arXiv 2601.21343 did when it tuned its rewriter."""

    temperature: float = Field(0.6, ge=0, description="sampling temperature; 0 is greedy")
    top_p: float = Field(0.6, gt=0, le=1, description="share of probability that is sampled from")
    max_tokens: int | None = Field(
        None,
        ge=1,
        description="longest rewrite, in tokens of the engine; null: `chunking.tokens`, times the "
        "greatest length that the template names, if that is more than 1; with `form: thoughts` 96 "
        "a thought",
    )
    seed: int = Field(0, description="with a row's id, the seed of its request")


class LengthConfig(Section):
    """Accepted characters of a rewrite, as a ratio to those of the original."""

    min: float = Field(0.2, ge=0, description="smallest ratio")
    max: float = Field(3.0, gt=0, description="largest ratio")

    @model_validator(mode="after")
    def _in_order(self) -> "LengthConfig":
        if self.min > self.max:
            raise ValueError(f"a min not above the max of {self.max:g}")
        return self


RewriteForm = Literal["text", "thoughts"]
"""What a template asks for: a text in place of the chunk, or thoughts to put into it."""


class ThoughtsConfig(Section):
    """Which thoughts are put into a chunk."""

    most: int = Field(6, ge=1, description="thoughts of a chunk; more are left out")
    leak: float = Field(
        0.3,
        ge=0,
        le=1,
        description="a thought is left out if it has more than this share of any twelve "
        "consecutive four-word sequences and numbers that are new in the text after it; 1: none is",
    )


_FORM = "`text`, or `thoughts`, which are put into the chunk; as the head of the template says"
_THOUGHTS = "which thoughts are put in; for `form: thoughts`"
_ENDS = ("_reason", "_score", "_status")  # of columns that each text has

_SHIPPED = "a shipped name, or the path of a `.jinja` file"


class TemplateConfig(Section):
    """What one of several templates has otherwise than the section `rewrite`."""

    template: str | None = Field(None, description=f"{_SHIPPED}; null: its name in `templates`")
    engine: str | None = Field(None, description="a name under `engines`; null: `rewrite.engine`")
    sampling: RewriteSampling = Field(
        RewriteSampling(), description="how rewrites are sampled; a key left out is the section's"
    )
    length: LengthConfig = Field(
        LengthConfig(), description="accepted lengths; a key left out is the section's"
    )
    form: RewriteForm | None = Field(None, description=f"{_FORM}; null: the section's")
    thoughts: ThoughtsConfig = Field(
        ThoughtsConfig(), description=f"{_THOUGHTS}; a key left out is the section's"
    )


class RewriteConfig(Section):
    """How chunks are rewritten."""

    engine: str = Field(description="a name under `engines`")
    template: str = Field("quality", description=_SHIPPED)
    sampling: RewriteSampling = Field(RewriteSampling(), description="how rewrites are sampled")
    length: LengthConfig = Field(
        LengthConfig(),
        description="accepted lengths; a key left out is the template's; for `form: text`",
    )
    form: RewriteForm = Field("text", description=_FORM)
    thoughts: ThoughtsConfig = Field(ThoughtsConfig(), description=_THOUGHTS)
    templates: dict[str, TemplateConfig | None] = Field(
        {},
        description="name → what it has otherwise than this section: several rewrites of each "
        "chunk. The first is `rewrite`, each other one `rewrite_<name>`",
    )
    input: Location | None = Field(
        None,
        description="a finished set of the same corpus and chunks: what was made under the same "
        "name in the same way is taken over, and only the rest is asked for",
    )

    @model_validator(mode="after")
    def _names_free(self) -> "RewriteConfig":
        for name in self.templates:
            if not re.match(TEMPLATE_NAME, name):
                raise refuse(
                    f"templates: found the name '{name}'; accepted: at most 40 small letters, "
                    "digits and _, a letter first"
                )
            if name in RESERVED or name.endswith(_ENDS):
                raise refuse(
                    f"templates: found the name '{name}'; accepted: names other than "
                    f"{', '.join(RESERVED)}, and without the end {', '.join(_ENDS)}"
                )
        return self

    @model_validator(mode="after")
    def _form_fits(self) -> "RewriteConfig":
        sentence = _of_other_form(self.model_dump(), self.form)
        if sentence and not self.templates:
            raise refuse(sentence)
        return self

    @property
    def names(self) -> list[str]:
        """The names of the templates, none where there is one without a name."""
        return [*self.templates]

    def by_text(self) -> dict[str, "RewriteConfig"]:
        """The column of each rewrite, in order, with how it is made; ConfigError where keys of an
        entry and of the section do not go together.
        """
        if not self.templates:
            return {"rewrite": self}
        own = self.model_dump(exclude={"templates", "input"}, exclude_unset=True)
        entries = zip(texts_of(self.names)[1:], self.templates.items(), strict=True)
        return {text: _entry(own, *entry) for text, entry in entries}


_OF_OTHER_FORM: dict[RewriteForm, str] = {"text": "thoughts", "thoughts": "length"}
"""The key that says nothing about a form."""


_DEFAULTS = {"thoughts": ThoughtsConfig().model_dump(), "length": LengthConfig().model_dump()}


def _of_other_form(given: Mapping[str, Any], form: RewriteForm) -> str | None:
    """What is wrong where a key that says nothing about `form` is among `given`, and has another
    value than its default: a recipe that was written out whole names every key.
    """
    key = _OF_OTHER_FORM[form]
    if {**_DEFAULTS[key], **given.get(key, {})} == _DEFAULTS[key]:
        return None
    other = next(one for one in _OF_OTHER_FORM if one != form)
    return f"{key}: found with form: {form}; accepted with form: {other}"


def _entry(own: dict[str, Any], name: str, given: TemplateConfig | None) -> RewriteConfig:
    """An entry of `templates` laid over `own`, the keys of the section."""
    said = given.model_dump(exclude_unset=True, exclude_none=True) if given else {}
    data = laid_over({**own, "template": name}, said)
    if data.get("form", "text") in _OF_OTHER_FORM:
        if sentence := _of_other_form(said, data.get("form", "text")):
            raise ConfigError(f"rewrite.templates.{name}.{sentence}")
        data.pop(_OF_OTHER_FORM[data.get("form", "text")], None)
    try:
        return RewriteConfig.model_validate(data)
    except ValidationError as error:
        sentence = explain(error.errors()[0], data)
        raise ConfigError(f"rewrite.templates.{name}.{sentence}") from None
