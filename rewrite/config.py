"""The recipe of `prewrite rewrite`."""

from typing import Literal

from pydantic import Field, model_validator

from prewrite.base.config import Location, Section, refuse
from prewrite.judge.config import JudgeSections, known_engine
from prewrite.prompts.config import RewriteConfig
from prewrite.prompts.load import load_template
from prewrite.rewrite.layouts import LAYOUTS
from prewrite.rewrite.listing import lists
from prewrite.rewrite.signals import signal_filter

_ONLY_WITH = {"text_field": "text", "filter": "redpajama-v2", "duplicates": "redpajama-v2"}


class InputConfig(Section):
    """Which corpus to read."""

    paths: list[Location] = Field(
        min_length=1, description="files, folders or globs, any fsspec URL"
    )
    layout: str = Field(
        "auto", pattern=f"^(auto|{'|'.join(LAYOUTS)})$", description="record layout, or auto"
    )
    text_field: str = Field("text", min_length=1, description="field of the text, layout text only")
    filter: str | None = Field(None, description="signals of the documents to take, redpajama-v2")
    duplicates: Literal["keep", "leave_out"] = Field(
        "keep", description="what becomes of listed duplicates, redpajama-v2"
    )
    limit: int | None = Field(None, ge=1, description="read only the first records of the corpus")
    max_bad_rows: float = Field(0.01, ge=0, le=1, description="share of bad records that stops")
    max_record_bytes: int = Field(
        8 << 20, ge=1024, description="longer records are skipped as too_large"
    )
    split_bytes: int = Field(
        256 << 20, ge=1024, description="larger files are cut in ranges of about this size"
    )

    @model_validator(mode="after")
    def _layout_fits(self) -> "InputConfig":
        for key, layout in _ONLY_WITH.items():
            given = getattr(self, key)
            if given != type(self).model_fields[key].default and self.layout != layout:
                raise refuse(f"{key}: found {given!r}; accepted with layout: {layout}")
        if self.filter is not None:
            signal_filter(self.filter)
        return self


class ChunkingConfig(Section):
    """How documents are cut."""

    tokenizer: Location = Field(description="a Hugging Face folder or id")
    tokens: int = Field(128, ge=1, description="longest chunk, in tokens")
    cuts: Literal["every", "one"] = Field("every", description="rewrite every chunk, or one drawn")
    max_context_tokens: int = Field(1920, ge=1, description="longest context of a chunk, in tokens")
    seed: int = Field(0, description="of the draw in `cuts: one`")


class RewriteRecipe(JudgeSections):
    """What `prewrite rewrite` reads: the corpus, how to cut and rewrite it, how to judge it."""

    input: InputConfig
    chunking: ChunkingConfig
    rewrite: RewriteConfig

    @model_validator(mode="after")
    def _rewrite_fits(self) -> "RewriteRecipe":
        known_engine("rewrite.engine", self.rewrite.engine, self.engines)
        for pattern in self.input.paths:
            if lists(pattern, self.output):
                raise refuse(
                    f"output: found '{self.output}', whose files input.paths would read as corpus: "
                    f"'{pattern}'; accepted: a folder apart from the corpus"
                )
        load_template(self.rewrite.template)  # a wrong one is found before anything is loaded
        return self
