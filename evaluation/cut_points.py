"""The cut points at which every model continues a text: chunks of a held-out set, with what stands
before them, or prompts of a file.

Which chunks are drawn is a function of seed and row ids alone: those with the smallest hashes. So
neither the order of rows nor their number matters, more cut points hold the fewer, and every model
and every repetition gets the same ones.
"""

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from prewrite.base.errors import ConfigError
from prewrite.base.files import Folder
from prewrite.evaluation.config import PrefixesConfig
from prewrite.evaluation.prompt_file import prompts_of
from prewrite.prompts.context import contexts
from prewrite.shards.filters import Filter, parse_filter
from prewrite.shards.parts import Part
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import Row, to_parquet

NAME = "cut_points.parquet"

_SCHEMA = pa.schema(
    [
        ("split", pa.dictionary(pa.int32(), pa.string())),
        ("id", pa.string()),
        ("doc_id", pa.string()),
        ("prefix", pa.string()),
        ("original", pa.string()),
        ("reference", pa.string()),
    ]
)


@dataclass(frozen=True)
class CutPoint:
    """A chunk of a held-out document, or a prompt. split: the name of its texts; context: what
    stands before it, in pieces; begins: whether that goes back to the document's first word;
    original: how it goes on in truth, None where nobody knows; reference: what the judge sees as
    one, empty for none.
    """

    split: str
    id: str
    doc_id: str
    context: tuple[str, ...]
    begins: bool
    original: str | None
    reference: str

    def seed(self, seed: int) -> int:
        """The seed of the continuations sampled here, the same for every model."""
        return _hash(seed, f"{self.split}\0{self.id}") % 2**31


def cut_points_of(
    prefixes: Mapping[str, PrefixesConfig], context_tokens: int, seed: int
) -> dict[str, list[CutPoint]]:
    """The cut points of every split, the chunks of a document next to each other.

    ShardError where a set is missing or not finished, InputError where a file of prompts is,
    ConfigError where nothing is left to continue or a filter cannot be used.
    """
    return {
        name: _prompts(name, config, seed)
        if config.prompts
        else chunks_drawn(f"evaluate.prefixes.{name}", name, config, context_tokens, seed)
        for name, config in prefixes.items()
    }


def write_cut_points(folder: Folder, splits: Mapping[str, Sequence[CutPoint]]) -> None:
    """Keep the texts of all cut points beside what becomes of them."""
    rows = [
        {
            "split": cut_point.split,
            "id": cut_point.id,
            "doc_id": cut_point.doc_id,
            "prefix": "".join(cut_point.context),
            "original": cut_point.original,
            "reference": cut_point.reference,
        }
        for cut_points in splits.values()
        for cut_point in cut_points
    ]
    folder.write(NAME, to_parquet(rows, _SCHEMA))


def _prompts(split: str, config: PrefixesConfig, seed: int) -> list[CutPoint]:
    """Those drawn of a file: each a document of its own, from its first word on."""
    found = prompts_of(split, config)
    drawn = heapq.nsmallest(config.cut_points, found, key=lambda name: _hash(seed, name))
    return [
        CutPoint(split, name, name, (text,), True, None, reference)
        for name in drawn
        for text, reference in [found[name]]
    ]


def chunks_drawn(
    key: str, split: str, config: PrefixesConfig, context_tokens: int, seed: int
) -> list[CutPoint]:
    """Those drawn of a set. key: of the recipe, for the sentence of an error."""
    shards = ShardSet(config.place).finished()
    parsed = (
        parse_filter(config.filter, shards.manifest.columns, f"{key}.filter")
        if config.filter
        else None
    )
    found = (
        (_hash(seed, row["id"]), row["id"], part.name)
        for part in shards.parts
        for row in _passing(shards, part, parsed)
    )
    drawn = heapq.nsmallest(config.cut_points, found)
    if not drawn:
        left = f"no chunk passes `{config.filter}`" if config.filter else "there is no chunk"
        raise ConfigError(
            f"{key}: {left} in {config.place} that has a text before it; accepted: a set, and a "
            "filter, that leave some"
        )
    chosen = {row_id for _, row_id, _ in drawn}
    parts = {name for *_, name in drawn}
    return [
        cut_point
        for part in shards.parts
        if part.name in parts
        for document in shards.documents(part)
        for cut_point in _of_document(split, document, chosen, context_tokens)
    ]


def _passing(shards: ShardSet, part: Part, parsed: Filter | None) -> Iterator[Row]:
    """The rows of a part that can be continued: not the first of a document, nor one that is only
    the rest of it (`cuts: one`).
    """
    columns = {"id", "chunk", "rewrite_status"} | (parsed.columns if parsed else set())
    for batch in shards.batches(part, sorted(columns)):
        table: Any = pa.Table.from_batches([batch])
        if parsed:
            table = table.filter(pa.array(parsed.mask(table)))
        for row in table.to_pylist():
            if row["chunk"] > 0 and row["rewrite_status"] != "skipped":
                yield row


def _of_document(
    split: str, document: list[Row], chosen: set[str], context_tokens: int
) -> Iterator[CutPoint]:
    if not any(row["id"] in chosen for row in document):
        return
    befores = contexts(document, context_tokens)
    passed = 0  # characters
    for row, before in zip(document, befores, strict=True):
        if row["id"] in chosen:
            begins = sum(map(len, before)) == passed
            text = row["original"]
            yield CutPoint(split, row["id"], row["doc_id"], before, begins, text, text)
        passed += len(row["original"])


def _hash(seed: int, text: str) -> int:
    digest = hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "replace")).digest()
    return int.from_bytes(digest[:8], "big")
