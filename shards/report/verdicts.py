"""What the raw verdicts of a set say about its judge, without asking it again."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from shards.reader import ShardSet

_COLUMNS = ["judge", "criterion", "opponent", "order", "value", "mass", "status"]
_KEYS = ["judge", "criterion"]
_SIZE = 65536


@dataclass
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
    tables = [
        _sums(pa.Table.from_batches([batch]))
        for file in shards.manifest.judgements
        for batch in shards.batches(file, _COLUMNS, _SIZE)
    ]
    if not tables:
        return []
    every = pa.concat_tables(tables)
    names = [name for name in every.column_names if name not in _KEYS]
    summed = every.group_by(_KEYS).aggregate([(name, "sum") for name in names])
    return sorted(map(_verdicts, summed.to_pylist()), key=lambda one: (one.judge, one.criterion))


def _sums(table: pa.Table) -> pa.Table:
    """Sums over a batch by judge and criterion."""
    value, order = table["value"], table["order"]
    first = pc.if_else(pc.equal(order, 0), value, pc.subtract(1.0, value))
    found = pa.table(
        {
            "judge": pc.fill_null(table["judge"].cast(pa.string()), ""),
            "criterion": table["criterion"].cast(pa.string()),
            "read": pc.equal(table["status"].cast(pa.string()), "ok").cast(pa.int64()),
            "mass": table["mass"].cast(pa.float64()),
            "first": pc.if_else(pc.is_valid(table["opponent"]), first, None).cast(pa.float64()),
        }
    )
    kept = [("read", "count"), ("read", "sum"), ("mass", "sum"), ("mass", "count")]
    return found.group_by(_KEYS).aggregate([*kept, ("first", "sum"), ("first", "count")])


def _verdicts(row: dict[str, float | str | None]) -> Verdicts:
    def mean(name: str) -> float | None:
        total, count = row[f"{name}_sum_sum"], row[f"{name}_count_sum"]
        return float(total or 0) / int(count) if count else None

    return Verdicts(
        str(row["judge"]),
        str(row["criterion"]),
        int(row["read_count_sum"] or 0),
        int(row["read_sum_sum"] or 0),
        mean("mass"),
        mean("first"),
    )
