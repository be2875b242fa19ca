"""`python -m shards show|stats|verify|export|report SET`: look into a set, check it, hand it on."""

import argparse
import json
import sys
from collections.abc import Sequence

from base.cli import ending
from base.console import PlainConsole
from base.errors import ShardError
from shards.export import EACH, Export
from shards.export_files import export, told
from shards.reader import ShardSet
from shards.repair import repair
from shards.show import print_summary, show
from shards.stats import Stats
from shards.stats_page import page, tables
from shards.verify import verify


def parser() -> argparse.ArgumentParser:
    """The command line."""
    main = argparse.ArgumentParser(prog="python -m shards", description=__doc__)
    commands = main.add_subparsers(dest="command", required=True)
    look = commands.add_parser("show", help="print rows readably, then a summary")
    look.add_argument("--rows", type=int, default=5, help="how many rows (default 5)")
    check = commands.add_parser("verify", help="re-hash every file and audit the rows")
    commands.add_parser("report", help="write what became of it as one HTML page", add_help=False)
    check.add_argument(
        "--repair",
        action="store_true",
        help="have damaged parts, and only these, made again",
    )
    for command in (look, check):
        command.add_argument("set", help="folder or URL of the set")
        command.add_argument("--json", action="store_true", help="print JSON")
    numbers = commands.add_parser("stats", help="print scores, correlations and statuses by source")
    numbers.add_argument("set", help="folder or URL of the set")
    form = numbers.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--html", action="store_true", help="print an HTML page")
    _add_export(commands.add_parser("export", help="write best texts or preference pairs"))
    return main


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("set", help="folder or URL of the set")
    command.add_argument("--to", required=True, metavar="FILE", help="a .jsonl or .parquet")
    command.add_argument("--each", choices=EACH, default="document", help="what a record is")
    command.add_argument("--filter", metavar="CONDITION", help="take only rows for which it holds")


def _show(options: argparse.Namespace) -> None:
    shards = ShardSet(options.set)
    if options.json:
        for row, _ in zip(shards.rows(), range(options.rows), strict=False):
            print(json.dumps(row))
        return
    console = PlainConsole()
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


def _stats(options: argparse.Namespace) -> None:
    report = Stats(options.set).report()
    if options.json:
        print(json.dumps(report))
    elif options.html:
        print(page(report), end="")
    else:
        PlainConsole().print(tables(report))


def _export(options: argparse.Namespace) -> None:
    records = Export(options.set, options.each, options.filter)
    export(records, options.to)
    print(f"{options.to}: {told(records)}")


_COMMANDS = {"show": _show, "verify": _verify, "stats": _stats, "export": _export}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse and run; returns the exit code."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    if given[:1] == ["report"]:
        from shards.report.command import main as report

        return report(given[1:])
    options = parser().parse_args(given)
    return ending(lambda: _COMMANDS[options.command](options))


if __name__ == "__main__":
    sys.exit(main())
