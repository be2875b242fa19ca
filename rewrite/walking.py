"""Which files a path or pattern names, and which it leads past: nothing that is seen is dropped
without a word.

A path that exists is that path, whatever characters it has; only then is it a pattern. A folder
stands for all files below it, and so does one with a corpus file's name that a pattern names
(Spark's `out.json/`). Linked folders are entered, each folder once. Passed over are hidden files
and folders, Spark's `_temporary`, files that stand beside documents, other folders that a pattern
names, and what is no file.
"""

import glob
import os
import re
from dataclasses import dataclass, field
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from prewrite.base.errors import InputError
from prewrite.base.files import resolve, told_as
from prewrite.base.secret import said
from prewrite.rewrite.files import SUFFIXES
from prewrite.rewrite.signals import COMPANIONS

_WILD = "*?["
_FOLDER = "a folder, which only a pattern with ** enters"


@dataclass
class Named:
    """What a pattern names. fixed: the folder that relative paths start from; files: path → what
    the listing says of it; passed: path → why it is not taken.
    """

    fixed: str
    files: dict[str, Any] = field(default_factory=dict)
    passed: dict[str, str] = field(default_factory=dict)

    def relative(self, path: str) -> str:
        """A path within the corpus."""
        return path[len(self.fixed) :].lstrip("/")


def named(pattern: str) -> Named:
    """What `pattern` names; InputError where it is not there, cannot be listed, or leads to what
    cannot be read.
    """
    fs, path = resolve(pattern)
    with told_as(InputError, f"{pattern}: cannot list"):
        if isinstance(fs, LocalFileSystem):
            return _local(fs, path)
        try:
            return _remote(fs, pattern, path)
        except ValueError as error:  # what a library says of a location that is none
            raise InputError(f"{pattern}: cannot list: {said(str(error), 200)}") from None


def is_glob(path: str) -> bool:
    """Whether it has a wildcard."""
    return any(c in path for c in _WILD)


def fixed_part(path: str) -> str:
    """The folder of a glob before its first wildcard."""
    return path[: min(path.find(c) for c in _WILD if c in path)].rsplit("/", 1)[0]


def _local(fs: LocalFileSystem, path: str) -> Named:
    if os.path.lexists(path):
        walk = _existing(fs, path)
    elif is_glob(path):
        walk = _Walk(fs, Named(fixed_part(path)))
        walk.pattern(path)
    else:
        return Named(os.path.dirname(path))
    if walk.refused:
        raise InputError(next(iter(walk.refused.values())))
    return walk.found


def _existing(fs: LocalFileSystem, path: str) -> "_Walk":
    """What a path that is there stands for."""
    if os.path.isdir(path):
        walk = _Walk(fs, Named(path.rstrip("/")))
        walk.enter(path.rstrip("/") or "/")
    else:
        walk = _Walk(fs, Named(os.path.dirname(path)))
        walk.take(path)
    return walk


class _Walk:
    """A walk over folders of a disk. entered: real folder → the name it was entered by."""

    def __init__(self, fs: LocalFileSystem, found: Named) -> None:
        self.fs, self.found = fs, found
        self.refused: dict[str, str] = {}
        self.entered: dict[str, str] = {}

    def pattern(self, path: str) -> None:
        """Take what a pattern names. `**` is walked here, for Python's follows links in circles."""
        head, deep, _ = path.partition("**")
        if not deep:
            for match in sorted(glob.glob(path, include_hidden=True)):
                if os.path.isdir(match) and not match.endswith(SUFFIXES):
                    self.found.passed[match] = _FOLDER
                else:
                    self._visit(match, self.found.relative(match))
            return
        for base in sorted(glob.glob(head.rpartition("/")[0] or "/", include_hidden=True)):
            if os.path.isdir(base):
                self.enter(base)
        form = re.compile(glob_translate(path))
        self.found.files = {p: i for p, i in self.found.files.items() if self._fits(form, p)}
        self.refused = {p: said for p, said in self.refused.items() if self._fits(form, p)}

    def enter(self, folder: str) -> None:
        """Take all files below a folder, through links too; each folder is entered once."""
        real = os.path.realpath(folder)
        if real in self.entered:
            if self.entered[real] != folder:
                self.found.passed[folder] = "a folder that was entered before, by another name"
            return
        self.entered[real] = folder
        for name in sorted(os.listdir(folder)):
            self._visit(f"{folder.rstrip('/')}/{name}", name)

    def take(self, path: str) -> None:
        """Take a file, or say why it is passed over or cannot be."""
        if not _is_text(path):
            shown = os.fsencode(path).decode("utf-8", "backslashreplace")
            self.refused[path] = f"{shown}: found a name that is not UTF-8; accepted: one that is"
        elif path.endswith(COMPANIONS):
            self.found.passed[path] = "beside documents"
        elif os.path.isfile(path):
            self.found.files[path] = self.fs.info(path)
        elif path.endswith(SUFFIXES) and os.path.islink(path):
            self.refused[path] = f"{path}: found a link that leads nowhere; accepted: one to a file"
        elif path.endswith(SUFFIXES):
            self.refused[path] = f"{path}: found what is no file; accepted: a file of this name"
        else:
            self.found.passed[path] = "no file"

    def _visit(self, path: str, relative: str) -> None:
        if unwanted := _unwanted(relative):
            self.found.passed[path] = unwanted[0]
        elif os.path.isdir(path):
            self.enter(path)
        else:
            self.take(path)

    def _fits(self, form: re.Pattern[str], path: str) -> bool:
        """Whether a pattern names a file, or a folder that it lies in."""
        *folders, _ = (at for at, c in enumerate(f"{path}/") if c == "/" and at)
        inner = (path[:at] for at in folders if at > len(self.found.fixed))
        spark = (folder for folder in inner if folder.endswith(SUFFIXES))
        return any(form.match(one) for one in (path, *spark))


def _remote(fs: Any, pattern: str, path: str) -> Named:
    """As `_local`, by one listing. A file of a web server is no folder, which it would be asked."""
    web = "http" in fs.protocol
    if web and path.endswith(SUFFIXES) and not is_glob(path.split("://", 1)[1]):
        return _sized(Named(os.path.dirname(path), {path: fs.info(path)}), pattern)
    if is_glob(path) and not fs.exists(path):
        found = Named(fixed_part(path))
        _sort(_matched(fs, path, found), found)
    elif fs.isdir(path):
        found = Named(path.rstrip("/"))
        _sort(fs.find(path, detail=True), found)
    else:
        found = Named(os.path.dirname(path), {path: fs.info(path)})
    return _sized(found, pattern)


def _matched(fs: Any, path: str, found: Named) -> dict[str, Any]:
    """What a pattern names, and the files in folders with a corpus file's name."""
    listed: dict[str, Any] = fs.glob(path, detail=True)
    for folder in [name for name, info in listed.items() if info["type"] == "directory"]:
        if folder.endswith(SUFFIXES):
            listed |= fs.find(folder, detail=True)
        elif not any(name.startswith(f"{folder}/") for name in listed):
            found.passed[folder] = _FOLDER
    return listed


def _sort(listed: dict[str, Any], found: Named) -> None:
    """Files that are taken, and what is passed over."""
    for name, info in listed.items():
        relative = found.relative(name)
        if unwanted := _unwanted(relative):
            reason, place = unwanted
            found.passed[f"{name.removesuffix(relative)}{place}"] = reason
        elif name.endswith(COMPANIONS):
            found.passed[name] = "beside documents"
        elif info["type"] == "file":
            found.files[name] = info


def _sized(found: Named, pattern: str) -> Named:
    for name, info in found.files.items():
        if info.get("size") is None:
            raise InputError(
                f"{pattern}: the server does not say how long {name} is; accepted: one that does, "
                "or a copy on a disk or an object store"
            )
    return found


def _unwanted(relative: str) -> tuple[str, str] | None:
    """Why what lies at a relative path is not meant, by a name in it alone, and up to that name."""
    names = relative.rstrip("/").split("/")
    for number, name in enumerate(names, start=1):
        if name.startswith(".") or name == "_temporary":
            return "hidden" if name[0] == "." else "temporary", "/".join(names[:number])
    return None


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
