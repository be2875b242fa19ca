"""The rewrite pass over a finished set: one more template costs only what is new.

`rewrite.input` names a set of the same corpus and chunks. Its rewrites are taken over where they
were made under the same name in the same way: same model, template, sampling and lengths. All
others are asked for. Scores come along, but for those that a new text makes stale
(`rewrite.stale`), so that the judge pass after it asks only about what is new.
"""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pyarrow as pa

from prewrite.base.errors import ConfigError
from prewrite.base.fingerprint import differences, fingerprint
from prewrite.judge.passes import SetSource
from prewrite.pipeline.passes import Document, Item, Source, Split, Work
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.passes import RewritePass, rewriters
from prewrite.rewrite.rewriter import Rewriter
from prewrite.rewrite.stale import forget, is_true
from prewrite.shards.manifest import Manifest, PassInfo
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import Row, best_of, schema, texts_of


@dataclass(frozen=True)
class TakenSource:
    """The documents of a finished set, with room for other rewrites. texts: all that there will be;
    kept: those that stay as they are; dropped: those that there will not be any more; criteria,
    pairwise: see `rewrite.stale`.
    """

    set: SetSource
    texts: tuple[str, ...]
    kept: frozenset[str]
    dropped: tuple[str, ...]
    criteria: tuple[str, ...]
    pairwise: tuple[str, ...]

    def splits(self) -> list[Split]:
        """One a part, named like it."""
        return self.set.splits()

    def read(self, split: Split, start: int) -> Iterator[Item]:
        """Documents of a part, without what is made anew."""
        for item in self.set.read(split, start):
            if isinstance(item, Document):
                self._empty(item)
            yield item

    def _empty(self, document: Document) -> None:
        new = [text for text in self.texts[1:] if text not in self.kept]
        lost = (*new, *self.dropped)
        gone = {row["id"]: [t for t in lost if row.get(t) is not None] for row in document.rows}
        for row in document.rows:
            status = "skipped" if row["rewrite_status"] == "skipped" else None
            forget(row, gone[row["id"]], self.texts[1:], self.criteria, self.pairwise)
            for text in new:
                row[text], row[f"{text}_status"], row[f"{text}_reason"] = None, status, None
            if self.criteria:
                row |= {f"{text}_score": row.get(f"{text}_score") for text in self.texts}
                row["best"] = best_of(row, self.texts)
        verdicts = document.judgements
        document.judgements = [one for one in verdicts if is_true(one, gone[one["id"]])]


@dataclass(frozen=True)
class MoreRewritesPass(RewritePass):
    """Adds to the rewrites of `rewrite.input` those that it does not have."""

    @cached_property
    def made(self) -> Manifest:
        """That of the set; ConfigError where it is of another corpus or of other chunks."""
        url = str(_input_of(self.recipe))
        manifest = ShardSet(url).finished().manifest
        if manifest.corrupted:
            raise ConfigError(
                f"rewrite.input: found {url}, a corrupted set; accepted: one whose rewrites are "
                "some, or that has none"
            )
        old, now = manifest.passes[0].config, super().identity()
        sections = ("input", "chunking")
        lines = differences({k: old.get(k) for k in sections}, {k: now[k] for k in sections})
        if lines:
            raise ConfigError(
                f"rewrite.input: found {url}, a set with other texts ({lines[0]}); accepted: one "
                "of the same corpus and chunks"
            )
        return manifest

    @property
    def columns(self) -> pa.Schema:
        """The columns of the set it makes: scores that it takes over among them."""
        names = self.recipe.rewrites
        return schema(self.made.criteria, self.made.measures, rewrites=names)

    @cached_property
    def kept(self) -> list[str]:
        """The rewrites that are taken over."""
        last = next(one for one in reversed(self.made.passes) if one.name == self.name)
        before, now = _by_text(last.config), _by_text(super().identity())
        return [text for text, one in now.items() if before.get(text) == one]

    @property
    def fresh(self) -> list[str]:
        """The rewrites that are asked for."""
        return [text for text in super().fresh if text not in self.kept]

    @cached_property
    def source(self) -> Source:
        """The set."""
        criteria, texts = self.made.criteria, texts_of(self.recipe.rewrites)
        taken = SetSource(str(_input_of(self.recipe)), frozenset(criteria))
        kept = frozenset(self.kept)
        dropped = tuple(text for text in self.made.texts if text not in texts)
        return TakenSource(taken, texts, kept, dropped, tuple(criteria), tuple(pairwise(self.made)))

    def identity(self) -> dict[str, Any]:
        """What the rows depend on; the set by what made it and by its bytes."""
        manifest = self.made
        taken = {
            "fingerprint": manifest.passes[-1].fingerprint,
            "parts": manifest.known_as,
            "kept": self.kept,
        }
        return super().identity() | {"taken": taken}

    def begin(self, splits: list[Split]) -> Manifest:
        """The manifest of the set with this pass added."""
        config = self.identity()
        info = PassInfo(name=self.name, fingerprint=fingerprint(config), config=config)
        return self.made.begun_by(info, rewrites=self.recipe.rewrites)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        """Load the rewriters that are needed in this process."""
        engines = rewriters(self.recipe, self.fresh)
        made = self.made
        yield Rewriter(engines, self.recipe, self.fresh, made.criteria, pairwise(made))


def rewrite_pass(recipe: RewriteRecipe) -> RewritePass:
    """The pass that a recipe describes; ConfigError where it would make nothing new."""
    if _input_of(recipe) is None:
        return RewritePass(recipe)
    job = MoreRewritesPass(recipe)
    if not job.fresh:
        raise ConfigError(
            f"rewrite.input: found {_input_of(recipe)}, which has all rewrites of this recipe; "
            "accepted: a set that lacks one"
        )
    return job


def _input_of(recipe: RewriteRecipe) -> str | None:
    return recipe.rewrite.input if recipe.rewrite else None


def pairwise(manifest: Manifest) -> list[str]:
    """The criteria of a set that compare texts: those with a consistency."""
    return [name for name in manifest.criteria if f"{name}_consistency" in manifest.measures]


def _by_text(config: Mapping[str, Any]) -> dict[str, Row]:
    """How each rewrite of a pass was made, by its column."""
    each = config.get("templates") or [config]
    texts = texts_of([one.get("name", "") for one in each])[1:]
    return {text: _how(one) for text, one in zip(texts, each, strict=True)}


def _how(made: Mapping[str, Any]) -> Row:
    """What a rewrite depends on: not the place of its template, whose digest is there."""
    rewrite = {k: v for k, v in (made.get("rewrite") or {}).items() if k != "template"}
    return {"engine": made.get("engine"), "template": made.get("template"), "rewrite": rewrite}
