"""A judge of whose verdicts not one could be read: then nothing was measured, and nothing is said
to be done.
"""

from collections.abc import Iterable, Sequence

from prewrite.base.errors import EngineError
from prewrite.judge.criteria import Criterion
from prewrite.judge.readout import Verdict
from prewrite.pipeline.limit import commonest
from prewrite.shards.failures import Failure, FailureTally, by_reason


def failure(needs_engine: bool, criterion: str, row_id: str, status: str, answer: str) -> Failure:
    """Why a verdict could not be read; of one without an answer, `answer` says why."""
    if status == "failed":
        status = f"{'engine' if needs_engine else criterion}: {answer}"
    return Failure(status, row_id, answer)


def tally_of(criterion: Criterion, row_id: str, verdicts: Sequence[Verdict]) -> FailureTally:
    """The verdicts of one question, and those of them that could not be read."""
    failures = [
        failure(criterion.needs_engine, criterion.name, row_id, one.status, one.answer)
        for one in verdicts
        if one.status != "ok"
    ]
    return FailureTally(len(verdicts), len(failures), by_reason(failures))


def refuse_unread(where: str, tallies: Iterable[tuple[str | None, FailureTally]]) -> None:
    """EngineError, with the commonest reason, for a judge that was asked in vain every time."""
    for judge, tally in tallies:
        if tally.asked and tally.failed == tally.asked:
            raise EngineError(
                f"{where}: of {tally.asked} verdicts of judge '{judge or 'none'}' not one could be "
                f"read{commonest(tally)}"
            )
