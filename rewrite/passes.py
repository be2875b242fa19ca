"""The rewrite pass: a corpus in, a shard set with original and rewrite out."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from prewrite.base.config import Section
from prewrite.base.fingerprint import fingerprint
from prewrite.engine.digest import identity
from prewrite.engine.registry import get_engine
from prewrite.engine.types import Engine
from prewrite.pipeline.passes import AsRead, Source, Split, Work, inputs
from prewrite.prompts.config import RewriteConfig
from prewrite.prompts.load import length_of, load_template
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.corpus import Corpus
from prewrite.rewrite.rewriter import Rewriter
from prewrite.shards.manifest import NAMED, Manifest, PassInfo
from prewrite.shards.schema import schema, texts_of

_NEWER = {"share", "exact"}
"""Keys of `input` and `chunking` that came after sets had been made."""


@dataclass(frozen=True)
class RewritePass:
    """Rewrites the corpus of `recipe`."""

    recipe: RewriteRecipe
    name: str = "rewrite"

    @property
    def columns(self) -> pa.Schema:
        """The columns of the set it makes."""
        return schema((), rewrites=self.recipe.rewrites)

    @property
    def max_bad_rows(self) -> float:
        """The share of bad records that stops the run."""
        return self.recipe.input.max_bad_rows

    @property
    def fresh(self) -> list[str]:
        """The rewrites that are asked for, by their columns."""
        return [*self.recipe.by_text()]

    @cached_property
    def source(self) -> Source:
        """The corpus."""
        return self.corpus

    @cached_property
    def corpus(self) -> Corpus:
        """The documents of the recipe."""
        texts = texts_of(self.recipe.rewrites)
        return Corpus(self.recipe.input, self.recipe.chunking, texts)

    def identity(self) -> dict[str, Any]:
        """What the rows depend on: settings, model, template, and the input files by size."""
        recipe = self.recipe
        files, beside = self.corpus.listing(), self.corpus.beside()
        return {
            "input": _said(recipe.input, {"max_bad_rows", "paths"})
            | {"files": len(files), "listing": fingerprint(files)}
            | ({"beside": fingerprint(beside)} if beside else {}),
            "chunking": _said(recipe.chunking),
            **self._templates(),
        }

    def _templates(self) -> dict[str, Any]:
        """How the one rewrite is made, or the list of how each is that has a name."""
        names = self.recipe.rewrites
        if names is None:
            return {"rewrite": None}
        made = [self._made(config) for config in self.recipe.by_text().values()]
        pairs = zip(names, made, strict=False)
        return {"templates": [{"name": n, **one} for n, one in pairs]} if names else made[0]

    def _made(self, config: RewriteConfig) -> dict[str, Any]:
        """What a rewrite depends on beside its document."""
        template = load_template(config.template)
        own = {"length"} if config.form == "thoughts" else {"form", "thoughts"}
        told = config.model_dump(mode="json", exclude={"engine", "templates", "input", *own})
        if config.form == "text":
            told |= {"length": length_of(config, template).model_dump(mode="json")}
        return {
            "engine": identity(self.recipe.engines[config.engine]),
            "rewrite": told,
            "template": template.sha256,
        }

    def begin(self, splits: list[Split]) -> Manifest:
        """The manifest of a set to be made."""
        config = self.identity()
        info = PassInfo(name=self.name, fingerprint=fingerprint(config), config=config)
        passed = self.corpus.found.passed
        return Manifest(
            passes=[info],
            inputs=inputs(splits),
            rewrites=self.recipe.rewrites,
            passed_over=dict(Counter(passed.values())),
            passed_over_paths=[*passed][:NAMED],
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        """Load the rewriters in this process, if there are some."""
        yield work_of(self.recipe, rewriters(self.recipe, self.fresh), self.fresh)


def _said(section: Section, left_out: AbstractSet[str] = frozenset()) -> dict[str, Any]:
    """What a section says, but for keys that 0.1 did not have and that are not given: so older sets
    keep their fingerprints.
    """
    data = section.model_dump(mode="json", exclude={*left_out})
    given = section.model_dump(mode="json", include=_NEWER, exclude_defaults=True)
    return {key: value for key, value in data.items() if key not in _NEWER or key in given}


def work_of(recipe: RewriteRecipe, engines: Mapping[str, Engine], texts: Sequence[str]) -> Work:
    """What makes `texts` with the engines of a recipe; none: nobody, for rows that are only cut."""
    return Rewriter(engines, recipe, texts) if texts else AsRead()


def rewriters(recipe: RewriteRecipe, texts: Iterable[str]) -> dict[str, Engine]:
    """The engines that make `texts`, by name, each loaded once."""
    made = recipe.by_text()
    names = {made[text].engine for text in texts}
    return {name: get_engine(recipe.engines[name]) for name in sorted(names)}
