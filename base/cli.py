"""The command line every `python -m rewrite|judge` shares, and how any command ends.

Exit codes: 0 done; 1 failed, with one plain sentence; 2 bad usage or configuration; 130
interrupted after a clean commit. A traceback is a bug in Prewrite, never a user's mistake.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import yaml
from rich.console import Console

from base.config import Recipe, load
from base.errors import PrewriteError
from base.files import of_storage

console = Console(stderr=True, highlight=False)
"""Where people are told things; results that pipe go to standard output."""

R = TypeVar("R", bound=Recipe)


def run_recipe(
    name: str,
    about: str,
    recipe: type[R],
    run: Callable[[R], None],
    plan: Callable[[R], str],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse `--config FILE [--dry-run] key.sub=value…`, then run; returns the exit code."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=about)
    parser.add_argument("--config", required=True, metavar="FILE", help="the recipe, a YAML file")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="print the resolved configuration and what would be done, then stop",
    )
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value", help="override a key")
    options = parser.parse_intermixed_args(arguments)

    def main() -> None:
        loaded = load(recipe, options.config, options.overrides)
        if options.dry_run:
            text = yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False)
            print(text + "\n" + plan(loaded))
        else:
            run(loaded)

    return ending(main)


def ending(main: Callable[[], None]) -> int:
    """Run `main`; turn a PrewriteError into its sentence and its exit code."""
    try:
        main()
    except PrewriteError as error:
        for line in str(error).splitlines():
            print(f"error: {line}" if error.exit_code != 130 else line, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted; the same command continues", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe (`| head`) has enough; that is no failure.
        sys.stderr.close()
        return 0
    except OSError as error:
        if error.errno is None:
            raise  # a library's own, not the system's
        where = f"{error.filename}: " if error.filename else ""
        print(f"error: {where}{error.strerror}", file=sys.stderr)
        return 1
    except Exception as error:
        if not of_storage(error):
            raise
        print(f"error: the storage cannot be used: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0
