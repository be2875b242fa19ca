"""The folder of a run, `train.output`, while one run holds it.

One run an output: the main process holds `lock.json` (`shards.lock`), and whatever the run writes
there goes through `Output`. A run that slept past the lock's time and wakes beside another one does
no harm, wherever it slept: its temporary files lie in a folder of its own, which the next run
removes before it reads anything; and whatever appears, is replaced or goes is renamed out of that
folder or into it, which then fails. The check before only says it sooner.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from uuid import uuid4

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder, opened, sync
from prewrite.shards.lock import OutputLock
from prewrite.train import parallel
from prewrite.train.names import LOCK
from prewrite.train.owned import claim

_AGAIN = 1.0  # seconds

Ours = Callable[[str], bool]
"""Whether a name in a folder is one that runs write there; files of others are left alone."""


@dataclass(frozen=True)
class Output:
    """The folder `root`. scratch: this run's folder for what is not whole yet, inside of `root`.
    token: of the lock that it holds; None: of none.

    Methods that change something raise ShardError when another run has taken over.
    """

    root: Path
    scratch: Path
    token: str | None = None

    def check(self) -> None:
        """ShardError when another run has taken over, or the lock is gone."""
        if self.token and _holder(self.root) != self.token:
            time.sleep(_AGAIN)  # a disk on a network may fail for a moment
        if not self.scratch.is_dir() or (self.token and _holder(self.root) != self.token):
            raise ShardError(
                f"{self.root}: this run has lost {LOCK}: another one took it over, or it was "
                "removed; what was not saved before is left out"
            )

    def new(self) -> Path:
        """A path in the scratch folder that nothing has yet."""
        return self.scratch / uuid4().hex

    def folder(self, name: str = "") -> Folder:
        """The folder `name` in it, in which files are written as this run's."""
        return _Fenced(self, name)

    def append(self, name: str, data: bytes) -> IO[bytes]:
        """Write a file and keep it open to append to; not to a later run's file of this name."""
        self.folder().write(name, data)
        stream = open(self.root / name, "ab")  # noqa: SIM115  (the caller's)
        self.check()  # a run that takes over from here on writes a file of its own
        return stream

    def publish(self, part: Path, name: str, ours: Ours) -> None:
        """Let `part`, made in the scratch folder, be the folder `name`. What was there is removed
        before, so that a kill in between leaves neither; beside files of others the new ones appear
        one by one, `state.json` last.
        """
        target = self.root / name
        with self.told(target):
            self.discard(name, ours)
            target.parent.mkdir(exist_ok=True)
            if not target.exists():
                os.replace(part, target)
            else:
                for path in sorted(part.iterdir(), key=lambda path: (path.suffix == ".json", path)):
                    os.replace(path, target / path.name)
                part.rmdir()
            for folder in {target, target.parent, self.root}:
                sync(folder)

    def discard(self, name: str, ours: Ours = lambda name: True) -> None:
        """Remove a file or a folder, if it is there."""
        target, aside = self.root / name, self.new()
        if not target.exists():
            return
        with self.told(target):
            if target.is_file() or all(ours(path.name) for path in target.iterdir()):
                os.replace(target, aside)
            else:
                aside.mkdir()
                for path in filter(lambda path: ours(path.name), target.iterdir()):
                    os.replace(path, aside / path.name)
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)

    @contextmanager
    def told(self, path: Path) -> Iterator[None]:
        """One sentence for what the disk refuses: another run has taken over, or its reason."""
        try:
            yield
        except OSError as error:
            self.check()
            raise ShardError(f"{path}: cannot write: {error.strerror or error}") from None


class _Fenced(Folder):
    """A folder of an output."""

    def __init__(self, output: Output, name: str) -> None:
        super().__init__(str(output.root / name), str(output.root))
        self._output = output

    def write(self, name: str, data: bytes) -> None:
        self.refuse_outside(os.path.dirname(name))
        target, part = Path(self.path(name)), self._output.new()
        with self._output.told(target):
            with open(part, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(part, target)
            sync(target.parent)

    def remove(self, name: str) -> None:
        self._output.discard(str(Path(self.path(name)).relative_to(self._output.root)))


@contextmanager
def held(url: str) -> Iterator[Output]:
    """The output at `url`, held until the end of the block; every process enters together.

    ShardError in all of them when another run holds it, ConfigError when what lies there is not a
    run's.
    """
    with ExitStack() as stack:

        def take() -> Output:
            root = Path(url)
            lock = stack.enter_context(OutputLock(Folder(url), LOCK))
            assert lock.scratch, "train.output is on a disk"
            output = Output(root, lock.scratch, lock.mine.token)
            claim(root, output.folder())
            return output

        yield parallel.by_main(take)


def _holder(root: Path) -> str | None:
    try:
        with opened(root / LOCK) as stream:
            return str(json.loads(stream.read())["token"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
