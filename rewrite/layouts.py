"""Corpus layouts: how one record of a published corpus becomes (text, id, source, other fields).

The rule all layouts share: text is the first of `text`, `raw_content`; the id is the first of
`id`, `doc_id`, else `<relative path>/<row>`; the source is named by the record or by its path; all
else goes into one JSON string, never an inferred structure. A further layout is one more entry in
LAYOUTS.
"""

import ast
import json
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Record = dict[str, Any]


class BadRecord(Exception):
    """A record without a usable text; the argument is the reason it is counted under."""


@dataclass(frozen=True)
class Parsed:
    """What a layout finds in a record. `doc_id` is None where the record has none."""

    text: str
    doc_id: str | None
    source: str
    meta: str


@dataclass(frozen=True)
class Layout:
    """One published record layout."""

    detect: Callable[[Record], bool]
    source: Callable[[Record, str], str | None]
    drop: tuple[str, ...] = ()
    """Fields that `source` already tells, left out of `meta`."""

    def parse(self, record: Record, path: str) -> Parsed:
        """Read one record of the file at the relative `path`; BadRecord when it has no text."""
        key = "text" if "text" in record else "raw_content"
        text = _text(record.get(key, None), key in record)
        name = next((k for k in ("id", "doc_id") if record.get(k) is not None), None)
        source = self.source(record, path) or path.split("/")[0].split(".")[0]
        left = {k: v for k, v in record.items() if k not in (key, name, *self.drop)}
        if isinstance(left.get("meta"), str):
            left["meta"] = _parse_meta(left["meta"])
        doc_id = None if name is None else clean(str(record[name]))
        return Parsed(text, doc_id, clean(source), _to_json(left))


def _red_pajama_source(record: Record, path: str) -> str | None:
    named = record.get("red_pajama_subset")
    if isinstance(named, str):
        return named
    folders = path.split("/")[:-1]
    return folders[-1] if folders else None


LAYOUTS: dict[str, Layout] = {
    "redpajama-v1": Layout(
        detect=lambda record: "text" in record,
        source=_red_pajama_source,
        drop=("red_pajama_subset",),
    ),
}


def choose(name: str, record: Record) -> Layout:
    """The layout called `name`, or (`auto`) the one whose records look like `record`; BadRecord
    when none does, for one row without a text says nothing about the rows after it.
    """
    if name != "auto":
        return LAYOUTS[name]
    for layout in LAYOUTS.values():
        if layout.detect(record):
            return layout
    raise BadRecord("no_text")


def parse_line(line: bytes) -> Record:
    """A JSON line as a record; BadRecord when it is none."""
    try:
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


def _parse_meta(text: str) -> Any:
    """RedPajama v1 has `meta` as JSON or as a Python dict's repr, by subset."""
    for parse in (json.loads, _parse_repr):
        try:
            return parse(text)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
    return text


def _parse_repr(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of escapes in the text, which is data and no program
        return ast.literal_eval(text)


def _to_json(fields: Record) -> str:
    """Other fields as JSON that every reader takes, whatever they hold."""
    try:
        try:
            return json.dumps(fields, default=str, allow_nan=False)
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
