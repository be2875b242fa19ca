"""Bytes of a stored file, whole or a stretch of it, as lines of text: plain, gzip, zstd.

Guarantee: what ends before its size is an error of the storage (OSError with a number), never
taken for the end of the file or for damage, whatever the storage's library says about it.
"""

import errno
import gzip
import hashlib
import io
from collections.abc import Iterator
from typing import IO, Any, cast

import pyarrow.parquet as pq
import zstandard

_WINDOW = 1 << 31
"""Bytes of the window of a zstd frame, which its reader holds in memory: the format's largest, so
what `zstd --long=31` made is read. Most files need 8 MiB.
"""


class HashedStream(io.RawIOBase):
    """Bytes `start` to `stop` (None: to the end) of a stream; counts, hashes what is read."""

    def __init__(self, stream: IO[bytes], start: int = 0, stop: int | None = None) -> None:
        self.stream, self.sha256, self.count = stream, hashlib.sha256(), 0
        self.size = (stream.seek(0, io.SEEK_END) if stop is None else stop) - start
        stream.seek(start)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a part of `buffer`; nothing at the end only."""
        wanted = min(len(buffer), self.size - self.count)
        data = self.stream.read(wanted)
        if wanted and not data:
            raise OSError(errno.EIO, f"{self.count} of {self.size} bytes came")
        buffer[: len(data)] = data
        self.count += len(data)
        self.sha256.update(data)
        return len(data)

    def drain(self) -> None:
        """Read what is left, for the digest."""
        while self.read(1 << 20):
            pass


class Whole(io.RawIOBase):
    """A stream for random access that never reads less than there is: Arrow takes a short read
    for damage. `error`: what the storage said when it failed, which Arrow may not hand on as it is.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.error: Exception | None = None
        self.size = stream.seek(0, io.SEEK_END)
        stream.seek(0)

    def parquet(self) -> pq.ParquetFile:
        """This as Parquet."""
        return pq.ParquetFile(cast(IO[bytes], self))

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to `offset`."""
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        """Where it is."""
        return self.stream.tell()

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer`, or as much of it as there is up to the end."""
        try:
            return self._fill(buffer)
        except Exception as error:
            self.error = error
            raise

    def _fill(self, buffer: Any) -> int:
        done, wanted = 0, min(len(buffer), max(self.size - self.tell(), 0))
        while done < wanted:
            data = self.stream.read(wanted - done)
            if not data:
                raise OSError(errno.EIO, f"{self.tell()} of {self.size} bytes came")
            buffer[done : done + len(data)] = data
            done += len(data)
        return done


def decompressed(meter: HashedStream, path: str) -> io.BufferedReader:
    """The text in `meter`, packed as the end of `path` says."""
    raw: Any = meter
    if path.endswith(".gz"):
        raw = _Gzip(meter)
    elif path.endswith(".zst"):
        raw = _Zstd(meter)
    return io.BufferedReader(raw, 1 << 18)


class _Gzip(io.RawIOBase):
    """Members of gzip, a piece at a time: a full read would lose what stands before damage."""

    def __init__(self, meter: HashedStream) -> None:
        self.file = gzip.GzipFile(fileobj=cast(IO[bytes], io.BufferedReader(meter, 1 << 18)))

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self.file.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)


class _Zstd(io.RawIOBase):
    """Frames of zstd, one after the other; EOFError when the last one is cut, which the
    library's own reader takes for the end.
    """

    def __init__(self, meter: HashedStream) -> None:
        self.meter, self.frame, self.left, self.begun = meter, self._new(), memoryview(b""), False

    @staticmethod
    def _new() -> Any:
        return zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self.left:
            data = self.frame.unused_data if self.frame.eof else b""
            if self.frame.eof:
                self.frame, self.begun = self._new(), False
            # Little at a time: a few bytes of zstd may hold megabytes.
            data = data or self.meter.read(1 << 14)
            if not data:
                if self.begun:
                    raise EOFError("the last zstd frame is cut")
                return 0
            self.begun = True
            self.left = memoryview(self.frame.decompress(data))
        count = min(len(buffer), len(self.left))
        buffer[:count], self.left = self.left[:count], self.left[count:]
        return count


class Lines:
    """Lines of a stream; None for one over `limit` bytes, which is passed over unread. `count`
    lines of `bytes` bytes were given so far.
    """

    def __init__(self, stream: io.BufferedReader, limit: int) -> None:
        self.stream, self.limit, self.count, self.bytes = stream, limit, 0, 0

    def __iter__(self) -> Iterator[bytes | None]:
        while line := self.stream.readline(self.limit + 1):
            self.count += 1
            self.bytes += len(line)
            if len(line) > self.limit and not line.endswith(b"\n"):
                self._pass_over()
                yield None
            else:
                yield line

    def _pass_over(self) -> None:
        while rest := self.stream.readline(1 << 20):
            self.bytes += len(rest)
            if rest.endswith(b"\n"):
                return


def is_record(line: bytes | None) -> bool:
    """Whether a line counts as a record: all but blank ones do, readable or not."""
    return line is None or not line.isspace()
