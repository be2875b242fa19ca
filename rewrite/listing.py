"""Which files a corpus has, and what each is called within it."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from base.apart import lies_in
from base.errors import InputError
from base.files import Folder, resolve, told_as, version_of
from rewrite.files import SUFFIXES
from rewrite.signals import COMPANIONS
from shards.names import WRITTEN


@dataclass(frozen=True)
class Found:
    """A file: where it lies, its path within the corpus (which stays when the corpus moves) and
    its bytes. version: see `shards.manifest.Input`.
    """

    path: str
    relative: str
    bytes: int
    version: str | None = None


def list_files(patterns: Iterable[str]) -> list[Found]:
    """Every file of the patterns once, in the order of the relative paths."""
    files: dict[str, Found] = {}
    for pattern in patterns:
        for file in _expand(pattern):
            files.setdefault(file.path, file)
    names = _distinct({path: file.relative for path, file in files.items()})
    found = [replace(file, relative=names[path]) for path, file in files.items()]
    return sorted(found, key=lambda file: file.relative)


def lists(pattern: str, output: str) -> bool:
    """Whether a pattern would list what a run writes in the folder `output`. Links before the
    first wildcard hide nothing.
    """
    path = resolve(pattern)[1]
    if not _is_glob(path):
        return lies_in(output, pattern)
    if resolve(pattern)[0].protocol != resolve(output)[0].protocol:
        return False
    fixed, rest = _fixed(path), path[len(_fixed(path)) :]
    place = resolve(output)[1]
    if Folder(output).is_local:
        fixed, place = os.path.realpath(fixed), os.path.realpath(place)
    form = re.compile(glob_translate(fixed.rstrip("/") + rest))
    return any(form.match(f"{place.rstrip('/')}/{name}") for name in WRITTEN)


def _is_glob(path: str) -> bool:
    return any(c in path for c in "*?[")


def _fixed(path: str) -> str:
    """The folder of a glob before its first wildcard."""
    return path[: min(path.find(c) for c in "*?[" if c in path)].rsplit("/", 1)[0]


def _distinct(relative: dict[str, str]) -> dict[str, str]:
    """Path → relative path, where equal ones have as many folders more as tell them apart. Other
    files keep theirs, and ids stay the same when the folders move together.
    """
    while True:
        counts = Counter(relative.values())
        if len(counts) == len(relative):
            return relative
        relative = {
            path: _longer(path, name) if counts[name] > 1 else name
            for path, name in relative.items()
        }


def _longer(path: str, relative: str) -> str:
    """`relative` with one folder more of `path`."""
    return "/".join(path.split("/")[-relative.count("/") - 2 :])


def _expand(pattern: str) -> list[Found]:
    """The files of a pattern; their relative paths are those to the pattern's fixed part."""
    fs, path = resolve(pattern)
    with told_as(InputError, f"{pattern}: cannot list"):
        try:
            fixed, names = _names(fs, path)
        except FileNotFoundError:
            fixed, names = path, {}
    if not names:
        raise InputError(f"{pattern}: no such file, or a folder or pattern without files")
    return [_file(fs, pattern, fixed, name, info) for name, info in names.items()]


def _names(fs: Any, path: str) -> tuple[str, dict[str, Any]]:
    """The fixed part of a pattern, and the files it matches with what the listing says of them: no
    hidden ones, and none that only stands beside documents.
    """
    if _is_glob(path):
        fixed, names = _fixed(path), fs.glob(path, detail=True)
    elif fs.isdir(path):
        fixed, names = path.rstrip("/"), fs.find(path, detail=True)
    else:
        fixed, names = os.path.dirname(path), {path: fs.info(path)}
    local = isinstance(fs, LocalFileSystem)  # where a listing does not follow links
    shown = {n: i for n, i in names.items() if not n.rsplit("/", 1)[-1].startswith(".")}
    return fixed, {
        name: info
        for name, info in shown.items()
        if not name.endswith(COMPANIONS) and (fs.isfile(name) if local else info["type"] == "file")
    }


def _file(fs: Any, pattern: str, fixed: str, name: str, info: Any) -> Found:
    if not name.endswith(SUFFIXES):
        raise InputError(f"{name}: not a corpus file; accepted: {', '.join(SUFFIXES)}")
    local = isinstance(fs, LocalFileSystem)  # one file has one name, with or without file://
    protocol = "" if local or "://" not in pattern else pattern.split("://")[0] + "://"
    relative = name[len(fixed) :].lstrip("/")
    return Found(protocol + name, relative, int(info["size"]), version_of(info))
