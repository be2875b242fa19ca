"""`prewrite shards …`: look into a set, check it, hand it on, change it."""

import json
from collections.abc import Sequence

from prewrite.base.console import PlainConsole
from prewrite.base.errors import ShardError
from prewrite.shards.export import Each, Export
from prewrite.shards.export_files import export, told
from prewrite.shards.reader import ShardSet
from prewrite.shards.repair import repair
from prewrite.shards.schema import FORMAT_VERSION
from prewrite.shards.show import print_summary, show
from prewrite.shards.stats import Stats
from prewrite.shards.stats_tables import tables
from prewrite.shards.takedown import remove
from prewrite.shards.upgrade import upgrade
from prewrite.shards.verify import verify


def show_set(url: str, rows: int, as_json: bool) -> None:
    """Print the first rows, then a summary; or the rows alone, as JSON Lines."""
    shards = ShardSet(url)
    if as_json:
        for row, _ in zip(shards.rows(), range(rows), strict=False):
            print(json.dumps(row))
        return
    console = PlainConsole()
    console.print(show(shards, rows))
    print_summary(shards, console)


def verify_set(url: str, as_json: bool) -> None:
    """Say what is wrong with a set, as a ShardError, or that nothing is."""
    result = verify(url)
    problems = result["problems"]
    if as_json:
        print(json.dumps(result))
    elif not problems:
        print(
            f"{url}: good: {result['rows']} rows of {result['documents']} documents "
            f"in {result['files']} files"
        )
    if problems:
        raise ShardError("\n".join(f"{url}: {problem}" for problem in problems))


def repair_set(url: str) -> None:
    """Take damaged parts out of a set, and print what was done."""
    for line in repair(url) or ["nothing to repair"]:
        print(f"{url}: {line}")


def upgrade_set(url: str) -> None:
    """Make a set one of today's format, and print what was done."""
    for line in upgrade(url) or [f"{url}: it is of format {FORMAT_VERSION}; nothing to do"]:
        print(line)


def remove_documents(url: str, doc_ids: Sequence[str]) -> None:
    """Take documents out of a set, and print what was done."""
    for line in remove(url, doc_ids):
        print(line)


def print_stats(url: str, as_json: bool) -> None:
    """Print the statistics of a set."""
    report = Stats(url).report()
    if as_json:
        print(json.dumps(report))
    else:
        PlainConsole().print(tables(report))


def export_set(url: str, to: str, each: Each, condition: str | None) -> None:
    """Export the records of a set into one file, and print how many."""
    records = Export(url, each, condition)
    export(records, to)
    print(f"{to}: {told(records)}")
