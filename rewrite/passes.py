"""The rewrite pass: a corpus in, a shard set with original and rewrite out."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import pyarrow as pa

from prewrite.base.fingerprint import fingerprint
from prewrite.engine.digest import identity
from prewrite.engine.registry import get_engine
from prewrite.pipeline.passes import Split, Work, inputs
from prewrite.prompts.load import load_template
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.corpus import Corpus
from prewrite.rewrite.rewriter import Rewriter
from prewrite.shards.manifest import NAMED, Manifest, PassInfo
from prewrite.shards.schema import schema


@dataclass(frozen=True)
class RewritePass:
    """Rewrites the corpus of `recipe`."""

    recipe: RewriteRecipe
    name: str = "rewrite"
    columns: pa.Schema = field(default_factory=lambda: schema(()))

    @property
    def max_bad_rows(self) -> float:
        """The share of bad records that stops the run."""
        return self.recipe.input.max_bad_rows

    @cached_property
    def source(self) -> Corpus:
        """The corpus."""
        return Corpus(self.recipe.input, self.recipe.chunking)

    def identity(self) -> dict[str, Any]:
        """What the rows depend on: settings, model, template, and the input files by size."""
        recipe = self.recipe
        files, beside = self.source.listing(), self.source.beside()
        return {
            "input": recipe.input.model_dump(mode="json", exclude={"max_bad_rows", "paths"})
            | {"files": len(files), "listing": fingerprint(files)}
            | ({"beside": fingerprint(beside)} if beside else {}),
            "chunking": recipe.chunking.model_dump(mode="json"),
            "engine": identity(recipe.engines[recipe.rewrite.engine]),
            "rewrite": recipe.rewrite.model_dump(mode="json", exclude={"engine"}),
            "template": load_template(recipe.rewrite.template).sha256,
        }

    def begin(self, splits: list[Split]) -> Manifest:
        """The manifest of a set to be made."""
        config = self.identity()
        info = PassInfo(name=self.name, fingerprint=fingerprint(config), config=config)
        passed = self.source.found.passed
        return Manifest(
            passes=[info],
            inputs=inputs(splits),
            passed_over=dict(Counter(passed.values())),
            passed_over_paths=[*passed][:NAMED],
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        """Load the rewriter in this process."""
        yield Rewriter(get_engine(self.recipe.engines[self.recipe.rewrite.engine]), self.recipe)
