"""A part: the rows, or the raw verdicts, of one commit, and where they lie.

A part is a row group of a Parquet file, in sets of an older format a file of its own. The row group
stays byte for byte what it was when files are merged, and so does its digest; only its place
changes. What is read of a part is checked: no file leads out of the set's folder, and every number
is one that a part can have.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from prewrite.base.text import one_line

SHA256 = "^[0-9a-f]{64}$"
"""How a SHA-256 is written."""

_LARGEST = (1 << 63) - 1  # what a column of a log can hold


@dataclass(slots=True)
class Part:
    """name: `<split>-<block>`, which stays whatever file it is in.

    file: where it lies in the folder, a file of `file_bytes` whose footer has the SHA-256 `footer`
    (empty in sets of format 1). group, groups: the number of its row group and how many there are;
    None where it is all of the file. start, bytes, sha256: what it takes of the file. known_as: the
    digest that passes over the set compare; it stays when the set is upgraded, or rows are taken
    out of the part.
    """

    name: str
    file: str
    file_bytes: int
    footer: str
    groups: int
    group: int | None
    start: int
    bytes: int
    rows: int
    sha256: str
    known_as: str


def limits(of: Any) -> list[tuple[str, Any, Any]]:
    """The least and the largest value of each number of a part. of: a part, or what has columns of
    many parts under the same names.
    """
    return [
        ("file_bytes", 1, _LARGEST),
        ("groups", 1, _LARGEST),
        ("group", 0, of.groups - 1),
        ("start", 0, of.file_bytes),
        ("bytes", 1, of.file_bytes - of.start),
        ("rows", 1, _LARGEST),
    ]


def refuse_wrong(part: Part) -> None:
    """ValueError for what no part of a set of today can be."""
    refuse_name(part.file)
    for name, least, most in limits(part):
        value = getattr(part, name)
        if value is None or not least <= value <= most:
            raise ValueError(f"{name}: {outside(value, least, most)}")
    for name in ("footer", "sha256", "known_as"):
        if not re.fullmatch(SHA256, getattr(part, name)):
            raise ValueError(f"{name}: {no_digest(getattr(part, name))}")


def outside(value: object, least: int, most: int) -> str:
    """What is wrong with a number that a part cannot have."""
    return f"found {one_line(str(value), 60)}; accepted: {least} to {most}"


def no_digest(text: str) -> str:
    """What is wrong with a digest of another form."""
    return f"found '{one_line(text, 60)}'; accepted: a SHA-256, 64 digits of 0-9 and a-f"


def refuse_name(name: str) -> None:
    """ValueError for the name of a file that could lie outside of a set's folder."""
    steps = name.split("/")
    if "\\" in name or "://" in name or any(step in ("", ".", "..") for step in steps):
        raise ValueError(
            f"found {one_line(repr(name), 80)}; accepted: a path inside the set's folder"
        )
    if not name.isprintable() or any(len(step.encode()) > 255 for step in steps):
        shown = one_line(name, 60)
        raise ValueError(f"found '{shown}'; accepted: printable names of at most 255 bytes")


def files_of(parts: Iterable[Part]) -> dict[str, list[Part]]:
    """The parts of each file, in their order."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part.file, []).append(part)
    return found
