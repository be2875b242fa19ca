"""What the raw verdicts of a set say about its judge, without asking it again."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from prewrite.shards.reader import ShardSet
from prewrite.shards.report.tallies import Column, numbers, texts

_COLUMNS = ["judge", "criterion", "opponent", "order", "value", "mass", "status"]
_SIZE = 65536


@dataclass(frozen=True)
class Verdicts:
    """Those of one judge on one criterion.

    read: verdicts that could be read. mass: their mean probability before it was renormalised, None
    where the read-out gives none. first: mean value of whichever text stood first, for pairs: 0.5
    where the place says nothing.
    """

    judge: str
    criterion: str
    asked: int
    read: int
    mass: float | None
    first: float | None


def verdicts(shards: ShardSet) -> list[Verdicts]:
    """Every judge on every criterion, in one pass over `judgements/`."""
    sums = dict[tuple[str, str], Column]()
    for part in shards.verdicts:
        for batch in shards.batches(part, _COLUMNS, _SIZE):
            for key, found in _sums(batch).items():
                sums[key] = sums.get(key, 0) + found
    return [_verdicts(key, found) for key, found in sorted(sums.items())]


def _sums(batch: pa.RecordBatch) -> dict[tuple[str, str], Column]:
    """(judge, criterion) → verdicts, those read, and number and sum of masses and first values."""
    judges, criteria, opponents, statuses = (
        texts(batch[name]) for name in ("judge", "criterion", "opponent", "status")
    )
    value_R, mass_R, order_R = (numbers(batch[name]) for name in ("value", "mass", "order"))
    first_R = np.where(order_R == 0, value_R, 1 - value_R)
    first_R[opponents == ""] = np.nan
    found = {}
    for key in set(zip(judges.tolist(), criteria.tolist(), strict=True)):
        at_R = (judges == key[0]) & (criteria == key[1])
        parts = [at_R.sum(), (statuses[at_R] == "ok").sum()]
        for column in (mass_R[at_R], first_R[at_R]):
            parts += [np.sum(~np.isnan(column)), np.nansum(column)]
        found[key] = np.array(parts, np.float64)
    return found


def _verdicts(key: tuple[str, str], sums: Column) -> Verdicts:
    asked, read, masses, mass, firsts, first = sums.tolist()
    return Verdicts(
        *key,
        int(asked),
        int(read),
        mass / masses if masses else None,
        first / firsts if firsts else None,
    )
