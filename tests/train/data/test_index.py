"""Counting samples: what a filter leaves, kept in a file that may be missing, old or damaged."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.shards.filters import Filter, parse_filter
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import schema
from prewrite.train.data.index import stretch_counts
from tests.train.data.sets import write_set

LENGTHS = ((1, 5, 4), (9,), (3, 3))  # chunks of each document of each part


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> ShardSet:
    """The first four chunks of a document have scores from 1 down, the others none."""
    scores: list[float | None] = [1.0, 0.75, 0.5, 0.25]
    parts = [
        [
            [
                {"original": f"{n}", "original_score": (scores + [None] * 9)[n]}
                for n in range(length)
            ]
            for length in lengths
        ]
        for lengths in LENGTHS
    ]
    return ShardSet(write_set(tmp_path_factory.mktemp("sets") / "set", parts))


def above(score: float) -> Filter:
    return parse_filter(f"original_score > {score}", schema(["quality"]), "key")


@settings(max_examples=20)
@given(st.integers(1, 10), st.sampled_from([None, 2, 0.6, 0.1]))
def test_a_stretch_counts_when_one_of_its_chunks_passes(
    shards: ShardSet, tmp_path_factory: pytest.TempPathFactory, size: int, least: float | None
) -> None:
    cache = Folder(str(tmp_path_factory.mktemp("cache")))
    passing = {None: 99, 2: 0, 0.6: 2, 0.1: 4}[least]
    expected = [
        sum(1 for length in lengths for first in range(0, length, size) if first < passing)
        for lengths in LENGTHS
    ]
    filters = [] if least is None else [above(least)]
    assert stretch_counts(shards, size, filters, cache) == expected


def test_filters_are_joined(shards: ShardSet, tmp_path: Path) -> None:
    both = [above(0.1), parse_filter("chunk >= 4", schema(()), "key")]
    assert stretch_counts(shards, 1, both, Folder(str(tmp_path))) == [0, 0, 0]


def test_counts_are_read_again_and_made_anew_when_they_cannot_be(
    shards: ShardSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = stretch_counts(shards, 2, [], Folder(str(tmp_path)))
    (file,) = tmp_path.iterdir()
    good = file.read_text()

    def no_reading(*arguments: Any, **named: Any) -> None:
        raise AssertionError("read again")

    with monkeypatch.context() as patch:
        patch.setattr(ShardSet, "batches", no_reading)
        assert stretch_counts(shards, 2, [], Folder(str(tmp_path))) == counts
    changed = json.loads(good) | {"spans": [1, 2, 3, 4]}
    for bad in ("", "{", "[]", "{}", "null", json.dumps(changed), '{"spans": 1}', "\x80"):
        file.write_bytes(bad.encode("latin-1"))
        assert stretch_counts(shards, 2, [], Folder(str(tmp_path))) == counts
        assert file.read_text() == good


def test_another_size_or_filter_has_a_file_of_its_own(shards: ShardSet, tmp_path: Path) -> None:
    for size, filters in ((1, []), (2, []), (2, [above(0.1)])):
        stretch_counts(shards, size, filters, Folder(str(tmp_path)))
    assert len(list(tmp_path.iterdir())) == 3


def test_files_that_were_exchanged_are_not_believed(shards: ShardSet, tmp_path: Path) -> None:
    cache = Folder(str(tmp_path))
    counts = [stretch_counts(shards, size, [], cache) for size in (1, 2)]
    one, other = tmp_path.iterdir()
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)
    assert [stretch_counts(shards, size, [], cache) for size in (1, 2)] == counts


@pytest.mark.parametrize("rows", [0, 7])
def test_a_part_that_is_not_the_listed_one_is_refused(tmp_path: Path, rows: int) -> None:
    url = write_set(tmp_path / "set", [[[{"original": "a"}]]])
    other = write_set(tmp_path / "other", [[[{"original": "a"}] * rows] if rows else []])
    (part,) = ShardSet(url).parts
    data = Path(other, ShardSet(other).parts[0].file).read_bytes() if rows else b""
    Path(url, part.file).write_bytes(data)
    with pytest.raises(
        ShardError, match=rf"{part.file}: found \d+ bytes; accepted: \d+, as listed"
    ):
        stretch_counts(ShardSet(url), 1, [], Folder(str(tmp_path)))


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    url = write_set(tmp_path / "set", [[[{"original": "a"}]]])
    (part,) = ShardSet(url).parts
    Path(url, part.file).unlink()
    with pytest.raises(ShardError, match=rf"{part.file}: listed, but not there"):
        stretch_counts(ShardSet(url), 1, [], Folder(str(tmp_path)))
