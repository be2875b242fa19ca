"""Corpus layouts: how one record of a published corpus becomes (text, id, source, other fields).

A layout says which field holds the text, which names the source, and how its records are known.
The id is the first of `id`, `doc_id`, where it can name a document, else the caller makes one;
where records do not name the source, the path does; all else goes into one JSON string, never an
inferred structure: a `meta` that is a text stays that text. A further layout is one more entry in
LAYOUTS.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

SourceRecord = dict[str, Any]


class BadRecord(Exception):
    """A record without a usable text; the argument is the reason it is counted under."""


LONGEST_ID = 4096
"""Characters of an id, which stands in each row of its document."""


class Parsed(NamedTuple):
    """What a layout finds in a record. `doc_id` is None where the record has none that can name a
    document; bad_id: why, where it has one that cannot.
    """

    text: str
    doc_id: str | None
    source: str
    meta: str
    bad_id: str | None = None


@dataclass(frozen=True)
class Layout:
    """One published record layout."""

    detect: Callable[[SourceRecord], bool]
    source: Callable[[SourceRecord, str], Any]
    """Of a record and its file's relative path; what is no text falls back to the path."""
    text: str = "text"
    drop: tuple[str, ...] = ()
    """Fields that are left out of `meta` where `source` tells them already."""
    id_with_source: bool = False
    """Ids are unique within a source only."""

    def parse(self, record: SourceRecord, path: str, more: SourceRecord | None = None) -> Parsed:
        """Read one record of the file at the relative `path`; `more` goes into `meta` as well.
        BadRecord when it has no text.
        """
        text = _text(record.get(self.text), self.text in record)
        named = self.source(record, path)
        by_record = isinstance(named, str) and named
        source = clean(named if by_record else _by_path(path))
        key, doc_id, bad_id = _name(record, f"{source}/" if self.id_with_source else "")
        told = [k for k in self.drop if record.get(k) == named] if by_record else []
        left = record.copy()
        for field in (self.text, *told, *([key] if key else [])):
            left.pop(field, None)
        return Parsed(text, doc_id, source, _to_json(left | more if more else left), bad_id)


def _name(record: SourceRecord, prefix: str) -> tuple[str | None, str | None, str | None]:
    """The field that names a document, and the name; or why what is there cannot name one."""
    key = "doc_id" if record.get("id") is None else "id"
    value = record.get(key)
    if value is None:
        return None, None, "null" if "id" in record or "doc_id" in record else None
    if isinstance(value, float) and not math.isfinite(value):
        return None, None, "nan" if math.isnan(value) else "infinite"
    try:
        text = str(value)
    except RecursionError:
        raise BadRecord("nested_too_deeply") from None
    if not text.strip():
        return None, None, "blank" if text else "empty"
    if len(prefix) + len(text) > LONGEST_ID:
        return None, None, "too_long"
    return key, prefix + clean(text), None


def _by_path(path: str) -> str:
    """The last folder of a relative path, else the file's name up to its first dot."""
    *folders, name = path.split("/")
    return folders[-1] if folders else name.split(".")[0]


# Raw Common Crawl has the label of a classifier beside the text, and no `meta`.
_V1_ONLY = {"red_pajama_subset", "meta", "pred_label"}
_SUBSETS = ("arxiv", "book", "c4", "common_crawl", "github", "stackexchange", "wikipedia")


def _red_pajama_subset(record: SourceRecord, path: str) -> Any:
    """RedPajama v1 in its raw form names the subset in the path only, at no fixed depth."""
    folders = path.split("/")[:-1]
    by_path = next((folder for folder in folders if folder in _SUBSETS), None)
    return record.get("red_pajama_subset") or by_path


_SET_NAME = re.compile(r"""["']redpajama_set_name["']\s*:\s*["']([^"'\\]+)["']""")


def _set_name(record: SourceRecord) -> Any:
    """SlimPajama's name of the subset, where `meta` is a text out of that; null for a record of
    another corpus.
    """
    meta = record.get("meta")
    if isinstance(meta, str):
        found = _SET_NAME.search(meta)
        return found and found[1]
    return meta.get("redpajama_set_name") if isinstance(meta, dict) else None


def _snapshot(record: SourceRecord, path: str) -> str | None:
    found = re.search(r"(?:^|/)(\d{4}-\d{2})/", path)
    return found[1] if found else None


def _has(*fields: str) -> Callable[[SourceRecord], bool]:
    return lambda record: all(field in record for field in fields)


_FINEWEB = ("text", "id", "dump", "file_path", "language_score")

LAYOUTS: dict[str, Layout] = {
    "redpajama-v2": Layout(_has("raw_content"), _snapshot, text="raw_content"),
    "slimpajama": Layout(
        lambda record: "text" in record and _set_name(record) is not None,
        lambda record, path: _set_name(record),
    ),
    "fineweb-edu": Layout(
        _has(*_FINEWEB, "int_score"), lambda record, path: record.get("dump"), drop=("dump",)
    ),
    "fineweb": Layout(_has(*_FINEWEB), lambda record, path: record.get("dump"), drop=("dump",)),
    "dolma": Layout(
        _has("text", "id", "source"),
        lambda record, path: record.get("source"),
        drop=("source",),
        id_with_source=True,
    ),
    "redpajama-v1": Layout(
        lambda record: "text" in record and not _V1_ONLY.isdisjoint(record),
        _red_pajama_subset,
        drop=("red_pajama_subset",),
    ),
    "text": Layout(_has("text"), lambda record, path: record.get("source"), drop=("source",)),
}
"""By name, the most particular first: a record has the first one that `detect`s it."""


def layout_of(name: str, text_field: str) -> Layout:
    """The layout called `name`; that of plain text reads the field `text_field`."""
    return replace(LAYOUTS[name], text=text_field) if name == "text" else LAYOUTS[name]


def detect(record: SourceRecord) -> str | None:
    """The name of the layout that `record` has; null when it has none."""
    return next((name for name, layout in LAYOUTS.items() if layout.detect(record)), None)


def parse_line(line: bytes) -> SourceRecord:
    """A JSON line as a record; BadRecord when it is none.

    msgspec gives what `json` gives, in half of the time, and refuses some that `json` takes: NaN,
    a float out of range, a lone surrogate, UTF-16, a byte order mark.
    """
    try:
        try:
            record = _DECODER.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            record = json.loads(line)
    except UnicodeDecodeError:
        raise BadRecord("not_utf8") from None
    except (ValueError, RecursionError):
        raise BadRecord("broken_json") from None
    if not isinstance(record, dict):
        raise BadRecord("not_an_object")
    return record


def clean(text: str) -> str:
    """A text that any UTF-8 writer takes."""
    return text.encode("utf-8", "replace").decode()


def _text(value: Any, there: bool) -> str:
    if not there or value is None:
        raise BadRecord("no_text")
    if not isinstance(value, str):
        raise BadRecord("text_is_no_string")
    if not value or value.isspace():
        raise BadRecord("blank_text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise BadRecord("lone_surrogate") from None
    return value


_DECODER = msgspec.json.Decoder()
_JSON = json.JSONEncoder(default=str, allow_nan=False, check_circular=False)
"""Both made once: that costs more than a record."""


def _to_json(fields: SourceRecord) -> str:
    """Other fields as JSON that every reader takes, whatever they hold."""
    try:
        try:
            return _JSON.encode(fields)
        except (ValueError, TypeError):
            # NaN and Infinity are no JSON, nor are tuples as keys: texts say the same.
            return json.dumps(_plain(fields))
    except RecursionError:
        raise BadRecord("nested_too_deeply") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, str | int):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else str(value)
