"""`run.max_failed`: a run in which hardly anything works ends, and is done again once it is mended.

Rows are counted that were asked about, in a process and in what its splits hold already, and looked
at after 100, 200, 400, … of them; at the end those of the whole set. The share decides: above the
limit the run fails with the commonest reason, and the set is not complete. The next run of the same
command looks at what is committed: where the share is still above the limit, the parts are made
again of which more than the limit, or more than half, failed. (In a small part one row in ten that
came through by chance must not keep the others from being asked again.)
"""

from collections.abc import Iterable, Sequence

from prewrite.base.cli import console
from prewrite.base.errors import EngineError
from prewrite.base.text import one_line
from prewrite.pipeline.passes import DocumentResult
from prewrite.shards.failures import LONGEST_REASON, OTHER, FailureTally, answers
from prewrite.shards.manifest import Record
from prewrite.shards.summary import tally_of

_FIRST = 100  # rows after which a run is looked at for the first time


class FailureLimit:
    """Counts the rows of the pass `name` in one process, over all tasks that it does."""

    def __init__(self, name: str, limit: float) -> None:
        self.name, self.limit = name, limit
        self._tally, self._next = FailureTally(), _FIRST

    def resumed(self, records: Iterable[Record]) -> None:
        """Rows that an earlier process has committed."""
        self._tally.add(tally_of(records))

    def count(self, result: DocumentResult) -> None:
        """A document is done; EngineError where too much of all there is by now has failed."""
        self._tally.add(result.tally)
        if self._tally.asked >= self._next:
            self._next = 2 * self._tally.asked
            check_failed(self.name, self._tally, self.limit)


def check_failed(name: str, tally: FailureTally, limit: float) -> None:
    """EngineError when more than the share `limit` of the rows that a pass asked about failed."""
    if _share(tally) > limit:
        raise EngineError(
            f"{name}: {tally.failed} of {tally.asked} rows that were asked about failed, more than "
            f"run.max_failed = {limit:g} allows{commonest(tally)}"
        )


def to_repeat(records: Sequence[Record], limit: float) -> list[Record]:
    """The committed parts that are to be made again; none where the share of all is in order."""
    tally = tally_of(records)
    if _share(tally) <= limit:
        return []
    enough = min(limit, 0.5)
    again = [r for r in records if _share(r) > enough and len(r.abandoned) < r.documents]
    if again:
        console.print(
            f"{tally.failed} of {tally.asked} committed rows that were asked about failed, more "
            f"than run.max_failed = {limit:g} allows; parts that are made again: {len(again)}",
            soft_wrap=True,
        )
    return again


def _share(counted: FailureTally | Record) -> float:
    return counted.failed / counted.asked if counted.asked else 0.0


def commonest(tally: FailureTally) -> str:
    """The reason that most failures have, and an answer that says more than it."""
    named = ((reason, found) for reason, found in tally.bounded().items() if reason != OTHER)
    reason, found = next(named, (None, None))
    if reason is None or found is None:
        return ""
    text = f"; most often ({found.count} times): {reason}"
    for example in answers(reason, found)[:1]:
        text += f"; row {example.id} got: {one_line(example.answer or '', LONGEST_REASON)}"
    return text
