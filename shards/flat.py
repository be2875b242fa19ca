"""Sets of format 1, as Prewrite 0.1 wrote them, and of format 2 before its release: in one folder.

`manifest.json` lists each part itself, a file of its own; `commits.jsonl` has the commit records.
They are read for ever, and `shards.upgrade` makes them sets of today. Nothing writes them.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from prewrite.base.files import Folder
from prewrite.shards.parts import Part, refuse_name

FORMATS = (1, 2)
WHAT = "an older format, with all files in one folder"
MANIFEST = "manifest.json"
LOG = "commits.jsonl"
REWRITES = "rewrites"
REFERENCES = "reference"
FILES = (MANIFEST, "README.md", LOG, "skipped.jsonl")
"""What such a set has beside its parts."""

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
    sha256: str
    footer: str | None = None

    def part(self) -> Part:
        """What it is called today."""
        refuse_name(self.name)
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


def taken(content: dict[str, Any]) -> FlatFiles:
    """The files that the content of a manifest lists, which are taken out of it. ValueError where
    one is listed twice, or could lie outside of the folder.
    """
    found = [
        [_File.model_validate(file).part() for file in content.pop(key, [])]
        for key in ("parts", "judgements")
    ]
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
    ValueError for one that is damaged.
    """
    data = folder.read(LOG)
    if data is None:
        return None
    lines = [json.loads(line) for line in data.splitlines()]
    return [_record(line) for line in lines if "split" in line]


def _record(raw: dict[str, Any]) -> dict[str, Any]:
    files = {key: raw.get(key) for key in ("part", "judgements")}
    return raw | {
        key: _File.model_validate(file).part() if file else None for key, file in files.items()
    }
