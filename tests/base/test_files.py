"""A write is whole or not there, on a disk and on an object store."""

import hashlib
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from prewrite.base.errors import InputError, ShardError
from prewrite.base.files import Folder, resolve


@pytest.fixture(params=["local", "relative", "file", "memory"])
def folder(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: Any) -> Folder:
    monkeypatch.chdir(tmp_path)
    urls = {
        "local": f"{tmp_path}/set",
        "relative": "some/set/",
        "file": f"file://{tmp_path}/set",
        "memory": f"memory://{uuid.uuid4().hex}/set",
    }
    return Folder(urls[request.param])


def test_what_is_written_is_read(folder: Folder) -> None:
    assert folder.read("a") is None
    assert folder.names() == []
    folder.write("a", b"one")
    folder.write("b/c.json", b"")
    folder.write("a", b"two")
    assert folder.read("a") == b"two"
    assert folder.read("b/c.json") == b""
    assert folder.names() == ["a", "b/c.json"]
    with folder.open("a") as stream:
        stream.seek(1)
        assert stream.read() == b"wo"
    assert folder.sha256("a") == hashlib.sha256(b"two").hexdigest()


def test_remove_takes_files_and_folders_and_minds_no_absence(folder: Folder) -> None:
    for name in ("a", "b/c", "b/d/e"):
        folder.write(name, b"x")
    folder.remove("nothing")
    folder.remove("a")
    assert folder.names() == ["b/c", "b/d/e"]
    folder.remove("b")
    assert folder.names() == []


def raising(*_: object) -> None:
    raise RuntimeError("crash")


@pytest.mark.timeout(10)
def test_nothing_waits_at_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "socket"))
    for name in ("pipe", "socket"):
        with pytest.raises(ShardError, match=f"{name}: cannot read: found a pipe, a socket or a"):
            Folder(str(tmp_path)).read(name)
        with pytest.raises(OSError, match="found a pipe, a socket or a device; accepted: a file"):
            Folder(str(tmp_path)).sha256(name)


@pytest.mark.parametrize("step", ["replace", "fsync"])
def test_a_crash_before_the_rename_leaves_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    folder = Folder(str(tmp_path))
    folder.write("a", b"old")
    monkeypatch.setattr(os, step, raising)
    with pytest.raises(RuntimeError):
        folder.write("a", b"new")
    assert folder.read("a") == b"old"
    assert folder.names() == ["a"]


def test_a_kill_before_the_rename_leaves_the_old_content(tmp_path: Path) -> None:
    """A real process that dies: its temporary file stays, hidden, and hurts nobody."""
    folder = Folder(str(tmp_path))
    folder.write("a", b"old")
    program = (
        "import os, sys; from prewrite.base.files import Folder;"
        "os.replace = lambda *_: os._exit(9); Folder(sys.argv[1]).write('a', b'new')"
    )
    assert (
        subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False).returncode == 9
    )
    assert folder.read("a") == b"old"
    (stray,) = (name for name in folder.names() if name != "a")
    assert stray.startswith(".a.tmp-")
    folder.write("a", b"new")
    assert folder.read("a") == b"new"


def test_the_bytes_are_on_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsync of the file, rename, fsync of the folder: in this order."""
    steps: list[str] = []

    def noting(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            steps.append(name)
            return real(*arguments)

        return call

    for name in ("fsync", "replace"):
        monkeypatch.setattr(os, name, noting(name, getattr(os, name)))
    Folder(str(tmp_path)).write("deep/a", b"x")
    assert steps == ["fsync", "replace", "fsync"]


def test_an_object_store_gets_one_put(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Folder(f"memory://{uuid.uuid4().hex}")
    puts: list[tuple[str, bytes]] = []
    store = type(folder.fs)
    monkeypatch.setattr(store, "pipe_file", lambda _, path, data: puts.append((path, data)))
    monkeypatch.setattr(store, "open", raising)
    folder.write("a/b", b"whole")
    assert puts == [(f"{folder.root}/a/b", b"whole")]


@pytest.mark.parametrize("url", ["nope://a/b", "nope::memory://a"])
def test_an_unknown_kind_of_location_is_one_sentence(url: str) -> None:
    with pytest.raises(InputError, match=f"^{url}: cannot open this kind of location: "):
        Folder(url)


def test_resolve_gives_the_path_on_its_file_system() -> None:
    fs, path = resolve("memory://a/b")
    assert fs is fsspec.filesystem("memory")
    assert path == "/a/b"


@pytest.mark.parametrize("url", ["/", "file:///"])
def test_the_root_is_not_the_working_folder(url: str) -> None:
    assert Folder(url).path("a") == "/a"


def test_the_root_of_a_store_is_in_the_store() -> None:
    assert not Folder("memory://").is_local


def test_two_colons_in_a_path_are_no_chain_of_file_systems(tmp_path: Path) -> None:
    for url in (f"{tmp_path}/a::b", f"file://{tmp_path}/a::b"):
        Folder(url).write("c", b"text")
        assert (tmp_path / "a::b/c").read_bytes() == b"text"
