"""A file at an fsspec URL, written piece by piece and there as a whole or not at all.

For what is too large for `Folder.write`. On a local disk that costs a temporary file beside the
target, two fsyncs and a rename; on an object store an upload in pieces, which is completed at the
end and given up when writing fails.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from fsspec.implementations.local import LocalFileSystem

from prewrite.base.errors import ShardError
from prewrite.base.files import resolve, sync


@contextmanager
def written(url: str) -> Iterator[IO[bytes]]:
    """A stream whose bytes stand at `url` once the block has ended without an exception."""
    fs, path = resolve(url)
    if isinstance(fs, LocalFileSystem):
        with _local(Path(path)) as local:
            yield local
        return
    try:
        with _remote(fs, path) as remote:
            yield remote
    except OSError as error:  # an object store's has neither number nor name
        raise ShardError(f"{url}: cannot write: {error}") from None


@contextmanager
def _local(target: Path) -> Iterator[IO[bytes]]:
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp-{os.getpid()}")
    try:
        with open(temporary, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    sync(target.parent)


@contextmanager
def _remote(fs: Any, path: str) -> Iterator[IO[bytes]]:
    stream = fs.open(path, "wb", autocommit=False)
    try:
        yield stream
        stream.close()
        stream.commit()
    except BaseException:
        with suppress(Exception):  # the first failure is the one to tell
            stream.discard()
            stream.closed = True  # else it is flushed once more when it is collected
        raise
