"""The command line every `python -m rewrite|judge` shares, and how any command ends.

Exit codes: 0 done; 1 failed, with one plain sentence; 2 bad usage or configuration; 130
interrupted after a clean commit. A traceback is a bug in Prewrite, never a user's mistake.
"""

import argparse
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Generic, TypeVar

import yaml

from base.config import Recipe, load
from base.console import PlainConsole, accept_any_terminal
from base.errors import PrewriteError
from base.files import of_storage
from base.secret import redact
from base.text import printable

console = PlainConsole(stderr=True)
"""Where people are told things; results that pipe go to standard output."""

R = TypeVar("R", bound=Recipe)


@dataclass(frozen=True)
class Retry(Generic[R]):
    """What `--retry-failed` does, and what `--dry-run` says of it."""

    run: Callable[[R], None]
    plan: Callable[[R], str]


def run_recipe(
    name: str,
    about: str,
    recipe: type[R],
    run: Callable[[R], None],
    plan: Callable[[R], str],
    arguments: Sequence[str] | None = None,
    retry: Retry[R] | None = None,
) -> int:
    """Parse `--config FILE [--dry-run] key.sub=value…`, then run; returns the exit code. retry: of
    a command that has the option `--retry-failed`.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=about)
    parser.add_argument("--config", required=True, metavar="FILE", help="the recipe, a YAML file")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the resolved configuration and what would be done, then stop",
    )
    if retry:
        parser.add_argument(
            "--retry-failed",
            action="store_true",
            help="of a complete set, ask again what failed, and nothing else",
        )
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="override a key")
    options = parser.parse_intermixed_args(arguments)

    def main() -> None:
        loaded = load(recipe, options.config, options.overrides)
        again = retry if retry and options.retry_failed else None
        if options.dry_run:
            text = yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False)
            print(printable(text + "\n" + (again.plan if again else plan)(loaded)))
        else:
            (again.run if again else run)(loaded)

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
    return None


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
