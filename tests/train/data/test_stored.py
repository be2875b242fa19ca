"""Stored references are read as they were kept, for what they were kept, or not at all."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from prewrite.base.files import Folder
from prewrite.train.data.stored import StoredReferences

PARTS = {"part-0": "a" * 64, "part-1": "b" * 64}
ROWS: list[dict[str, Any]] = [
    {"id": "row", "kind": "original", "log_prob": -0.1, "tokens": 3},
    {"id": "row", "kind": "rewrite", "log_prob": -1.7, "tokens": 4},
]


def place(folder: Path) -> StoredReferences:
    return StoredReferences(Folder(str(folder)), {"model": "m", "max_seq_len": 64}, PARTS)


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    place(tmp_path).write("part-0", ROWS)
    place(tmp_path).write("part-1", [])
    found = place(tmp_path).read("part-0")
    assert found == pytest.approx({("row", 0): -0.1, ("row", 1): -1.7})
    assert place(tmp_path).read("part-1") == {}


def others(folder: Path) -> Iterator[StoredReferences]:
    """Where the same file would be of something else."""
    mine = place(folder)
    for about in ({"model": "other"}, {"max_seq_len": 63}):
        yield replace(mine, identity=mine.identity | about)
    yield replace(mine, parts=PARTS | {"part-0": "c" * 64})


def test_what_is_of_something_else_is_not_read(tmp_path: Path) -> None:
    place(tmp_path).write("part-0", ROWS)
    assert not [other for other in others(tmp_path) if other.read("part-0") is not None]
    (tmp_path / "part-1").write_bytes((tmp_path / "part-0").read_bytes())
    assert place(tmp_path).read("part-1") is None


@pytest.mark.parametrize("kept", [True, False], ids=["with its check", "without one"])
def test_values_that_were_changed_are_not_read(tmp_path: Path, kept: bool) -> None:
    """By a program that writes whole files."""
    place(tmp_path).write("part-0", ROWS)
    table = pq.read_table(tmp_path / "part-0")
    changed = table if not kept else table.slice(1)
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata if kept else None),
                   tmp_path / "part-0")  # fmt: skip
    assert place(tmp_path).read("part-0") is None
