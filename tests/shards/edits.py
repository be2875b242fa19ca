"""Edits of a manifest on purpose: its digest is made that of the edited content."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prewrite.shards.seal import opened, sealed


@contextmanager
def edited(folder: Path) -> Iterator[dict[str, Any]]:
    """The content of the manifest, which is written back as it is at the end."""
    path = folder / "manifest.json"
    content, _ = opened(json.loads(path.read_text()))
    yield content
    path.write_bytes(sealed(content))


def replaced(folder: Path, old: str, new: str) -> None:
    """Replace the first `old` in the text of the manifest."""
    path = folder / "manifest.json"
    text = path.read_text()
    assert old in text
    content, _ = opened(json.loads(text.replace(old, new, 1)))
    path.write_bytes(sealed(content))
