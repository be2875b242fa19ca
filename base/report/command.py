"""The command line of a report: what to report on, and where the page goes."""

import argparse
from collections.abc import Callable, Sequence

from base.apart import lies_in
from base.cli import ending
from base.errors import ConfigError
from base.files import Folder

NAME = "report.html"


def run_report(
    name: str,
    about: str,
    kind: str,
    make: Callable[[list[str]], str],
    arguments: Sequence[str] | None = None,
) -> int:
    """Parse `KIND… [--to FILE]`, write what `make` makes of them; returns the exit code.

    kind: what is reported on, as the help names it.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=about)
    parser.add_argument(
        "paths", nargs="+", metavar=kind, help="folder or URL; several are laid over each other"
    )
    parser.add_argument("--to", metavar="FILE", help=f"the page (default {kind}/{NAME})")
    options = parser.parse_intermixed_args(arguments)

    def main() -> None:
        target = options.to or f"{options.paths[0].rstrip('/')}/{NAME}"
        if not options.to and len(options.paths) > 1:
            raise ConfigError(f"--to: this key is required with more than one {kind}")
        folder, _, file = target.rpartition("/")
        if not file:
            raise ConfigError(f"--to: found '{target}'; accepted: a file")
        for path in options.paths:
            if lies_in(target, path) and not file.endswith(".html"):
                raise ConfigError(
                    f"--to: found '{target}', inside of {path}; accepted there: a name that ends "
                    "in .html"
                )
        Folder(folder or ".").write(file, make(options.paths).encode("utf-8", "replace"))
        print(target)

    return ending(main)
