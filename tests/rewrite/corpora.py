"""A corpus as the rewrite pass reads it, and what it gives."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from prewrite.pipeline.passes import Document, Item, LeftOut
from prewrite.rewrite.config import ChunkingConfig, InputConfig
from prewrite.rewrite.corpus import Corpus
from tests.pipeline.fake import InstantPass

MODEL = str(Path(__file__).parents[2] / "models/smollm2-135m-instruct")


def corpus(*paths: object, **options: Any) -> Corpus:
    return Corpus(
        InputConfig(paths=[str(path) for path in paths], **options),
        ChunkingConfig(tokenizer=MODEL, tokens=10_000_000),
    )


def items(source: Corpus) -> list[Item]:
    return [item for split in source.splits() for item in source.read(split, 0)]


def rows(source: Corpus) -> list[dict[str, Any]]:
    """The documents, one row each."""
    return [row for item in items(source) if isinstance(item, Document) for row in item.rows]


def left_out(source: Corpus) -> list[str]:
    return [item.reason for item in items(source) if isinstance(item, LeftOut)]


@dataclass
class CorpusPass(InstantPass):
    """The pass with an engine that costs nothing, over a corpus with `options`."""

    options: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def source(self) -> Corpus:
        return corpus(*self.paths, **self.options)

    def identity(self) -> dict[str, Any]:
        return {"paths": list(self.paths), **self.options}
