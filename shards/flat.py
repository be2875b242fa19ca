"""Sets of format 1, as Prewrite 0.1 wrote them, and of format 2 before its release: in one folder.

`manifest.json` lists each part itself, a file of its own; `commits.jsonl` has the commit records.
They are read for ever, and `shards.upgrade` makes them sets of today. Nothing writes them.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.text import one_line
from prewrite.shards.decoded import fault
from prewrite.shards.parts import SHA256, Part, refuse_name

FORMATS = (1, 2)
WHAT = "an older format, with all files in one folder"
MANIFEST = "manifest.json"
LOG = "commits.jsonl"
REWRITES = "rewrites"
REFERENCES = "reference"
FILES = (MANIFEST, "README.md", LOG, "skipped.jsonl")
"""What such a set has beside its parts."""

_END = "commit_log"  # of the last line that format 2 had before its release
_NAME = re.compile(r"(?:judgements/)?part-[^/]+\.parquet")
_PART = re.compile(r"(?:judgements/)?part-(?P<block>.+)-[0-9a-f]{12}\.parquet")


@dataclass(frozen=True)
class FlatFiles:
    """The parts with rows, and those with raw verdicts."""

    parts: list[Part]
    verdicts: list[Part]


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    rows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=SHA256)
    footer: str | None = Field(None, pattern=SHA256)

    @field_validator("name")
    @classmethod
    def _named(cls, name: str) -> str:
        """An upgrade removes what is listed, so nothing else may be."""
        refuse_name(name)
        if not _NAME.fullmatch(name):
            raise ValueError(f"found '{one_line(name, 60)}'; accepted: part-….parquet")
        return name

    def part(self) -> Part:
        """What it is called today."""
        return Part(
            name=block_of(self.name),
            file=self.name,
            file_bytes=self.bytes,
            footer=self.footer or "",
            groups=1,
            group=None,
            start=0,
            bytes=self.bytes,
            rows=self.rows,
            sha256=self.sha256,
            known_as=self.sha256,
        )


class _Listed(BaseModel):
    parts: list[_File] = Field(default_factory=list)
    judgements: list[_File] = Field(default_factory=list)


def taken(content: dict[str, Any]) -> FlatFiles:
    """The files that the content of a manifest lists, which are taken out of it. ValueError where
    one is listed twice, or could lie outside of the folder.
    """
    keys = [key for key in _Listed.model_fields if key in content]
    listed = _Listed.model_validate({key: content.pop(key) for key in keys})
    found = [[file.part() for file in some] for some in (listed.parts, listed.judgements)]
    counts = Counter(part.file for parts in found for part in parts)
    for name, times in counts.items():
        if times > 1:
            raise ValueError(f"found {name!r} {times} times; accepted: every file once")
    return FlatFiles(*found)


def block_of(name: str) -> str:
    """`<split>-<block>` of a file's name; in format 1 with what else the name has."""
    found = _PART.fullmatch(name)
    bare = name.rpartition("/")[2].removeprefix("part-").removesuffix(".parquet")
    return found["block"] if found else bare


def records(folder: Folder) -> list[dict[str, Any]] | None:
    """The commit records of a set, as they were written, with today's parts; None without a log.
    ShardError for a line that holds none.
    """
    data = folder.read(LOG)
    return None if data is None else [*_records(f"{folder.url}/{LOG}", data.splitlines())]


def _records(where: str, lines: list[bytes]) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(lines, 1):
        try:
            raw = json.loads(line)
            if isinstance(raw, dict) and "split" in raw:
                yield _record(raw)
            elif number < len(lines) or not (isinstance(raw, dict) and _END in raw):
                raise ValueError("found no record of a commit; accepted: one a line")
        except RecursionError:
            raise ShardError(f"{where}: line {number}: damaged: nested too deeply") from None
        except ValueError as error:
            said = fault(error) if isinstance(error, ValidationError) else one_line(str(error), 200)
            raise ShardError(f"{where}: line {number}: damaged: {said}") from None


def _record(raw: dict[str, Any]) -> dict[str, Any]:
    files = {key: raw.get(key) for key in ("part", "judgements")}
    return raw | {
        key: _File.model_validate(file).part() if file is not None else None
        for key, file in files.items()
    }
