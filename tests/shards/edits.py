"""Edits of a set on purpose. Its digests are made those of the edited content, but for damage."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prewrite.base.files import Folder
from prewrite.shards import log, names
from prewrite.shards.manifest import Manifest, Record
from prewrite.shards.parts import Part
from prewrite.shards.seal import opened, sealed

_TOKEN = "abcdef012345"


@contextmanager
def edited(folder: Path) -> Iterator[dict[str, Any]]:
    """The content of the manifest, which is written back as it is at the end."""
    path = folder / names.MANIFEST
    content, _ = opened(json.loads(path.read_text()))
    yield content
    path.write_bytes(sealed(content))


def replaced(folder: Path, old: str, new: str) -> None:
    """Replace the first `old` in the text of the manifest."""
    path = folder / names.MANIFEST
    text = path.read_text()
    assert old in text
    content, _ = opened(json.loads(text.replace(old, new, 1)))
    path.write_bytes(sealed(content))


def logged(folder: Path, change: Callable[[list[Record]], object]) -> None:
    """Change the records of the commit log, which is written anew and listed."""
    place = Folder(str(folder))
    manifest = Manifest.load(place)
    records = [*log.records(place, manifest)]
    change(records)
    for file in manifest.log:
        (folder / file.name).unlink()
    token = manifest.owner + _TOKEN[len(manifest.owner) :]
    manifest.log = log.write(place, records, token)
    manifest.save(place)


def flip(folder: Path, part: Part, offset: int | None = None) -> None:
    """Flip a bit of the row group of a part: `offset` bytes after its start, or in its middle."""
    path = folder / part.file
    data = bytearray(path.read_bytes())
    data[part.start + (part.bytes // 2 if offset is None else offset)] ^= 1
    path.write_bytes(data)


def files_with_rows(folder: Path) -> list[Path]:
    """In the order of their names."""
    return sorted(path for path in (folder / names.DATA).iterdir() if path.is_file())
