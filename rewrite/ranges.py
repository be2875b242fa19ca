"""How a file becomes splits: one huge file must not mean one worker.

A text is cut at the first line that begins at or after each multiple of `step` bytes, Parquet at
the first row group that does; a packed text stays whole. Where the cuts are depends on the file
and on `step` alone. Ids are made of record numbers, so each range knows how many records stand
before it: for Parquet from the footer, for a text by reading it once, which gives its digest too.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import IO

import pyarrow as pa

from prewrite.base.errors import InputError
from prewrite.base.files import resolve, told_as
from prewrite.pipeline.passes import Range
from prewrite.rewrite.files import share
from prewrite.rewrite.streams import HashedStream, Lines, Whole, decompressed, is_record

_PACKED = (".gz", ".zst")


def cut(path: str, size: int, step: int, max_record_bytes: int) -> list[tuple[Range | None, int]]:
    """The ranges of the file at `path` of `size` bytes, each with its size; [(None, size)] for
    one that stays whole.
    """
    if size <= step or path.endswith(_PACKED):
        return [(None, size)]
    with told_as(InputError, f"{path}: cannot read"):
        fs, inner = resolve(path)
        with fs.open(inner, "rb") as stream:
            if path.endswith(".parquet"):
                found = [*_by_row_groups(stream, step)]
            else:
                found = [*_by_lines(stream, step, max_record_bytes)]
    return [*found] if len(found) > 1 else [(None, size)]


def _by_lines(
    stream: IO[bytes], step: int, max_record_bytes: int
) -> Iterator[tuple[Range | None, int]]:
    meter = HashedStream(stream)
    lines = Lines(decompressed(meter, ""), max_record_bytes)
    records, border = 0, step
    marks = [(0, 0, 0)]  # bytes, lines and records before each cut
    for line in lines:
        records += is_record(line)
        if border <= lines.bytes < meter.size:
            marks.append((lines.bytes, lines.count, records))
            border = (lines.bytes // step + 1) * step
    marks.append((meter.size, lines.count, records))
    for here, end in pairwise(marks):
        sha256 = meter.sha256.hexdigest() if end == marks[-1] else None
        yield Range(here[0], end[0], here[1], here[2], end[2] - here[2], sha256), end[0] - here[0]


def _by_row_groups(stream: IO[bytes], step: int) -> Iterator[tuple[Range | None, int]]:
    """None for a file without a readable footer: whoever reads it tells what is wrong."""
    whole = Whole(stream)
    try:
        metadata = whole.parquet().metadata
    except (pa.ArrowException, OSError):
        if whole.error:
            raise whole.error from None
        return
    total, rows, border = max(metadata.num_rows, 1), 0, step
    marks = [(0, 0, 0)]  # row groups, rows and bytes before each cut
    for group in range(metadata.num_row_groups):
        rows += metadata.row_group(group).num_rows
        size = share(whole.size, rows, total)
        if size >= border or group == metadata.num_row_groups - 1:
            marks.append((group + 1, rows, size))
            border = (size // step + 1) * step
    for here, end in pairwise(marks):
        yield Range(here[0], end[0], here[1], here[1], end[1] - here[1]), end[2] - here[2]
