"""Whether two places are one, or one lies in the other, wherever their names lead.

Links, `..`, relative paths and `file://` hide nothing; nor do a bind mount or a file system that
ignores the case of letters, where both places exist. On object stores names are compared.
"""

import os
from contextlib import suppress
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from prewrite.base.errors import InputError
from prewrite.base.files import resolve


def lies_in(inner: str, outer: str) -> bool:
    """Whether the place `inner` is `outer` or lies in it. Both are URLs or paths."""
    try:
        (fs, path), (other_fs, other) = resolve(inner), resolve(outer)
    except InputError:
        return False  # what cannot be opened is nothing that is read or written
    local = isinstance(fs, LocalFileSystem)
    if local != isinstance(other_fs, LocalFileSystem):
        return False
    if local:
        return _lies_in(Path(os.path.realpath(path)), Path(os.path.realpath(other)))
    return type(fs) is type(other_fs) and f"{path.rstrip('/')}/".startswith(f"{other.rstrip('/')}/")


def _lies_in(inner: Path, outer: Path) -> bool:
    return any(_same(place, outer) for place in (inner, *inner.parents))


def _same(one: Path, other: Path) -> bool:
    if one == other:
        return True
    with suppress(OSError):  # one of them is not there
        return one.samefile(other)
    return False
