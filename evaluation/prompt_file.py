"""Prompts out of a file: JSON lines or Parquet, one record a prompt, as benchmarks come.

What the models continue and what the judge sees as reference are texts with fields in braces, as
`{prompt.text}` or `Question: {question}`. Records that make the same prompt with the same reference
are one, and one without a prompt is none. Which are drawn is a function of seed and texts alone, so
neither their order nor their number matters.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.config import near
from prewrite.base.errors import ConfigError, InputError
from prewrite.base.files import Folder
from prewrite.evaluation.config import PrefixesConfig
from prewrite.shards.filters import parse_filter

PromptRecord = Mapping[str, Any]
"""Field → value; one in another is `outer.inner`."""

_FIELD = re.compile(r"\{([^{}\s]+)\}")


def prompts_of(split: str, config: PrefixesConfig) -> dict[str, tuple[str, str]]:
    """Id → prompt and reference (empty for none) of each prompt of a file; an id is a digest of
    both.

    InputError for a file that is not there or cannot be read; ConfigError for a field that it has
    not, a filter that cannot be used, or where nothing is left.
    """
    key = f"evaluate.prefixes.{split}"
    records = _records(config.place, f"{key}.prompts")
    found = dict[str, tuple[str, str]]()
    for record in _passing(records, config, f"{key}.filter"):
        text = _filled(config.text, record, f"{key}.text")
        reference = _filled(config.reference or "", record, f"{key}.reference")
        if text.strip():
            digest = hashlib.sha256(json.dumps([text, reference]).encode()).hexdigest()
            found[digest[:16]] = text, reference
    if not found:
        raise ConfigError(f"{key}: found no prompt in {config.place}; accepted: one or more")
    return found


def _records(file: str, key: str) -> list[PromptRecord]:
    folder, name = Folder(file).parent()
    data = folder.read(name)
    if data is None:
        raise InputError(f"{key}: found no file {file}; accepted: one of prompts")
    rows = _parquet(file, data) if name.endswith(".parquet") else _lines(file, data)
    flat = [dict(_flat(row)) for row in rows]
    names = dict.fromkeys(name for row in flat for name in row)
    return [{name: row.get(name) for name in names} for row in flat]


def _parquet(file: str, data: bytes) -> list[Any]:
    try:
        return list(pq.read_table(io.BytesIO(data)).to_pylist())
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: no Parquet file: {str(error).splitlines()[0]}") from None


def _lines(file: str, data: bytes) -> Iterator[Any]:
    for number, line in enumerate(data.splitlines(), 1):
        try:
            row = json.loads(line) if line.strip() else {}
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InputError(f"{file}: line {number}: found no JSON object; accepted: one a line")
        if row:
            yield row


def _flat(row: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _passing(
    records: Sequence[PromptRecord], config: PrefixesConfig, key: str
) -> list[PromptRecord]:
    if config.filter is None or not records:
        return list(records)
    columns = {name: _column([row[name] for row in records]) for name in records[0]}
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    mask = parse_filter(config.filter, table.schema, key).mask(table)
    return [records[number] for number in np.flatnonzero(mask)]


def _column(values: Sequence[Any]) -> "pa.Array[Any] | None":
    """Texts or numbers as a condition may name them; None for anything else, or a mixture."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, str) for value in known):
        return pa.array(values, pa.string())
    if all(isinstance(value, bool | int | float) for value in known):
        return pa.array([None if v is None else float(v) for v in values], pa.float64())
    return None


def _filled(text: str, record: PromptRecord, key: str) -> str:
    """A text with its fields; what looks like one inside of a field stays as it is."""

    def field(match: re.Match[str]) -> str:
        name = match[1]
        if name not in record:
            accepted = ", ".join(record) or "none"
            hint = near(name, record)
            raise ConfigError(f"{key}: found the field '{name}';{hint} accepted: {accepted}")
        value = record[name]
        if value is None:
            return ""
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return _FIELD.sub(field, text)
