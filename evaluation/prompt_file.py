"""Prompts out of a file: JSON lines or Parquet, one record a prompt, as benchmarks come.

What the models continue and what the judge sees as reference are texts with fields in braces, as
`{prompt.text}` or `Question: {question}`. Records that make the same prompt with the same reference
are one; none is left out but by the filter, so one without a value in a field that is put in, or
with nothing to continue, is refused. Which are drawn is a function of seed and texts alone, so
neither their order nor their number matters.
"""

import hashlib
import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.config import near
from prewrite.base.errors import ConfigError, InputError
from prewrite.base.files import Folder
from prewrite.evaluation.config import FIELD, PrefixesConfig
from prewrite.shards.filters import parse_filter


@dataclass(frozen=True)
class PromptRecord:
    """A record of a file. where: file and line; fields: name → value, one in another is
    `outer.inner`, and one that only other records have is None.
    """

    where: str
    fields: Mapping[str, Any]

    def filled(self, text: str, key: str) -> str:
        """A text with its fields; what looks like one inside of a field stays as it is, and so
        does what stands in braces with white space and is none.
        """

        def field(match: re.Match[str]) -> str:
            name = match[1]
            if name not in self.fields and any(map(str.isspace, name)):
                return match[0]
            if name not in self.fields:
                accepted = ", ".join(self.fields) or "none"
                hint = near(name, self.fields)
                raise ConfigError(f"{key}: found the field '{name}';{hint} accepted: {accepted}")
            return self._told(name, key)

        return FIELD.sub(field, text)

    def _told(self, name: str, key: str) -> str:
        value = self.fields[name]
        if value is None or isinstance(value, bytes):
            found = "nothing" if value is None else "bytes"
            raise InputError(
                f"{self.where}: found {found} in the field '{name}', which {key} puts in; "
                "accepted: a text, or a filter that leaves this record out"
            )
        if isinstance(value, str):
            return value
        return json.dumps(value, ensure_ascii=False, default=str)


def prompts_of(split: str, config: PrefixesConfig) -> dict[str, tuple[str, str]]:
    """Id → prompt and reference (empty for none) of each prompt of a file; an id is a digest of
    both.

    InputError for a file that is not there or cannot be read, or a record that makes no prompt;
    ConfigError for a field that it has not, a filter that cannot be used, or where nothing is left.
    """
    key = f"evaluate.prefixes.{split}"
    found = dict[str, tuple[str, str]]()
    for record in _passing(records(config.place, f"{key}.prompts"), config, f"{key}.filter"):
        text = record.filled(config.text, f"{key}.text")
        reference = record.filled(config.reference or "", f"{key}.reference")
        if not text.strip():
            raise InputError(
                f"{record.where}: found nothing to continue, of {key}.text; accepted: a text, or "
                "a filter that leaves this record out"
            )
        digest = hashlib.sha256(json.dumps([text, reference]).encode()).hexdigest()
        found[digest[:16]] = text, reference
    if not found:
        raise ConfigError(f"{key}: found no prompt in {config.place}; accepted: one or more")
    return found


def records(file: str, key: str) -> list[PromptRecord]:
    """The records of a file; key: of the recipe, for the sentence of an error."""
    folder, name = Folder(file).parent()
    data = folder.read(name)
    if data is None:
        raise InputError(f"{key}: found no file {file}; accepted: one of prompts")
    rows = dict(_parquet(file, data) if name.endswith(".parquet") else _lines(file, data))
    names = dict.fromkeys(name for row in rows.values() for name in row)
    return [
        PromptRecord(where, {name: row.get(name) for name in names}) for where, row in rows.items()
    ]


def _parquet(file: str, data: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        for name, times in Counter(pq.read_schema(io.BytesIO(data)).names).items():
            if times > 1:
                raise InputError(f"{file}: found two columns called '{name}'; accepted: one")
        rows = pq.read_table(io.BytesIO(data)).to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{file}: no Parquet file: {str(error).splitlines()[0]}") from None
    except (ValueError, OverflowError) as error:  # text that is not UTF-8, a date without a year
        raise InputError(f"{file}: found a value that cannot be read: {error}") from None
    for number, row in enumerate(rows, 1):
        yield f"{file}: row {number}", dict(_flat(row))


def _lines(file: str, data: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    for number, line in enumerate(data.splitlines(), 1):
        if line.strip():
            where = f"{file}: line {number}"
            yield where, _parsed(line, where)


def _parsed(line: bytes, where: str) -> dict[str, Any]:
    """The fields of a line of JSON."""
    found = "no JSON object"
    try:
        row = json.loads(line)
        if isinstance(row, dict):
            json.dumps(row, ensure_ascii=False).encode()
            return dict(_flat(row))
    except UnicodeEncodeError:
        found = "half a character (a lone surrogate)"
    except UnicodeDecodeError:
        found = "text that is not UTF-8"
    except RecursionError:
        found = "JSON that is nested too deeply"
    except ValueError:
        pass
    raise InputError(f"{where}: found {found}; accepted: one JSON object a line")


def _flat(row: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _passing(found: Sequence[PromptRecord], config: PrefixesConfig, key: str) -> list[PromptRecord]:
    if config.filter is None or not found:
        return list(found)
    columns = {name: _column([one.fields[name] for one in found]) for name in found[0].fields}
    table = pa.table({name: column for name, column in columns.items() if column is not None})
    mask = parse_filter(config.filter, table.schema, key).mask(table)
    return [found[number] for number in np.flatnonzero(mask)]


def _column(values: Sequence[Any]) -> "pa.Array[Any] | None":
    """Texts or numbers as a condition may name them; None for anything else, or a mixture."""
    known = [value for value in values if value is not None]
    if all(isinstance(value, str) for value in known):
        return pa.array(values, pa.string())
    if all(isinstance(value, bool | int | float) for value in known):
        try:
            return pa.array([None if v is None else float(v) for v in values], pa.float64())
        except OverflowError:  # an integer of hundreds of digits
            return None
    return None
