"""Rows that were asked about and failed: how many, why, and what came back.

A failure's reason is a few words: the server's own, the name of a check, or what was wrong with a
verdict. Guarantee: counts add up, whatever is added to what; there are at most `MOST` reasons, each
in one printable line of `LONGEST_REASON` characters, with at most `EXAMPLES` answers of
`LONGEST_ANSWER` characters, so a commit record grows by 70 KB at the very most.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, Field

from prewrite.base.text import one_line, printable
from prewrite.shards.schema import Row

MOST, EXAMPLES, LONGEST_REASON, LONGEST_ANSWER = 32, 3, 200, 500

OTHER = "other reasons"
"""The name of the rarest reasons together, where there are more than `MOST`."""

_VARYING = re.compile(r"(?<!HTTP )(?<!\w)\w*\d\w*")  # lengths, ids of requests, times of day


@dataclass(frozen=True)
class Failure:
    """One failed row or verdict. id: of the row; answer: what came back; None: nothing did."""

    reason: str
    id: str
    answer: str | None = None


class FailedRow(BaseModel):
    """The row that failed, and the beginning of what came back; null: nothing did."""

    model_config = ConfigDict(extra="forbid")

    id: str
    answer: str | None = None


class Failures(BaseModel):
    """Those with one reason."""

    model_config = ConfigDict(extra="forbid")

    count: int = 0
    examples: list[FailedRow] = Field(default_factory=list)


def as_reason(text: str) -> str:
    """`text` as a reason."""
    return one_line(text, LONGEST_REASON)


def answers(reason: str, found: Failures) -> list[FailedRow]:
    """The examples whose answer says more than the reason, which may be the answer itself."""
    known = reason.partition(": ")[2]
    return [one for one in found.examples if one.answer and " ".join(one.answer.split()) != known]


def by_reason(failures: Iterable[Failure]) -> dict[str, Failures]:
    """Single failures, gathered."""
    found: dict[str, Failures] = {}
    for one in failures:
        answer = one.answer if one.answer is None else printable(one.answer[:LONGEST_ANSWER])
        same = found.setdefault(as_reason(one.reason), Failures())
        same.count += 1
        if len(same.examples) < EXAMPLES:
            same.examples.append(FailedRow(id=one.id, answer=answer))
    return found


@dataclass
class FailureTally:
    """asked: rows that were asked about; failed: those of them of which nothing can be used;
    reasons: why; of a judge's verdicts, which may fail one by one.
    """

    asked: int = 0
    failed: int = 0
    reasons: dict[str, Failures] = field(default_factory=dict)

    def add(self, more: "FailureTally") -> None:
        """Count more of them."""
        self.asked, self.failed = self.asked + more.asked, self.failed + more.failed
        _gather(self.reasons, more.reasons)
        if len(self.reasons) > 4 * MOST:
            self.reasons = self.bounded()

    def bounded(self) -> dict[str, Failures]:
        """At most `MOST` reasons, the commonest first, OTHER last."""
        names = fewer({reason: found.count for reason, found in self.reasons.items()})
        found: dict[str, Failures] = {}
        for reason, some in self.reasons.items():
            _gather(found, {names[reason]: some})
        return dict(sorted(found.items(), key=lambda item: _rank(item[0], item[1].count)))


def fewer(counts: Mapping[str, int]) -> dict[str, str]:
    """For each reason the name it is kept under. Where there are more than `MOST`, words with
    digits become `#`, since servers name lengths and requests; what is then too rare is OTHER.
    """
    if len(counts) <= MOST:
        return {reason: reason for reason in counts}
    names = {reason: _VARYING.sub("#", reason) for reason in counts}
    totals: Counter[str] = Counter()
    for reason, name in names.items():
        totals[name] += counts[reason]
    if len(totals) <= MOST:
        return names
    kept = sorted(totals, key=lambda name: _rank(name, totals[name]))[: MOST - 1]
    return {reason: name if name in kept else OTHER for reason, name in names.items()}


def keep_few(rows: Sequence[Row]) -> None:
    """Bound the distinct reasons of each rewrite in the rows of a part."""
    texts = {name for row in rows for name in row if isinstance(row[name], str)}
    for column in sorted(name for name in texts if name.endswith("_reason")):
        counts = Counter(row[column] for row in rows if row.get(column))
        names = fewer(counts) if len(counts) > MOST else {}
        for row in rows if names else ():
            if row.get(column):
                row[column] = names[row[column]]


def _gather(into: dict[str, Failures], more: Mapping[str, Failures]) -> None:
    for reason, found in more.items():
        same = into.setdefault(reason, Failures())
        same.count += found.count
        same.examples += found.examples[: EXAMPLES - len(same.examples)]


def _rank(reason: str, count: int) -> tuple[bool, int, str]:
    return reason == OTHER, -count, reason
