"""Batches of a Parquet file, where damage that Arrow does not see is an error.

Page checksums do not cover page headers, and Arrow skips a page whose header names an unknown kind:
one flipped bit can take rows away without an error. So rows are counted, and the indices of
dictionary columns are checked. Cost: a comparison for each value of a dictionary column.
"""

import io
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq


class PartBytes(io.RawIOBase):
    """A stretch of a file that is in memory already, where it lies in the file."""

    def __init__(self, data: bytes, start: int) -> None:
        super().__init__()
        self._data, self._start, self._at = memoryview(data), start, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere; the end is that of the stretch."""
        ends = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._start + len(self._data)}
        self._at = offset + ends[whence]
        return self._at

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """The next bytes; OSError outside of the stretch."""
        begun = self._at - self._start
        stop = len(self._data) if size < 0 else begun + size
        if not 0 <= begun <= stop <= len(self._data):
            raise OSError("its footer speaks of bytes outside of the row group")
        self._at += stop - begun
        return bytes(self._data[begun:stop])


def batches(
    file: pq.ParquetFile,
    size: int = 1024,
    columns: list[str] | None = None,
    groups: Sequence[int] | None = None,
    threads: bool = True,
) -> Iterator[pa.RecordBatch]:
    """What `file.iter_batches` gives, of all row groups or of some. ArrowException, after the last
    batch, where there were fewer rows than the footer says; before a batch with an index outside
    its column's dictionary.
    """
    groups = range(file.num_row_groups) if groups is None else groups
    left = sum(file.metadata.row_group(group).num_rows for group in groups)
    for batch in file.iter_batches(size, [*groups], columns, use_threads=threads):
        left -= batch.num_rows
        for column in batch.columns:
            if pa.types.is_dictionary(column.type):
                column.validate(full=True)
        yield batch
    if left:
        raise pa.ArrowInvalid(f"{left} rows fewer than its footer says")
