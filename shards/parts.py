"""A part: the rows, or the raw verdicts, of one commit, and where they lie.

A part is a row group of a Parquet file, in sets of an older format a file of its own. The row group
stays byte for byte what it was when files are merged, and so does its digest; only its place
changes. Names of files are checked when they are read: none leads out of the set's folder.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from prewrite.base.text import one_line


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


def refuse_name(name: str) -> None:
    """ValueError for the name of a file that could lie outside of a set's folder."""
    steps = name.split("/")
    if "\\" in name or "://" in name or any(step in ("", ".", "..") for step in steps):
        raise ValueError(f"found {name!r}; accepted: a path inside the set's folder")
    if not name.isprintable() or any(len(step.encode()) > 255 for step in steps):
        shown = one_line(name, 60)
        raise ValueError(f"found '{shown}'; accepted: printable names of at most 255 bytes")


def files_of(parts: Iterable[Part]) -> dict[str, list[Part]]:
    """The parts of each file, in their order."""
    found: dict[str, list[Part]] = {}
    for part in parts:
        found.setdefault(part.file, []).append(part)
    return found
