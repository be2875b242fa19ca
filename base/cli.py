"""How a command with a recipe runs, and how any command ends.

Exit codes: 0 done; 1 failed, with one plain sentence; 2 bad usage or configuration; 130
interrupted after a clean commit. A traceback is a bug in Prewrite, never a user's mistake.
"""

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import TypeVar

import yaml

from prewrite.base.config import Recipe, load
from prewrite.base.console import PlainConsole, accept_any_terminal
from prewrite.base.errors import PrewriteError
from prewrite.base.extras import missing
from prewrite.base.files import of_storage
from prewrite.base.secret import redact
from prewrite.base.text import printable

console = PlainConsole(stderr=True)
"""Where people are told things; results that pipe go to standard output."""

R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True)
class Invocation:
    """What a command that takes a recipe was called with: a file, and overrides `key.sub=value`."""

    config: str
    overrides: Sequence[str] = ()
    dry_run: bool = False


def run_recipe(
    invocation: Invocation,
    recipe: type[R],
    run: Callable[[R], None],
    plan: Callable[[R], str],
) -> int:
    """Load the recipe, then run it, or print it and what `plan` says; returns the exit code."""

    def main() -> None:
        loaded = load(recipe, invocation.config, invocation.overrides)
        if invocation.dry_run:
            text = yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False)
            print(printable(text + "\n" + plan(loaded)))
        else:
            run(loaded)

    return ending(main)


def ending(main: Callable[[], None]) -> int:
    """Run `main`; turn a PrewriteError into its sentence and its exit code. SIGTERM is Ctrl-C."""
    accept_any_terminal()
    with _interrupted_by(signal.SIGINT, signal.SIGTERM):
        return _ending(main)


def _ending(main: Callable[[], None]) -> int:
    try:
        main()
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has enough; that is no failure.
        sys.stderr.close()
        return 0
    except Exception as error:
        known = sentence(error)
        if known is None:
            raise
        for line in printable(redact(str(known))).splitlines():
            print(f"error: {line}" if known.exit_code != 130 else line, file=sys.stderr)
        return known.exit_code
    return 0


def sentence(error: Exception) -> PrewriteError | None:
    """An error that a user can meet, as one that says so in a sentence; None: it is a bug."""
    if isinstance(error, PrewriteError):
        return error
    if isinstance(error, OSError) and error.errno is not None:  # none: a library's own
        where = f"{error.filename}: " if error.filename else ""
        return PrewriteError(f"{where}{error.strerror}")
    if isinstance(error, MemoryError):
        return PrewriteError(f"not enough memory: {str(error) or 'no more can be had'}")
    if of_storage(error) and not isinstance(error, OSError):
        return PrewriteError(f"the storage cannot be used: {' '.join(str(error).split())}")
    return missing(error)


@contextmanager
def _interrupted_by(*numbers: signal.Signals) -> Iterator[None]:
    """Raise KeyboardInterrupt on these signals, at once and wherever the main thread is.

    asyncio would put Python's own handler of SIGINT off for as long as a model loads.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    earlier = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, before in earlier.items():
            signal.signal(number, before)
