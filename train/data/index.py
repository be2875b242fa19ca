"""How many samples each part of a set holds, and which rows they are.

A span is up to `size` consecutive chunks of a document, from chunk 0, size, 2·size …; it is a
sample when at least one of its chunks passes the filters. Counting them reads a few narrow columns
of the whole set once, in threads; the counts are kept in a small file and used again as long as
parts, size and filters are the same. A damaged file is made anew.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.base.together import together
from prewrite.shards.filters import Filter, Mask
from prewrite.shards.parts import Part
from prewrite.shards.reader import ShardSet

Ints = NDArray[np.int64]

_THREADS = 8  # reading waits for disks and networks more than for a core


def stretch_counts(
    shards: ShardSet, size: int, filters: Sequence[Filter], cache: Folder
) -> list[int]:
    """The number of samples of each part of `shards`, from a file in `cache` where it is known."""
    identity = {
        "parts": [part.sha256 for part in shards.parts],
        "size": size,
        "filters": [item.text for item in filters],
    }
    name = f"index-{fingerprint(identity)[:32]}.json"
    counts = _remembered(cache, name, identity)
    if counts is None:

        def count(part: Part) -> int:
            columns = frozenset({"chunk"}).union(*(item.columns for item in filters))
            table = read_part(shards, part, sorted(columns))
            return len(spans(table, size, mask_of(table, filters)))

        counts = [*together(count, shards.parts, _THREADS)]
        stored = {"spans": counts, "check": fingerprint([identity, counts])}
        cache.write(name, json.dumps(stored).encode())
    return counts


def _remembered(cache: Folder, name: str, identity: Any) -> list[int] | None:
    """What the file says, where it is as it was written, for just this."""
    try:
        found = json.loads(cache.read(name) or b"")
        counts, check = list(found["spans"]), found["check"]
        return counts if check == fingerprint([identity, counts]) else None
    except (ValueError, TypeError, KeyError, RecursionError, ShardError):
        return None


def read_part(shards: ShardSet, part: Part, columns: list[str]) -> pa.Table:
    """Some columns of a part; ShardError when it is not the part that the manifest lists."""
    kept = shards.manifest.columns
    batches = list(shards.batches(part, columns, size=1 << 16))
    table = pa.Table.from_batches(batches) if batches else kept.empty_table().select(columns)
    if table.num_rows != part.rows or (part.rows and table["chunk"][0].as_py() != 0):
        raise ShardError(
            f"{shards.folder.url}/{part.file}: found {table.num_rows} rows; accepted: "
            f"{part.rows}, as the manifest says, from the first chunk of a document on"
        )
    return table


def mask_of(table: pa.Table, filters: Sequence[Filter]) -> Mask:
    """For each row whether it passes all of `filters`."""
    result = np.ones(table.num_rows, np.bool_)
    for item in filters:
        result &= item.mask(table)
    return result


def spans(table: pa.Table, size: int, mask: Mask) -> Ints:
    """[first row, row after the last] of each span with a row for which `mask` holds."""
    chunk = table["chunk"].to_numpy()
    first = np.flatnonzero(chunk % size == 0)
    if not len(first):
        return np.zeros((0, 2), np.int64)
    pairs = np.stack([first, np.append(first[1:], len(chunk))], axis=1)
    kept: Ints = pairs[np.add.reduceat(mask, first, dtype=np.int64) > 0]
    return kept
