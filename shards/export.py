"""The best texts of a scored set, or its preference pairs, as records for other tools.

The best text of a chunk is the one with the highest score; the original where no rewrite is better,
or where fewer than two texts have a score. A pair is the best text against the one with the lowest
score. Nothing is made up: a document that a filter would leave with a hole is left out whole, and a
pair without two scores, or with equal ones, is none.
Memory holds one batch of rows and one document.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from os import PathLike
from typing import Any, Literal, get_args

import pyarrow as pa

from prewrite.base.errors import ConfigError
from prewrite.shards.filters import Filter, parse_filter
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import Row, best_of, worst_of

Each = Literal["document", "chunk", "pair"]
EACH: tuple[str, ...] = get_args(Each)

PROMPT_TOKENS = 1920
"""Longest prompt of a pair, in tokens of the chunking tokenizer (arXiv 2601.21343: sequences of
2048 tokens, 128 of them the suffix)."""

_FIELDS = {
    "document": "id source text chunks:int32 rewritten:int32 meta",
    "chunk": "id doc_id source chunk:int32 text candidate score:float",
    "pair": "id source prompt chosen rejected score_chosen:float score_rejected:float",
}
"""The fields of a record, with the type of those that are no text."""

_TYPES: dict[str, pa.DataType] = {"": pa.string(), "int32": pa.int32(), "float": pa.float32()}


class Export:
    """The records of a judged set: one for each `document`, `chunk` or preference `pair`.

    condition: only rows for which it holds. counts: once all were read, how many there were
    (`records`), and what was left out and why.
    """

    def __init__(
        self, url: str | PathLike[str], each: Each = "document", condition: str | None = None
    ) -> None:
        if each not in EACH:
            raise ConfigError(f"each: found '{each}'; accepted: {', '.join(EACH)}")
        self.shards = ShardSet(url).finished()
        self.each, self.counts = each, Counter[str]()
        columns = self.shards.manifest.columns
        if not self.shards.manifest.criteria:
            raise ConfigError(
                f"{url}: found a set without scores; accepted: a judged set (see prewrite judge)"
            )
        self.filter = parse_filter(condition, columns, "--filter") if condition else None

    @property
    def schema(self) -> pa.Schema:
        """The fields of a record."""
        fields = [field.partition(":") for field in _FIELDS[self.each].split()]
        return pa.schema([(name, _TYPES[kind]) for name, _, kind in fields])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Every record, in the order of the set."""
        self.counts.clear()
        make: dict[str, Callable[[Sequence[Row], Sequence[bool]], Iterator[dict[str, Any]]]]
        make = {"document": self._document, "chunk": self._chunks, "pair": self._pairs}
        for rows, kept in _documents(self.shards, self.filter):
            for record in make[self.each](rows, kept):
                self.counts["records"] += 1
                yield record

    def _document(self, rows: Sequence[Row], kept: Sequence[bool]) -> Iterator[dict[str, Any]]:
        if not all(kept):
            self.counts["left out by the filter"] += 1
            return
        names = [self._best(row) for row in rows]
        first = rows[0]
        yield {
            "id": first["doc_id"],
            "source": first["source"],
            "text": "".join(row[name] for row, name in zip(rows, names, strict=True)),
            "chunks": len(rows),
            "rewritten": len(names) - names.count("original"),
            "meta": first["meta"],
        }

    def _chunks(self, rows: Sequence[Row], kept: Sequence[bool]) -> Iterator[dict[str, Any]]:
        for row in self._passing(rows, kept):
            name = self._best(row)
            same = {key: row[key] for key in ("id", "doc_id", "source", "chunk")}
            yield {**same, "text": row[name], "candidate": name, "score": row[f"{name}_score"]}

    def _pairs(self, rows: Sequence[Row], kept: Sequence[bool]) -> Iterator[dict[str, Any]]:
        for row in self._passing(rows, kept):
            better = best_of(row, self.shards.manifest.texts)
            worse = worst_of(row, self.shards.manifest.texts)
            if better is None or worse is None:
                self.counts["without two scores"] += 1
            elif row[f"{better}_score"] == row[f"{worse}_score"] or row[better] == row[worse]:
                self.counts["with equal scores or texts"] += 1
            else:
                yield {
                    "id": row["id"],
                    "source": row["source"],
                    "prompt": prompt(rows[: row["chunk"]]),
                    "chosen": row[better],
                    "rejected": row[worse],
                    "score_chosen": row[f"{better}_score"],
                    "score_rejected": row[f"{worse}_score"],
                }

    def _best(self, row: Row) -> str:
        """Which text of a row to take."""
        return best_of(row, self.shards.manifest.texts) or "original"

    def _passing(self, rows: Sequence[Row], kept: Sequence[bool]) -> Iterator[Row]:
        self.counts["left out by the filter"] += len(rows) - sum(kept)
        return (row for row, keep in zip(rows, kept, strict=True) if keep)


def prompt(rows: Sequence[Row], limit: int = PROMPT_TOKENS) -> str:
    """The end of what stands before a chunk: as many whole chunks of at most `limit` tokens as fit.
    Where not even the last one does, its own end, by its mean token length.
    """
    texts: list[str] = []
    for row in reversed(rows):
        size = row["original_tokens"]
        if size > limit:
            text = row["original"]
            return "".join(texts[::-1]) if texts else text[-max(1, len(text) * limit // size) :]
        limit -= size
        texts.append(row["original"])
    return "".join(texts[::-1])


def _documents(
    shards: ShardSet, condition: Filter | None
) -> Iterator[tuple[list[Row], list[bool]]]:
    """Each document's rows, and for each of them whether it passes."""
    for part in shards.parts:
        rows: list[Row] = []
        kept: list[bool] = []
        for batch in shards.batches(part):
            table = pa.Table.from_batches([batch])
            mask = condition.mask(table) if condition else [True] * table.num_rows
            for row, keep in zip(batch.to_pylist(), mask, strict=True):
                if rows and row["chunk"] == 0:
                    yield rows, kept
                    rows, kept = [], []
                rows.append(row)
                kept.append(bool(keep))
        if rows:
            yield rows, kept
