"""Reading a shard set by its manifest: batches, documents, rows."""

from collections.abc import Iterator
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from base.errors import ShardError
from base.files import Folder
from shards.manifest import File, Manifest
from shards.schema import Row


class ShardSet:
    """A set at an fsspec URL. Only what the manifest lists exists."""

    def __init__(self, url: str) -> None:
        self.folder = Folder(url)
        self.manifest = Manifest.load(self.folder)

    def finished(self) -> Self:
        """This set, or ShardError when the run that makes it has not finished."""
        if self.manifest.status != "complete":
            status = self.manifest.status
            raise ShardError(f"{self.folder.url}: this set is {status}; finish its run first")
        return self

    def batches(
        self, part: File, columns: list[str] | None = None, size: int = 1024
    ) -> Iterator[pa.RecordBatch]:
        """Record batches of one part, in order, page checksums verified."""
        try:
            with self.folder.open(part.name) as stream:
                file = pq.ParquetFile(stream, page_checksum_verification=True)
                yield from file.iter_batches(size, columns=columns)
        except FileNotFoundError:
            raise ShardError(f"{self.folder.url}/{part.name}: listed, but not there") from None
        except (pa.ArrowException, OSError) as error:
            text = str(error).splitlines()[0]
            raise ShardError(f"{self.folder.url}/{part.name}: damaged: {text}") from None

    def rows(self, columns: list[str] | None = None) -> Iterator[Row]:
        """Every row of the set, in order."""
        for part in self.manifest.parts:
            for batch in self.batches(part, columns):
                yield from batch.to_pylist()

    def documents(self, part: File) -> Iterator[list[Row]]:
        """The documents of one part: each the list of its rows."""
        rows: list[Row] = []
        for batch in self.batches(part):
            for row in batch.to_pylist():
                if rows and row["chunk"] == 0:
                    yield rows
                    rows = []
                rows.append(row)
        if rows:
            yield rows
