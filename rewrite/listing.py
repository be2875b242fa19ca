"""Which files a corpus has, and what each is called within it."""

import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from prewrite.base.apart import lies_in
from prewrite.base.errors import InputError
from prewrite.base.files import Folder, resolve, version_of
from prewrite.rewrite.files import SUFFIXES
from prewrite.rewrite.walking import Named, fixed_part, is_glob, named
from prewrite.shards.names import WRITTEN


@dataclass(frozen=True)
class Found:
    """A file: where it lies, its path within the corpus (which stays when the corpus moves) and
    its bytes. version: see `shards.manifest.Input`.
    """

    path: str
    relative: str
    bytes: int
    version: str | None = None


@dataclass(frozen=True)
class Listing:
    """The files of a corpus in the order of their relative paths, and what lies there besides:
    path → why it is passed over.
    """

    files: list[Found]
    passed: dict[str, str]


def list_files(patterns: Iterable[str]) -> Listing:
    """Every file of the patterns once. InputError for a pattern without one, and for a file that is
    not a corpus file.
    """
    files: dict[str, Found] = {}
    passed: dict[str, str] = {}
    real: dict[str, str] = {}  # a file of a disk → the path that it is read by
    for pattern in patterns:
        found = named(pattern)
        if not found.files:
            raise InputError(_nothing(pattern, found))
        for path, info in found.files.items():
            file = _file(pattern, found.relative(path), path, info)
            same = os.path.realpath(path) if file.path.startswith("/") else file.path
            if real.setdefault(same, file.path) == file.path:
                files.setdefault(file.path, file)
            else:
                passed[file.path] = "a file that is read by another name"
        passed |= found.passed
    names = _distinct({path: file.relative for path, file in files.items()})
    every = [replace(file, relative=names[path]) for path, file in files.items()]
    return Listing(sorted(every, key=lambda file: file.relative), passed)


def _nothing(pattern: str, found: Named) -> str:
    if not found.passed:
        return f"{pattern}: no such file, or a folder or pattern without files"
    path, reason = next(iter(found.passed.items()))
    return (
        f"{pattern}: no file to read; passed over: {len(found.passed)}, such as {path} ({reason})"
    )


def lists(pattern: str, output: str) -> bool:
    """Whether a pattern would list what a run writes in the folder `output`. Links before the
    first wildcard hide nothing.
    """
    path = resolve(pattern)[1]
    if not is_glob(path) or (Folder(output).is_local and os.path.lexists(path)):
        return lies_in(output, pattern)
    if resolve(pattern)[0].protocol != resolve(output)[0].protocol:
        return False
    fixed, rest = fixed_part(path), path[len(fixed_part(path)) :]
    place = resolve(output)[1]
    if Folder(output).is_local:
        fixed, place = os.path.realpath(fixed), os.path.realpath(place)
    form = re.compile(glob_translate(fixed.rstrip("/") + rest))
    return any(form.match(f"{place.rstrip('/')}/{name}") for name in WRITTEN)


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


def _file(pattern: str, relative: str, name: str, info: Any) -> Found:
    if not name.endswith(SUFFIXES):
        raise InputError(f"{name}: not a corpus file; accepted: {', '.join(SUFFIXES)}")
    # One file has one name, with or without file://; that of a web server has it already.
    local = isinstance(resolve(pattern)[0], LocalFileSystem)
    bare = local or "://" not in pattern or "://" in name
    path = name if bare else f"{pattern.split('://')[0]}://{name}"
    return Found(path, relative, int(info["size"]), version_of(info))
