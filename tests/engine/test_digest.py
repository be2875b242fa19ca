"""Which changes of a model folder the two digests see."""

import hashlib
import os
from pathlib import Path

import pytest

from prewrite.engine.digest import content_digest, model_digest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model with a file of 20 MB, and some small ones."""
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(bytes(20_000_000))
    return tmp_path


def changed(file: Path, at: int) -> None:
    """Another byte; size and time of the file stay."""
    times = file.stat()
    with open(file, "r+b") as stream:
        stream.seek(at)
        stream.write(b"x")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_the_whole_content_counts(folder: Path) -> None:
    before, ends = content_digest(folder), model_digest(str(folder))
    assert content_digest(folder) == before
    changed(folder / "model.safetensors", 10_000_000)
    assert content_digest(folder) != before
    assert model_digest(str(folder)) == ends  # as its description says
    changed(folder / "model.safetensors", 19_999_999)
    assert model_digest(str(folder)) != ends


def test_only_the_named_files_count(folder: Path) -> None:
    before = content_digest(folder, ["*.safetensors"])
    changed(folder / "config.json", 0)
    assert content_digest(folder, ["*.safetensors"]) == before != content_digest(folder)


def test_an_unchanged_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = content_digest(folder)
    monkeypatch.setattr(hashlib, "file_digest", None)
    assert content_digest(folder) == before
