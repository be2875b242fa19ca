"""RedPajama v2: documents joined with their quality signals and duplicates.

Beside `documents/<shard>.json.gz` stand `quality_signals/<shard>.signals.json.gz`, one line a
document in the same order, and `duplicates/<shard>.duplicates.parquet`, which names documents that
an earlier one equals. Both name a document `<shard>.json.gz/<row>`. The join streams: it holds 256
lines of signals, and the row numbers of one file's duplicates. Every id is compared with the row
it is joined to; files that do not belong together are an InputError, never a wrong join.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any

import pyarrow as pa

from prewrite.base.errors import InputError
from prewrite.base.files import resolve, told_as
from prewrite.base.together import together
from prewrite.rewrite.files import CorpusFile, Fault, Raw
from prewrite.rewrite.layouts import BadRecord, SourceRecord, parse_line
from prewrite.rewrite.streams import Whole
from prewrite.shards.filters import Filter, parse_filter
from prewrite.shards.parquet import batches

COMPANIONS = (".signals.json.gz", ".duplicates.parquet", ".minhash.parquet")
"""Ends of the names of files that stand beside documents and are none."""

SIGNALS = (
    *(f"ccnet_{name}" for name in ("bucket", "language_score", "length", "nlines",
      "original_length", "original_nlines", "perplexity")),
    *(f"rps_doc_{name}" for name in ("books_importance", "openwebtext_importance",
      "wikipedia_importance", "ml_wikiref_score", "ml_palm_score", "ml_wikipedia_score",
      "curly_bracket", "frac_all_caps_words", "frac_lines_end_with_ellipsis", "frac_no_alph_words",
      "lorem_ipsum", "mean_word_length", "stop_word_fraction", "symbol_to_word_ratio",
      "frac_unique_words", "unigram_entropy", "word_count", "num_sentences",
      "frac_chars_dupe_5grams", "frac_chars_dupe_6grams", "frac_chars_dupe_7grams",
      "frac_chars_dupe_8grams", "frac_chars_dupe_9grams", "frac_chars_dupe_10grams",
      "frac_chars_top_2gram", "frac_chars_top_3gram", "frac_chars_top_4gram", "ldnoobw_words",
      "ut1_blacklist")),
    *(f"rps_lines_{name}" for name in ("ending_with_terminal_punctution_mark", "javascript_counts",
      "num_words", "numerical_chars_fraction", "start_with_bulletpoint",
      "uppercase_letter_fraction")),
)  # fmt: skip
"""The published signals; not every document has each."""

_BATCH = 256
_UNFIT = "the two files do not belong together"


@dataclass(frozen=True)
class Companion:
    """What of RedPajama v2 is read beside the documents: a filter on signals, duplicates."""

    filter: str | None
    duplicates: bool

    def paths(self, path: str) -> list[str]:
        """The files that are read beside the documents at `path`, signals first; InputError for a
        path without the folder `documents`.
        """
        found = [_beside(path, "quality_signals", ".signals.json.gz")] if self.filter else []
        more = [_beside(path, "duplicates", ".duplicates.parquet")] if self.duplicates else []
        return found + more

    def listing(self, paths: Iterable[str]) -> list[int]:
        """The bytes of all these files; InputError for one that is not there."""
        return [*together(_size, [one for path in paths for one in self.paths(path)])]

    def join(
        self, records: Iterable[Raw | Fault], path: str, max_record_bytes: int
    ) -> Iterator[tuple[Raw | Fault, str | None, SourceRecord]]:
        """Each of `records`, all those of the file at `path`, with the reason why it is left out,
        if it is, and what is known about it for `meta`.
        """
        duplicates = _duplicates(path) if self.duplicates else set[int]()
        signals = self._signals(path, max_record_bytes)
        fault = False
        for row, found in enumerate(records):
            keep, more = next(signals, (None, {}))
            fault = isinstance(found, Fault)
            if keep is None and not fault:
                raise InputError(f"{path}: more rows than {self.paths(path)[0]} has; {_UNFIT}")
            reason = "filtered" if keep is False else None
            yield found, "duplicate" if row in duplicates else reason, more
        if self.filter and not fault and next(signals, None):
            raise InputError(f"{path}: fewer rows than {self.paths(path)[0]} has; {_UNFIT}")

    def _signals(self, path: str, max_record_bytes: int) -> Iterator[tuple[bool, SourceRecord]]:
        """Whether to keep each row, and the signals that the filter names."""
        if not self.filter:
            yield from repeat((True, {}))
        wanted = signal_filter(self.filter or "")
        names = sorted(wanted.columns)
        schema = pa.schema([(name, pa.float64()) for name in names])
        rows = _rows(self.paths(path)[0], shard_id(path), names, max_record_bytes)
        while batch := [*islice(rows, _BATCH)]:
            mask = wanted.mask(pa.Table.from_pylist(batch, schema))
            for keep, values in zip(mask, batch, strict=True):
                yield bool(keep), {"quality_signals": values}


def signal_filter(text: str) -> Filter:
    """A filter on signals; ConfigError when it is none."""
    return parse_filter(text, pa.schema([(name, pa.float64()) for name in SIGNALS]), "input.filter")


def value(spans: Any) -> float | None:
    """What a name in a filter means: the mean score over the spans `[start, end, score]` of a
    signal, which for a document's signal is its one score. None without any score.
    """
    scores = [score for _, _, score in spans if score is not None]
    return sum(scores) / len(scores) if scores else None


def shard_id(path: str) -> str:
    """What the documents of a file are called by: its path within `documents`."""
    _, folder, shard = path.rpartition("/documents/")
    if not folder:
        raise InputError(
            f"{path}: found no folder 'documents' in this path; accepted beside input.filter and "
            "input.duplicates: files as RedPajama v2 publishes them"
        )
    return shard


def _beside(path: str, folder: str, suffix: str) -> str:
    shard = shard_id(path)
    root = path[: -len(f"/documents/{shard}")]
    return f"{root}/{folder}/{shard.split('.json')[0]}{suffix}"


def _size(path: str) -> int:
    with told_as(InputError, f"{path}: cannot read"):
        fs, inner = resolve(path)
        return int(fs.size(inner))


def _rows(where: str, shard: str, names: list[str], limit: int) -> Iterator[SourceRecord]:
    """The values of the signals `names`, row after row."""
    for row, found in enumerate(CorpusFile(where, limit).records()):
        try:
            if not isinstance(found, Raw) or not isinstance(found.data, bytes):
                raise BadRecord(found.reason if not isinstance(found, Raw) else "not_an_object")
            record = parse_line(found.data)
            signals = record["quality_signals"]
            values = {name: value(signals.get(name) or ()) for name in names}
        except (BadRecord, KeyError, TypeError, ValueError, AttributeError) as error:
            reason = str(error) if isinstance(error, BadRecord) else "no quality_signals"
            raise InputError(f"{where} line {found.line}: no row of signals: {reason}") from None
        if record.get("id") != f"{shard}/{row}":
            raise InputError(
                f"{where} line {found.line}: found the id {record.get('id')!r:.80}; accepted: "
                f"'{shard}/{row}', that of the document it is joined to"
            )
        yield values


def _duplicates(path: str) -> set[int]:
    """Rows of the documents at `path` that an earlier document equals."""
    where, prefix = _beside(path, "duplicates", ".duplicates.parquet"), f"{shard_id(path)}/"
    found: set[int] = set()
    with told_as(InputError, f"{where}: cannot read"):
        fs, inner = resolve(where)
        with fs.open(inner, "rb") as stream:
            whole = Whole(stream)
            try:
                for batch in batches(whole.parquet(), columns=["doc_id"]):
                    found |= {
                        _row(where, str(name), prefix) for name in batch["doc_id"].to_pylist()
                    }
            except (pa.ArrowException, KeyError, OSError):
                if whole.error:
                    raise whole.error from None
                raise InputError(
                    f"{where}: damaged, or no Parquet file with a column doc_id"
                ) from None
    return found


def _row(where: str, name: str, prefix: str) -> int:
    """The row that `name` names."""
    row = name.removeprefix(prefix)
    if row == name or not row.isdecimal():
        raise InputError(
            f"{where}: found the doc_id {name!r:.80}; accepted: '{prefix}…', those of the "
            "documents it is joined to"
        )
    return int(row)
