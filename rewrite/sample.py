"""A sample of a corpus, and what it says of the whole: documents, rows, tokens, with a range.

At most 32 files, drawn by seed, are read from their start. How much of a file's bytes its first
records take is known where the reader's buffer moves on, so each is read to such a place, or to
its end. What holds of the sampled bytes is taken to hold of all; the range comes from drawing the
sample again and again out of itself (the bootstrap, files first, then documents). A file that was
read to its end is exact. Records at the start of a file that are unlike the later ones mislead it.
"""

import random
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from prewrite.base.errors import InputError
from prewrite.pipeline.passes import Document, End, Split
from prewrite.rewrite.corpus import Corpus
from prewrite.shards.schema import Row

Floats = NDArray[np.float64]

FIELDS = ("documents", "rows", "asked", "tokens")
"""What is counted: documents, chunks, those of them to be rewritten, tokens of the originals."""

_FILES, _DOCUMENTS = 32, 64  # files read; documents of each that are kept as texts,
_ROWS = 64  # with their first chunks: then contexts have their full length
_SECONDS = 15.0  # spent reading; the file being read is read on to the next place


@dataclass
class SampledFile:
    """What was read of one file. counts: for each record before `offset` bytes, its FIELDS; odd: of
    all that were read, as in `shards.manifest.ODD`.
    """

    split: Split
    counts: list[tuple[int, int, int, int]] = field(default_factory=list)
    documents: list[list[Row]] = field(default_factory=list)
    odd: Counter[str] = field(default_factory=Counter)
    offset: int = 0
    whole: bool = False

    def draw(self, rng: np.random.Generator | None) -> Floats:
        """FIELDS of the sampled bytes; with `rng` of as many records drawn among them."""
        counts = np.array(self.counts, np.float64).reshape(-1, len(FIELDS))
        if rng and not self.whole and len(counts):
            counts = counts[rng.integers(0, len(counts), len(counts))]
        total: Floats = counts.sum(axis=0)
        return total


@dataclass
class CorpusSample:
    """What was read of a corpus of `size` bytes in `files` files."""

    parts: list[SampledFile]
    files: int
    size: int

    @property
    def whole(self) -> bool:
        """Whether it is all of the corpus."""
        return len(self.parts) == self.files and all(part.whole for part in self.parts)

    @property
    def documents(self) -> list[list[Row]]:
        """The rows of the documents read, in an order that mixes the files."""
        found = [rows for part in self.parts for rows in part.documents]
        random.Random(0).shuffle(found)  # noqa: S311  (no secret)
        return found

    @property
    def odd(self) -> Counter[str]:
        """What was odd about the records read."""
        return sum((part.odd for part in self.parts), Counter())

    def total(self, rng: np.random.Generator | None = None) -> Floats:
        """FIELDS of the whole corpus; with `rng`, of one draw."""
        if len(self.parts) == self.files:  # each stands for itself
            scales = [part.split.bytes / max(part.offset, 1) for part in self.parts]
            totals = (s * part.draw(rng) for s, part in zip(scales, self.parts, strict=True))
            joined: Floats = np.sum(list(totals), axis=0)
            return joined
        parts = self.parts
        if rng:
            parts = [parts[i] for i in rng.integers(0, len(parts), len(parts))]
        sampled = sum(part.offset for part in parts)
        whole: Floats = np.sum([part.draw(rng) for part in parts], axis=0) * self.size / sampled
        return whole


def read(corpus: Corpus) -> CorpusSample:
    """Read a sample of `corpus`; InputError when it holds no document."""
    splits, enough = corpus.splits(), _enough(corpus)
    chosen = random.Random(0).sample(splits, min(_FILES, len(splits)))  # noqa: S311
    begun, parts = time.monotonic(), list[SampledFile]()
    for split in chosen:
        if parts and time.monotonic() - begun > _SECONDS:
            break
        parts.append(_read(corpus, split, enough, begun + 2 * _SECONDS))
    sample = CorpusSample(parts, len(splits), sum(split.bytes for split in splits))
    if not sample.documents:
        raise InputError(f"no document in the sample of the corpus: {chosen[0].path}, …")
    return sample


def _enough(corpus: Corpus) -> float:
    """Records read of a file: of a share so many more as it takes to find as many documents."""
    begin, end = corpus.input.share or (0, 1)
    return _DOCUMENTS / (end - begin)


def _read(corpus: Corpus, split: Split, enough: float, latest: float) -> SampledFile:
    """What a file begins with. latest: when no more is read, however few records there were."""
    part, seen, offset = SampledFile(split), list[tuple[int, int, int, int]](), 0
    for item in corpus.read(split, 0):
        if isinstance(item, End):
            part.counts, part.offset, part.whole = seen, max(split.bytes, 1), True
            break
        if item.offset > offset and seen:
            # The record that moved the buffer on began before it did.
            part.counts, part.offset = list(seen), offset
            if len(seen) >= enough or (len(seen) > _DOCUMENTS and time.monotonic() > latest):
                break
        offset = item.offset
        rows = item.rows if isinstance(item, Document) else []
        part.odd.update(item.counts if isinstance(item, Document) else {})
        seen.append(_counts(rows))
        if rows and len(part.documents) < _DOCUMENTS:
            part.documents.append(rows[:_ROWS])
    return part


def _counts(rows: list[Row]) -> tuple[int, int, int, int]:
    asked = sum(row["rewrite_status"] != "skipped" for row in rows)
    return bool(rows), len(rows), asked, sum(row["original_tokens"] for row in rows)
