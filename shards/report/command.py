"""`python -m shards report SET…`: scores before and after, statuses, changes and cost of a set on
one HTML page that loads nothing; several sets are laid over each other.
"""

from collections.abc import Sequence

from base.report.command import run_report
from shards.reader import ShardSet
from shards.report.collect import collect
from shards.report.page import page


def make(urls: list[str]) -> str:
    """The page of the sets at `urls`."""
    return page(*collect([ShardSet(url) for url in urls]))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run_report("shards report", __doc__ or "", "SET", make, arguments)
