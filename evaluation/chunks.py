"""Work in chunks of cut points, each kept as one file that is whole or not there.

Many coroutines are open at a time, over the borders of chunks, so that the engine is kept full;
each chunk is written as soon as the last of its cut points is done. What is there is not done
again: a kill costs the chunks that are open.
"""

import asyncio
import io
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.evaluation.cut_points import CutPoint
from prewrite.shards.schema import Row, to_parquet

CUT_POINTS = 32
"""Places a chunk; the files of an evaluation that goes on must have been made with the same."""

CutPointChunk = tuple[str, Sequence[CutPoint]]
"""The file's name without folder and ending, and the cut points it is about."""


def chunks_of(splits: Mapping[str, Sequence[CutPoint]]) -> Iterator[CutPointChunk]:
    """All chunks of all splits."""
    for split, cut_points in splits.items():
        for start in range(0, len(cut_points), CUT_POINTS):
            yield f"{split}-{start // CUT_POINTS:05}", cut_points[start : start + CUT_POINTS]


def missing(folder: Folder, under: str, chunks: Sequence[CutPointChunk]) -> list[CutPointChunk]:
    """The chunks without a file in the folder `under`."""
    there = set(folder.names())
    return [chunk for chunk in chunks if f"{under}/{chunk[0]}.parquet" not in there]


async def work(
    chunks: Sequence[CutPointChunk],
    one: Callable[[CutPoint], Awaitable[Any]],
    keep: Callable[[str, list[Any]], None],
    window: int,
) -> None:
    """Do `one` for every cut point, at most `window` at a time, and `keep` what it gave by
    chunk.
    """
    seats = asyncio.Semaphore(window)

    async def seated(cut_point: CutPoint) -> Any:
        async with seats:
            return await one(cut_point)

    async def whole(name: str, cut_points: Sequence[CutPoint]) -> None:
        async with asyncio.TaskGroup() as tasks:
            found = [tasks.create_task(seated(cut_point)) for cut_point in cut_points]
        await asyncio.to_thread(keep, name, [task.result() for task in found])

    try:
        async with asyncio.TaskGroup() as group:
            for name, cut_points in chunks:
                group.create_task(whole(name, cut_points))
    except BaseExceptionGroup as errors:
        raise _first(errors) from None


def write_rows(folder: Folder, name: str, rows: Sequence[Row], schema: pa.Schema) -> None:
    """Write one file of a chunk."""
    folder.write(f"{name}.parquet", to_parquet(rows, schema))


def read_rows(folder: Folder, under: str, chunks: Sequence[CutPointChunk]) -> list[Row]:
    """The rows of all chunks; ShardError for a file that is missing or damaged."""
    rows: list[Row] = []
    for name, _ in chunks:
        file = f"{under}/{name}.parquet"
        data = folder.read(file)
        if data is None:
            raise ShardError(f"{folder.url}/{file}: not there; run the evaluation again")
        try:
            table = pq.read_table(io.BytesIO(data), page_checksum_verification=True)
            rows += table.to_pylist()
        except (pa.ArrowException, OSError) as error:
            text = str(error).splitlines()[0]
            raise ShardError(f"{folder.url}/{file}: damaged: {text}; remove it") from None
    return rows


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
