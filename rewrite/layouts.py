"""Corpus layouts: how one record of a published corpus becomes (text, id, source, other fields).

The rule all layouts share: text is the first of `text`, `raw_content`; the id is the first of
`id`, `doc_id`, else `<relative path>/<row>`; the source is named by the record or by its path; all
else goes into one JSON string, never an inferred structure. A further layout is one more entry in
LAYOUTS.
"""

import ast
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from base.errors import InputError

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
        meta = json.dumps(left, default=str)
        return Parsed(text, None if name is None else clean(str(record[name])), clean(source), meta)


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


def choose(name: str, first: Record, path: str) -> Layout:
    """The layout called `name`, or (`auto`) the one whose records look like `first`."""
    if name != "auto":
        return LAYOUTS[name]
    for layout in LAYOUTS.values():
        if layout.detect(first):
            return layout
    raise InputError(
        f"{path}: the first record has the fields {', '.join(map(str, first)) or '(none)'}; "
        f"no known layout fits (known: {', '.join(LAYOUTS)}); name one in input.layout"
    )


def parse_line(line: bytes) -> Record:
    """A JSON line as a record; BadRecord when it is none."""
    try:
        # NaN and Infinity are no JSON; as texts they survive into `meta`.
        record = json.loads(line, parse_constant=str)
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
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return text
