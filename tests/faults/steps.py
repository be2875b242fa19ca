"""The steps of a command: its calls that change the files of a folder, counted, and its death at
one of them.

Counted are calls that create, cut, write, rename, link, remove or sync a file or folder below
`root`, made through `os`, `open`, `pathlib`, `shutil` or fsspec; code that is not Python's passes
by unseen, so `tests.faults.trace` compares the count with the system calls of the same command. A
command that was killed before each of its steps, and in the middle of each write, has left every
state of the folder that a kill can leave: between two steps nothing changes.
"""

import _io
import builtins
import io
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_PATHS = {
    **dict.fromkeys(("replace", "rename"), "rename"),
    **dict.fromkeys(("unlink", "remove"), "unlink"),
    **{name: name for name in ("link", "symlink", "rmdir", "mkdir", "truncate")},
}
"""Functions of `os` that take paths, and the kind of step that each is."""

_HANDLES = {
    **dict.fromkeys(("fsync", "fdatasync"), "fsync"),
    **dict.fromkeys(("write", "pwrite", "writev", "sendfile"), "write"),
    "ftruncate": "truncate",
}
"""Those that take an open file first."""

HALF = " half written"
_CHANGES = os.O_CREAT | os.O_TRUNC
_KILL, _GETPID, _READLINK = os.kill, os.getpid, os.readlink


@dataclass(frozen=True)
class Point:
    """Where a command dies: before step `number`, counted from 1, or with half of it written."""

    number: int
    half: bool = False

    def __str__(self) -> str:
        return f"{self.number}{HALF if self.half else ''}"


@dataclass
class Steps:
    """The steps of this process below `root`, from `watch` on, for good.

    death: where it sends itself the signal `sends`, after a call of `dying` with the step's kind
    and whether the step before it changed anything. kinds: of all steps so far; changed: whether
    the last one changed anything.
    """

    root: str
    death: Point | None = None
    dying: Callable[[str, bool], None] = lambda kind, changed: None
    sends: int = signal.SIGKILL
    kinds: list[str] = field(default_factory=list)
    changed: bool = True
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def watch(self) -> None:
        """Replace the functions that make steps."""
        for name, kind in _PATHS.items():
            setattr(os, name, self._on_paths(getattr(os, name), kind))
        for name, kind in _HANDLES.items():
            setattr(os, name, self._on_handle(getattr(os, name), kind))
        os.open = self._os_open(os.open)
        for module in (builtins, io, _io):
            module.open = self._opened  # type: ignore[attr-defined]

    def step(
        self, kind: str, call: Callable[[], Any], half: Callable[[], Any] | None = None
    ) -> Any:
        """Make a step, or die at it. One at a time, as if there were no other thread."""
        with self._lock:
            self.kinds.append(kind)
            if self.death and self.death.number == len(self.kinds):
                if self.death.half and half:
                    half()
                self.dying(kind, self.changed)
                _KILL(_GETPID(), self.sends)
            self.changed = False
            result = call()  # one that fails has changed nothing
            self.changed = kind != "fsync"
            return result

    def holds(self, path: Any, folder: int | None = None) -> bool:
        """Whether a path, relative to an open folder perhaps, or an open file is below `root`."""
        if isinstance(path, int):
            return self._below(_READLINK(f"/proc/self/fd/{path}"))
        base = os.getcwd() if folder is None else _READLINK(f"/proc/self/fd/{folder}")
        return self._below(os.path.join(base, os.fsdecode(path)))

    def _below(self, path: str) -> bool:
        return f"{os.path.normpath(path)}/".startswith(f"{self.root}/")

    def _on_paths(self, real: Callable[..., Any], kind: str) -> Callable[..., Any]:
        count = 2 if kind in ("rename", "link") else 1

        def call(*arguments: Any, **named: Any) -> Any:
            keys = ("src_dir_fd", "dst_dir_fd") if count == 2 else ("dir_fd", "dir_fd")
            ends = zip(arguments[:count], keys, strict=False)
            if any(self.holds(path, named.get(key)) for path, key in ends):
                return self.step(kind, lambda: real(*arguments, **named))
            return real(*arguments, **named)

        return call

    def _on_handle(self, real: Callable[..., Any], kind: str) -> Callable[..., Any]:
        def call(handle: Any, *arguments: Any) -> Any:
            number = handle if isinstance(handle, int) else handle.fileno()
            if self.holds(number):
                return self.step(kind, lambda: real(handle, *arguments))
            return real(handle, *arguments)

        return call

    def _os_open(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, flags: int, *arguments: Any, **named: Any) -> int:
            if flags & _CHANGES and self.holds(path, named.get("dir_fd")):
                return int(self.step("open", lambda: real(path, flags, *arguments, **named)))
            return real(path, flags, *arguments, **named)

        return call

    def _opened(
        self,
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
        closefd: bool = True,
        opener: Any = None,
    ) -> Any:
        """`open`, with steps where it writes below the root."""
        if not set(mode) & set("wax+") or not self.holds(file):
            return _OPEN(file, mode, buffering, encoding, errors, newline, closefd, opener)
        kind = "".join(sorted(set(mode) - set("tb"), key="rwxa+".index))

        def make() -> io.FileIO:
            return _Raw(self, file, kind, closefd, opener)

        creates = not isinstance(file, int) and opener is None and kind[0] != "r"
        raw = self.step("open", make) if creates else make()
        if buffering == 0:
            return raw
        buffered = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)
        if "b" in mode:
            return buffered
        text = io.TextIOWrapper(buffered, encoding, errors, newline, buffering == 1)
        text.mode = mode  # type: ignore[misc]
        return text


_OPEN = io.open


class _Raw(io.FileIO):
    """A file whose writes are steps."""

    def __init__(self, steps: Steps, file: Any, mode: str, closefd: bool, opener: Any) -> None:
        super().__init__(file, mode, closefd, opener)
        self._steps = steps

    def write(self, data: Any) -> int:
        def half() -> None:
            with suppress(OSError):
                super(_Raw, self).write(memoryview(data)[: len(data) // 2])

        call = super().write
        return int(self._steps.step("write", lambda: call(data), half))

    def truncate(self, size: int | None = None) -> int:
        call = super().truncate
        return int(self._steps.step("truncate", lambda: call(size)))


def watched(folder: Path, death: Point | None = None, **named: Any) -> Steps:
    """Steps below `folder`, watched from now on."""
    steps = Steps(os.path.realpath(folder), death, **named)
    steps.watch()
    return steps
