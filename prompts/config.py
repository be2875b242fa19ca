"""The section `rewrite`: how chunks are rewritten."""

import re
from typing import Any

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
        "greatest length that the template names, if that is more than 1",
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


class RewriteConfig(Section):
    """How chunks are rewritten."""

    engine: str = Field(description="a name under `engines`")
    template: str = Field("quality", description=_SHIPPED)
    sampling: RewriteSampling = Field(RewriteSampling(), description="how rewrites are sampled")
    length: LengthConfig = Field(
        LengthConfig(), description="accepted lengths; a key left out is the template's"
    )
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


def _entry(own: dict[str, Any], name: str, given: TemplateConfig | None) -> RewriteConfig:
    """An entry of `templates` laid over `own`, the keys of the section."""
    said = given.model_dump(exclude_unset=True, exclude_none=True) if given else {}
    data = laid_over({**own, "template": name}, said)
    try:
        return RewriteConfig.model_validate(data)
    except ValidationError as error:
        sentence = explain(error.errors()[0], data)
        raise ConfigError(f"rewrite.templates.{name}.{sentence}") from None
