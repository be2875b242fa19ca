"""One pass over a set for everything a report says of it; the memory does not grow with the set.

Cost: every part is read once. Before that, its columns of combined scores are read, because the
histograms need their range. Most of the time goes into counting the words of changed rows. A set of
several templates has one report for each rewrite, and each costs as much.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from math import ceil, floor
from operator import add

import numpy as np
import pyarrow as pa

from prewrite.base.errors import ConfigError, ShardError
from prewrite.shards.manifest import DROPPED, THOUGHTS, Manifest, total
from prewrite.shards.reader import ShardSet
from prewrite.shards.report.picks import Picks
from prewrite.shards.report.tallies import Bounds, Column, ColumnTexts, SourceTally, numbers, texts
from prewrite.shards.report.thoughts import ThoughtTally
from prewrite.shards.report.verdicts import Verdicts, verdicts
from prewrite.shards.report.words import overlap
from prewrite.shards.schema import TEXTS, Row

MOST_SOURCES = 100
"""Sources counted apart; the others, in the order of the set, are counted together."""

OTHERS, NONE = "(other sources)", "(none)"
_ROW = ["id", "doc_id", "source", "chunk", "chunks", "rewrite_status", *TEXTS]
_OF_REWRITE = ("rewrite", "rewrite_status", "rewrite_reason")
_SIZE = 8192


@dataclass(frozen=True)
class SetReport:
    """What there is to say about a rewrite of a set, whose columns are called those of `rewrite`,
    whichever it is. text: its own name; sources: the largest first; rows: with why each is shown.

    Histograms are named by their column, and `length` (characters of the rewrite over those of the
    original) and `overlap` (of words), both over changed rows with a usable rewrite.
    """

    url: str
    text: str
    manifest: Manifest
    sources: dict[str, SourceTally]
    rows: list[tuple[Row, list[str]]]
    verdicts: list[Verdicts]
    thoughts: ThoughtTally

    @property
    def label(self) -> str:
        """The set, and which rewrite of it where it has several."""
        return f"{self.url}: {self.text}" if len(self.manifest.texts) > 2 else self.url

    @property
    def is_first(self) -> bool:
        """Whether it tells what is to be told of a set once."""
        return self.text == "rewrite"

    @property
    def dropped(self) -> dict[str, int]:
        """Thoughts that were left out of all rewrites of the set, by reason."""
        counts = total([made.counts for made in self.manifest.passes])
        return {k.removeprefix(DROPPED): n for k, n in counts.items() if k.startswith(DROPPED)}

    @property
    def total(self) -> SourceTally:
        """All sources together."""
        return reduce(add, self.sources.values(), SourceTally())

    @property
    def criteria(self) -> list[str]:
        """What there are scores for, the combined one last."""
        return scored(self.manifest)


def scored(manifest: Manifest) -> list[str]:
    """The names behind `original_` and `rewrite_`."""
    return [*manifest.criteria, "score"] if manifest.criteria else []


def collect(sets: Sequence[ShardSet]) -> tuple[list[SetReport], Bounds]:
    """A report of each rewrite of each set; and the bounds of the histograms, the same for all."""
    for shards in sets:
        if shards.manifest.rewrites is None:
            raise ConfigError(
                f"{shards.folder.url}: found a set without rewrites; accepted: one with rewrites "
                "(prewrite shards stats tells of any set)"
            )
    bounds = _bounds(sets)
    each = ((shards, text) for shards in sets for text in shards.manifest.texts[1:])
    return [_collect(shards, text, bounds) for shards, text in each], bounds


def _bounds(sets: Sequence[ShardSet]) -> dict[str, tuple[float, float]]:
    """Criteria are within 0..1; the combined score within whole numbers around what was found."""
    found = {f"{text}_{name}": (0.0, 1.0) for s in sets for name in s.manifest.criteria
             for text in TEXTS}  # fmt: skip
    low, high = 0.0, 1.0
    for shards in (one for one in sets if one.manifest.criteria):
        combined = [f"{text}_score" for text in shards.manifest.texts]
        for batch in _batches(shards, dict(zip(combined, combined, strict=True))):
            columns = [numbers(batch[name]) for name in combined]
            low = min(low, *(np.fmin.reduce(column) for column in columns))
            high = max(high, *(np.fmax.reduce(column) for column in columns))
    edges = (float(floor(low)), float(ceil(high)))
    if found:
        found |= dict.fromkeys((f"{text}_score" for text in TEXTS), edges)
    return found | {"length": (0.0, 2.0), "overlap": (0.0, 1.0)}


def _batches(shards: ShardSet, columns: Mapping[str, str]) -> Iterator[pa.RecordBatch]:
    """Some columns of a set. columns: what each is called here → its name."""
    for part in shards.parts:
        for batch in shards.batches(part, [*columns.values()], _SIZE):
            if missing := set(columns.values()) - set(batch.schema.names):
                raise ShardError(
                    f"{shards.folder.url}/{part.file}: damaged: no column {min(missing)}"
                )
            found = [batch[name] for name in columns.values()]
            yield pa.RecordBatch.from_arrays(found, names=[*columns])


def _collect(shards: ShardSet, text: str, every: Bounds) -> SetReport:
    manifest, picks, sources = shards.manifest, Picks(), dict[str, SourceTally]()
    thoughts = ThoughtTally()
    has_thoughts = any(key.startswith(THOUGHTS) for p in manifest.passes for key in p.counts)
    criteria, measures = scored(manifest), manifest.measures
    scores = [f"{text}_{name}" for name in criteria for text in TEXTS]
    bounds = {name: every[name] for name in [*scores, "length", "overlap"]}
    row = _ROW + [name for name in manifest.columns.names if name == "rewrite_reason"]
    of_rewrite = {*_OF_REWRITE, *(f"rewrite_{name}" for name in criteria)}
    columns_read = {
        name: text + name.removeprefix("rewrite") if name in of_rewrite else name
        for name in [*row, *scores, *measures]
    }
    for batch in _batches(shards, columns_read):
        status_R, source_R = texts(batch["rewrite_status"]), _sources(batch, sources)
        columns = {name: numbers(batch[name]) for name in [*scores, *measures]}
        columns |= _words(batch, status_R)
        thoughts.add(batch["rewrite"].to_pylist() if has_thoughts else ())
        for source in dict.fromkeys(source_R.tolist()):
            at_R = source_R == source
            inside = {name: column[at_R] for name, column in columns.items()}
            tally = SourceTally.of(status_R[at_R], inside, bounds, criteria, measures)
            sources[source] = sources.get(source, SourceTally()) + tally
        none_R = np.full(batch.num_rows, np.nan)
        change_R = columns["rewrite_score"] - columns["original_score"] if criteria else none_R
        picks.add(batch, source_R, status_R, change_R)
    largest = sorted(sources.items(), key=lambda item: (item[0] == OTHERS, -item[1].rows, item[0]))
    told = verdicts(shards) if text == "rewrite" else []
    ordered = dict(largest)
    return SetReport(shards.folder.url, text, manifest, ordered, picks.chosen(), told, thoughts)


def _sources(batch: pa.RecordBatch, known: Mapping[str, SourceTally]) -> ColumnTexts:
    """The source of each row, or OTHERS where too many are known."""
    source_R = texts(batch["source"])
    source_R[source_R == ""] = NONE
    new = [name for name in dict.fromkeys(source_R.tolist()) if name not in known]
    for name in new[max(MOST_SOURCES - len(known.keys() - {OTHERS}), 0) :]:
        source_R[source_R == name] = OTHERS
    return source_R


def _words(batch: pa.RecordBatch, status_R: ColumnTexts) -> dict[str, Column]:
    """Length and overlap of the rewrites that say something else; NaN for all other rows."""
    length_R, overlap_R = (np.full(batch.num_rows, np.nan) for _ in range(2))
    originals, rewrites = (batch[text].to_pylist() for text in TEXTS)
    for row, (before, after) in enumerate(zip(originals, rewrites, strict=True)):
        if before and after is not None and status_R[row] != "copied":
            length_R[row] = len(after) / len(before)
            overlap_R[row] = overlap(before, after)
    return {"length": length_R, "overlap": overlap_R}
