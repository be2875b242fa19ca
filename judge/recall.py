"""What a set holds of a judge, said again without asking it."""

from collections import defaultdict
from collections.abc import Iterable

from prewrite.judge.judge import CostedAnswer, Judge
from prewrite.judge.pool import Question
from prewrite.judge.readout import Verdict
from prewrite.shards.manifest import Usage
from prewrite.shards.schema import Row

VerdictKey = tuple[str | None, str, str, str, str | None, int]
"""judge, criterion, row, candidate, opponent, order: a question as `judgements/` has it."""


def key_of_row(verdict: Row) -> VerdictKey:
    """The question that a row of `judgements/` answers."""
    v = verdict
    return v["judge"], v["criterion"], v["id"], v["candidate"], v["opponent"], v["order"]


def key_of(judge: str | None, question: Question) -> VerdictKey:
    """The same of a question that is put."""
    q = question
    return judge, q.criterion.name, q.pool.row_id, q.candidate, q.opponent, q.order


def verdict_of(row: Row, question: Question) -> Verdict:
    """A verdict out of `judgements/`: its value is for the one that stood first."""
    value = row["value"]
    if value is not None and question.order:
        value = 1 - value
    return Verdict(row["answer"], value, row["mass"], row["status"])


class RecallingJudge(Judge):
    """A judge that says again what it has said, through its curves of today, and is asked for the
    rest. rows: of `judgements/`.
    """

    def __init__(self, judge: Judge, rows: Iterable[Row]) -> None:
        super().__init__(judge.name, judge.engine, judge.config, judge.curves)
        self._judge, self._said = judge, defaultdict[VerdictKey, list[Row]](list)
        for row in rows:
            self._said[key_of_row(row)].append(row)

    async def ask(self, question: Question, fence: str) -> CostedAnswer:
        """See `Judge.ask`."""
        if found := self._said.get(key_of(self.name, question)):
            curve = self.curves.get(question.criterion.name)
            return [verdict_of(row, question).through(curve) for row in found], Usage()
        return await self._judge.ask(question, fence)
