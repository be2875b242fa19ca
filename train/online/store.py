"""The rollout store: groups that are done and not yet trained on, so that a killed run pays once.

`rollouts/store/TOKEN/` of a run has files of one record a line: a CRC-32 of the rest, the name of
the store, and a group as JSON. Each rollout worker appends to a file of its own and has it on disk
before it answers. `manifest.json` has the store's name, which is random, and says what the groups
depend on: a store of another configuration is thrown away. The folder is named by the lock of the
run; who goes on with a run renames it, so a worker that outlived its run cannot add to it.
Guarantees: what is read is what this store's workers wrote; a record that is torn, damaged or of
another store is as good as absent, and counted. Cost: one write and one fsync a step; the files go
when no checkpoint that stays needs them.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from shutil import rmtree
from typing import Any
from uuid import uuid4
from zlib import crc32

from pydantic import BaseModel, ValidationError

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder, sync
from prewrite.base.fingerprint import fingerprint
from prewrite.train.messages import PromptKey, RolloutGroup
from prewrite.train.names import ROLLOUTS
from prewrite.train.output import Output

MANIFEST = "manifest.json"
_ASKS = 64  # in a file


class _Manifest(BaseModel):
    """The content of `manifest.json`."""

    identity: str
    name: str


class RolloutStoreWriter:
    """Appends groups for worker `writer`; the files are named after their first step. ShardError
    where no store was claimed in `folder`.
    """

    def __init__(self, folder: Path, writer: int) -> None:
        self._folder, self._writer, self._asks = folder, writer, 0
        self._file: Path | None = None
        if not (manifest := _manifest(Folder(str(folder)))):
            raise ShardError(
                f"{folder}/{MANIFEST}: not there, or damaged: the run has no rollout store"
            )
        self._name = manifest.name

    def append(self, step: int, groups: Sequence[RolloutGroup]) -> None:
        """Keep the groups of a step; they are on disk when this returns."""
        if self._file is None or self._asks == _ASKS:
            self._file, self._asks = self._folder / f"{step:08d}-{self._writer:05d}.jsonl", 0
            Folder(str(self._folder)).refuse_outside(self._file.name)
        self._asks += 1
        new = not self._file.exists()
        with open(self._file, "a+b") as stream:
            # What an earlier process left torn must not take the next record along.
            if stream.tell() and not _ends_line(stream):
                stream.write(b"\n")
            stream.write(b"".join(_line(self._name, group) for group in groups))
            stream.flush()
            os.fsync(stream.fileno())
        if new:
            sync(self._folder)


def adopt(output: Output) -> None:
    """Rename what the run before kept in `output` to be this run's. One process calls."""
    mine = output.root / store_of(output)
    for other in [one for one in mine.parent.glob("*") if one.is_dir() and one != mine]:
        aside, whole = output.new(), (other / MANIFEST).exists() and not mine.exists()
        with output.told(other):
            os.replace(other, aside)
            if whole:
                os.replace(aside, mine)
        rmtree(aside, ignore_errors=True)


def store_of(output: Output) -> str:
    """The name of the store of the run that holds `output`, in it."""
    return f"{ROLLOUTS}/store/{output.token or 'run'}"


class RolloutStore:
    """What the workers of the run have kept in `folder`. identity: all that groups depend on."""

    def __init__(self, folder: Folder, identity: Any) -> None:
        self.folder, self._identity, self._place = Path(folder.root), fingerprint(identity), folder

    def claim(self) -> None:
        """Make the store this configuration's: the files of another one go. One process calls."""
        if not self._name():
            for file in self._files():
                file.unlink(missing_ok=True)
            manifest = _Manifest(identity=self._identity, name=uuid4().hex)
            self._place.write(MANIFEST, manifest.model_dump_json().encode())

    def read(self, samples: int) -> tuple[dict[PromptKey, RolloutGroup], int]:
        """The groups of the samples from number `samples` on, and how many records were torn,
        damaged or of another store.
        """
        name = self._name()
        texts = (self._place.read(file.name) or b"" for file in self._files())
        lines = [line for text in texts for line in text.split(b"\n") if line]
        found = [_group(name, line) for line in lines]
        groups = (group for group in found if group and group.sample >= samples)
        return by_key(groups), found.count(None)

    def trim(self, step: int) -> None:
        """Remove the files that hold nothing but steps before `step`: one that begins there or
        before has followed. One process calls.
        """
        files = self._files()
        for file in files:
            first, _, writer = file.stem.partition("-")
            later = [f.stem.partition("-")[0] for f in files if f.stem.endswith(f"-{writer}")]
            if any(first < other and int(other) <= step for other in later):
                file.unlink()

    def clear(self) -> None:
        """Remove all files: the run is over. One process calls."""
        for file in self._files():
            file.unlink()

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("*.jsonl"))

    def _name(self) -> str | None:
        """What the records of this configuration bear; None: the manifest is not of it."""
        found = _manifest(self._place)
        return found.name if found and found.identity == self._identity else None


def _manifest(folder: Folder) -> _Manifest | None:
    try:
        return _Manifest.model_validate_json(folder.read(MANIFEST) or b"")
    except ValidationError:
        return None


def by_key(groups: Iterable[RolloutGroup]) -> dict[PromptKey, RolloutGroup]:
    """The groups by cut point; of two for one cut point the later."""
    return {group.key: group for group in groups}


def _line(name: str, group: RolloutGroup) -> bytes:
    text = f"{name} {group.model_dump_json()}".encode()
    return b"%08x %s\n" % (crc32(text), text)


def _group(name: str | None, line: bytes) -> RolloutGroup | None:
    check, _, rest = line.partition(b" ")
    store, _, text = rest.partition(b" ")
    if check != b"%08x" % crc32(rest) or not name or store != name.encode():
        return None
    try:
        return RolloutGroup.model_validate_json(text)
    except ValidationError:
        return None


def _ends_line(stream: Any) -> bool:
    stream.seek(-1, os.SEEK_END)
    return bool(stream.read(1) == b"\n")
