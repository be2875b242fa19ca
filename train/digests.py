"""Digests of the files of a checkpoint: taken while Megatron writes them, compared before it reads.

Every process that writes a file of tensors digests what it writes on the way, so nothing is read
back, and leaves the digest in a file beside it. Cost: SHA-256 once at a save, in the processes that
write, and once at a load, each rank its share of the files.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from megatron.core.dist_checkpointing.strategies import filesystem_async

from prewrite.base.files import leads_out, opened
from prewrite.base.together import together
from prewrite.train import parallel
from prewrite.train.state import FileDigest

SUFFIX = ".sha256"
_THREADS = 4
_BLOCK = 1 << 22


class _Written:
    """A file of tensors that is being written; once it is whole its digest lies beside it.

    torch turns an error of the disk into one of its own, which no longer says what was wrong; the
    error that comes out here is the disk's.
    """

    def __init__(self, path: str, mode: str) -> None:
        self._path, self._stream = path, open(path, mode)  # noqa: SIM115  (a stream itself)
        self._digest, self._size = hashlib.sha256(), 0
        self._error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write and digest bytes."""
        try:
            self._stream.write(data)
        except OSError as error:
            self._error = error
            raise
        self._digest.update(data)
        self._size += memoryview(data).nbytes
        return memoryview(data).nbytes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._error:
            with suppress(OSError):
                self._stream.close()
            raise self._error
        self._stream.close()
        if kind is None:
            found = FileDigest(bytes=self._size, sha256=self._digest.hexdigest())
            Path(self._path + SUFFIX).write_text(found.model_dump_json())


filesystem_async.open = _Written  # what it opens, it writes


def taken(folder: Path) -> dict[str, FileDigest]:
    """The digests that the processes which wrote for this rank have left in `folder`; they go."""
    found = {}
    for path in folder.glob(f"__{parallel.rank()}_*{SUFFIX}"):
        found[path.name.removesuffix(SUFFIX)] = FileDigest.model_validate_json(path.read_bytes())
        path.unlink()
    return found


def digest(path: Path) -> FileDigest:
    """The size and SHA-256 of a file."""
    found, size = hashlib.sha256(), 0
    with opened(path) as stream:
        while block := stream.read(_BLOCK):
            found.update(block)
            size += len(block)
    return FileDigest(bytes=size, sha256=found.hexdigest())


def faults(folder: Path, files: Mapping[str, FileDigest]) -> list[str]:
    """What is wrong with the `files` of `folder`, none where they are whole; every process calls,
    looks at its share, and is told of all.
    """
    names = sorted(files, key=lambda name: (-files[name].bytes, name))
    mine = names[parallel.rank() :: parallel.size()]
    found = [*together(lambda name: _fault(folder / name, files[name]), mine, _THREADS)]
    return sorted(fault for some in parallel.collect(found) for fault in some if fault)


def _fault(path: Path, known: FileDigest) -> str | None:
    if real := leads_out(path, path.parents[1]):
        return f"{path.name}: found a link to {real}, out of the checkpoints"
    try:
        size = path.stat().st_size
        if size != known.bytes:
            return f"{path.name}: found {size} bytes; accepted: {known.bytes}"
        found = digest(path)
    except OSError as error:
        return f"{path.name}: {error.strerror}"
    if found.sha256 != known.sha256:
        return f"{path.name}: found other bytes than were written"
    return None
