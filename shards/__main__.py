"""`python -m shards show|verify SET`: look into a shard set, and check it."""

import argparse
import json
import sys
from collections.abc import Sequence

from rich.console import Console

from base.cli import ending
from base.errors import ShardError
from shards.reader import ShardSet
from shards.repair import repair
from shards.show import print_summary, show
from shards.verify import verify


def parser() -> argparse.ArgumentParser:
    """The command line."""
    main = argparse.ArgumentParser(prog="python -m shards", description=__doc__)
    commands = main.add_subparsers(dest="command", required=True)
    look = commands.add_parser("show", help="print rows readably, then a summary")
    look.add_argument("--rows", type=int, default=5, help="how many rows (default 5)")
    check = commands.add_parser("verify", help="re-hash every file and audit the rows")
    check.add_argument(
        "--repair",
        action="store_true",
        help="have damaged parts, and only these, made again",
    )
    for command in (look, check):
        command.add_argument("set", help="folder or URL of the set")
        command.add_argument("--json", action="store_true", help="print JSON")
    return main


def _show(options: argparse.Namespace) -> None:
    shards = ShardSet(options.set)
    if options.json:
        for row, _ in zip(shards.rows(), range(options.rows), strict=False):
            print(json.dumps(row, ensure_ascii=False))
        return
    console = Console(highlight=False)
    console.print(show(shards, options.rows))
    print_summary(shards, console)


def _verify(options: argparse.Namespace) -> None:
    if options.repair:
        for line in repair(options.set) or ["nothing to repair"]:
            print(f"{options.set}: {line}")
        return
    result = verify(options.set)
    problems = result["problems"]
    if options.json:
        print(json.dumps(result))
    elif not problems:
        print(
            f"{options.set}: good: {result['rows']} rows of {result['documents']} documents "
            f"in {result['files']} files"
        )
    if problems:
        raise ShardError("\n".join(f"{options.set}: {problem}" for problem in problems))


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    options = parser().parse_args(arguments)
    return ending(lambda: (_show if options.command == "show" else _verify)(options))


if __name__ == "__main__":
    sys.exit(main())
