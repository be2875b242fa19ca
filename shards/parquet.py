"""Batches of a Parquet file, where damage that Arrow does not see is an error.

Page checksums do not cover page headers, and Arrow skips a page whose header names an unknown kind:
one flipped bit can take rows away without an error. So rows are counted, and the indices of
dictionary columns are checked. Cost: a comparison for each value of a dictionary column.
"""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq


def batches(
    file: pq.ParquetFile,
    size: int = 1024,
    columns: list[str] | None = None,
    groups: Sequence[int] | None = None,
) -> Iterator[pa.RecordBatch]:
    """What `file.iter_batches` gives, of all row groups or of some. ArrowException, after the last
    batch, where there were fewer rows than the footer says; before a batch with an index outside
    its column's dictionary.
    """
    groups = range(file.num_row_groups) if groups is None else groups
    left = sum(file.metadata.row_group(group).num_rows for group in groups)
    for batch in file.iter_batches(size, [*groups], columns):
        left -= batch.num_rows
        for column in batch.columns:
            if pa.types.is_dictionary(column.type):
                column.validate(full=True)
        yield batch
    if left:
        raise pa.ArrowInvalid(f"{left} rows fewer than its footer says")
