"""Processes that start others: a child that ends with its parent, why one ended, what it said."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_SECONDS = 1.0  # between two looks at the parent


def end_with_parent(parent: int, end: Callable[[], object] | None = None) -> None:
    """From now on this process ends once `parent`, which started it, is gone, however that ended.

    end: called instead of ending this process alone; also while the main thread loads a model.
    """

    def watch() -> NoReturn:
        while os.getppid() == parent:
            time.sleep(_SECONDS)
        if end:
            end()
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()


def exit_cause(code: int | None) -> str:
    """How a process ended, for a person: the name of a signal, or its exit code."""
    if code is not None and code < 0:
        with suppress(ValueError):
            return signal.Signals(-code).name
    return f"exit code {code}"


def last_words(log: Path) -> str:
    """The last line of a log that is not empty, at most 200 characters; or `nothing`."""
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "nothing")[:200]
