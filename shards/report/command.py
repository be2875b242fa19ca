"""`prewrite shards report SET…`: scores before and after, statuses, changes and cost of a set on
one HTML page that loads nothing; several sets are laid over each other.
"""

from collections.abc import Sequence

from prewrite.shards.reader import ShardSet
from prewrite.shards.report.collect import collect
from prewrite.shards.report.page import page


def make(urls: Sequence[str]) -> str:
    """The page of the sets at `urls`."""
    return page(*collect([ShardSet(url) for url in urls]))
