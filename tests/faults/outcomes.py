"""What a disturbed set is worth: whole, or a sentence says that it is not, or something is lost.

whole: verifies, is complete, has the rows and verdicts of an undisturbed run in their order, and
nothing else lies in its folder. left: the same, but files were left over that no reader takes for
rows. told: a sentence says what is wrong. silent: all is called good, and it is not. traceback: a
bug ended a command.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from prewrite.base.cli import sentence
from prewrite.shards.reader import ShardSet
from prewrite.shards.verify import verify
from tests.faults import tiny

T = TypeVar("T")


@dataclass(frozen=True)
class Found:
    """An outcome, and why."""

    outcome: str
    why: str = ""

    @property
    def good(self) -> bool:
        return self.outcome == "whole"


def attempt(call: Callable[[], T]) -> tuple[T | None, Found | None]:
    """The value of a call, or what it ended with: `told` or `traceback`."""
    try:
        return call(), None
    except Exception as error:
        known = sentence(error)
        if known is not None:
            return None, Found("told", str(known))
        lines = traceback.format_exception(error)
        return None, Found("traceback", "".join(lines[-2:]).strip())


@dataclass(frozen=True)
class Truth:
    """What an undisturbed run leaves: rows and verdicts, and the files beside them."""

    said: list[Any]
    names: frozenset[str]

    @classmethod
    def of(cls, folder: Path) -> "Truth":
        shards = ShardSet(str(folder)).finished()
        return cls(tiny.said(shards), frozenset(_names(folder) - _listed(shards)))

    def look(self, folder: Path) -> Found:
        """What the set in `folder` is worth."""
        result, ended = attempt(lambda: verify(str(folder)))
        if ended or not result:
            return ended or Found("silent", "verify says nothing")
        if result["problems"]:
            return Found("told", str(result["problems"][0]))
        shards = ShardSet(str(folder))
        found = self._said(shards)
        if found.outcome == "told":
            return Found("silent", f"verify says good, and a reader: {found.why}")
        if not found.good:
            return found
        more = _names(folder) - _listed(shards) - self.names
        stray = sorted(name for name in more if _is_read(name))
        if stray:
            return Found("silent", f"{stray[0]}: not listed, and read as rows")
        return Found("left", ", ".join(sorted(more))) if more else found

    def read(self, folder: Path) -> Found:
        """What a reader gets of the set in `folder`."""
        shards, ended = attempt(lambda: ShardSet(str(folder)))
        return self._said(shards) if shards else ended or Found("silent", "nothing is read")

    def _said(self, shards: ShardSet) -> Found:
        said, ended = attempt(lambda: tiny.said(shards.finished()))
        if ended or said is None:
            return ended or Found("silent", "nothing is read")
        if said == self.said:
            return Found("whole")
        rows, expected = ([row["id"] for row in some[0]] for some in (said, self.said))
        many = f"{len(rows)} of {len(expected)} rows, {len(rows) - len(set(rows))} doubled"
        return Found("silent", many if rows != expected else "other rows or verdicts")


def content(folder: Path) -> dict[str, bytes | None]:
    """All that is in a folder: files with what they hold, and folders."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def _names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def _listed(shards: ShardSet) -> set[str]:
    """The files of a set whose names are its own."""
    parts = {part.file for part in (*shards.parts, *shards.verdicts)}
    return parts | {file.name for file in shards.manifest.log}


def _is_read(name: str) -> bool:
    """Whether a reader that takes `*.parquet`, at any depth, reads a file."""
    return name.endswith(".parquet")
