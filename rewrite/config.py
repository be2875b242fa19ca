"""The recipe of `prewrite rewrite`."""

from typing import Literal

from pydantic import Field, model_validator

from prewrite.base.config import Location, Section, refuse
from prewrite.judge.config import JudgeSections, known_engine, refuse_pairwise
from prewrite.judge.criteria import load_criterion
from prewrite.prompts.config import RewriteConfig
from prewrite.prompts.load import length_of, load_template, refuse_other_form
from prewrite.rewrite.layouts import LAYOUTS
from prewrite.rewrite.listing import lists
from prewrite.rewrite.signals import signal_filter
from prewrite.shards.schema import refuse_hidden, texts_of

_ONLY_WITH = {"text_field": "text", "filter": "redpajama-v2", "duplicates": "redpajama-v2"}


class InputConfig(Section):
    """Which corpus is read.

    All keys but `max_bad_rows` belong to the set that is made: another value is another set and
    needs another `output`.
    """

    paths: list[Location] = Field(
        min_length=1, description="files, folders or globs, at any fsspec URL"
    )
    layout: str = Field(
        "auto",
        pattern=f"^(auto|{'|'.join(LAYOUTS)})$",
        description=f"record layout: `auto` recognises it; or one of {', '.join(LAYOUTS)}",
    )
    text_field: str = Field(
        "text", min_length=1, description="field that holds the text; for `layout: text`"
    )
    filter: str | None = Field(
        None,
        description="condition on the quality signals of a document; for `layout: redpajama-v2`",
    )
    duplicates: Literal["keep", "leave_out"] = Field(
        "keep", description="keep listed duplicates, or leave them out; for `layout: redpajama-v2`"
    )
    share: list[float] | None = Field(
        None,
        description="`[from, to]`: only documents whose share, a number from 0 to below 1 drawn by "
        "the document's id, is at least `from` and below `to`",
    )
    limit: int | None = Field(
        None,
        ge=1,
        description="stop after so many records that `filter`, `duplicates` and `share` keep",
    )
    max_bad_rows: float = Field(
        0.01, ge=0, le=1, description="share of bad records above which the run stops"
    )
    max_record_bytes: int = Field(
        8 << 20, ge=1024, description="a longer line, or row of Parquet, is skipped as `too_large`"
    )
    split_bytes: int = Field(
        256 << 20, ge=1024, description="a larger file is cut in ranges of about so many bytes"
    )

    @model_validator(mode="after")
    def _layout_fits(self) -> "InputConfig":
        for key, layout in _ONLY_WITH.items():
            given = getattr(self, key)
            if given != type(self).model_fields[key].default and self.layout != layout:
                raise refuse(f"{key}: found {given!r}; accepted with layout: {layout}")
        if self.filter is not None:
            signal_filter(self.filter)
        if self.share is not None and not _is_share(self.share):
            raise refuse(
                f"share: found {self.share}; accepted: two numbers, the first at least 0 and below "
                "the second, the second at most 1"
            )
        return self


def _is_share(numbers: list[float]) -> bool:
    return len(numbers) == 2 and 0 <= numbers[0] < numbers[1] <= 1


class ChunkingConfig(Section):
    """How documents are cut."""

    tokenizer: Location = Field(description="a Hugging Face id, or a folder with `tokenizer.json`")
    tokens: int = Field(128, ge=1, description="longest chunk, in tokens")
    exact: bool = Field(
        False,
        description="cut after exactly `tokens` tokens, not at white space; shorter chunks are "
        "then not rewritten",
    )
    cuts: Literal["every", "one"] = Field(
        "every", description="rewrite every chunk, or one drawn chunk of each document"
    )
    max_context_tokens: int = Field(
        1920, ge=1, description="longest context shown to the rewriter, in tokens"
    )
    seed: int = Field(0, description="seed of the draw in `cuts: one`")


class RewriteRecipe(JudgeSections):
    """What `prewrite rewrite` reads: the corpus, how to cut and rewrite it, how to judge it."""

    input: InputConfig
    chunking: ChunkingConfig
    rewrite: RewriteConfig | None = Field(
        description="how chunks are rewritten; null: documents are cut, and that is all"
    )

    @model_validator(mode="after")
    def _rewrite_fits(self) -> "RewriteRecipe":
        for text, made in self.by_text().items():  # what is wrong is found before any work
            key = self._key_of(text)
            known_engine(f"{key}engine", made.engine, self.engines)
            template = load_template(made.template, f"{key}template")
            length_of(made, template, key)
            refuse_other_form(made, template, key)
        for pattern in self.input.paths:
            if lists(pattern, self.output):
                raise refuse(
                    f"output: found '{self.output}', whose files input.paths would read as corpus: "
                    f"'{pattern}'; accepted: a folder apart from the corpus"
                )
        return self

    @model_validator(mode="after")
    def _columns_fit(self) -> "RewriteRecipe":
        criteria = [load_criterion(c).name for c in self.judge.criteria] if self.judge else []
        refuse_hidden("rewrite.templates", criteria, [], self.rewrites)
        refuse_pairwise(self.judge, self.rewrites, "rewrite: null")
        return self

    @property
    def rewrites(self) -> list[str] | None:
        """The names of the templates, see `shards.schema.texts_of`."""
        return self.rewrite.names if self.rewrite else None

    def by_text(self) -> dict[str, RewriteConfig]:
        """The column of each rewrite, with how it is made."""
        return self.rewrite.by_text() if self.rewrite else {}

    def _key_of(self, text: str) -> str:
        """Where the recipe says how a rewrite is made."""
        names = dict(zip(texts_of(self.rewrites)[1:], self.rewrites or (), strict=False))
        return f"rewrite.templates.{names[text]}." if names else "rewrite."
