"""Reading what Megatron and torch pickle into a checkpoint, without running what was put there.

Digests find damage, not malice: who can make a checkpoint can make its digests. So `.metadata` is
unpickled with a list of the classes that it may name, and every `torch.load` below `guarded` is
told to take weights and plain values only: `common.pt`, the tensors, and the objects between them.
"""

import os
import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from megatron.core.dist_checkpointing.strategies import torch as strategy
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta

_CLASSES = {
    "torch": {"Size"},
    "torch.serialization": {"_get_layout"},
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.planner": {
        "SavePlan",
        "TensorWriteData",
        "WriteItem",
        "WriteItemType",
    },
}
"""What `.metadata` names; beside these, types of numbers."""

_FORCED = {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1", "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": None}
"""Torch's own switches, for calls of `torch.load` whatever they ask for."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        number = module == "torch" and isinstance(getattr(torch, name, None), torch.dtype)
        if name in _CLASSES.get(module, ()) or number:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no checkpoint does")


class _Reader(strategy.CachedMetadataFileSystemReader):  # type: ignore[misc]  # untyped
    """Megatron's reader of a checkpoint; reads `.metadata` by the list of classes, and files of
    tensors only where their digests were compared.
    """

    listed: ClassVar[frozenset[str]] = frozenset()
    _cached_metadata: Metadata | None

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        if self._cached_metadata is None:
            with open(self._get_metadata_path(), "rb") as stream:
                found = _Unpickler(stream).load()
            if not isinstance(found, Metadata):
                raise pickle.UnpicklingError("it holds something else than a checkpoint's does")
            for info in found.storage_data.values():
                if info.relative_path not in self.listed:
                    raise pickle.UnpicklingError(f"it names the file '{info.relative_path}'")
            found.storage_meta = StorageMeta(load_id=self.load_id)
            self._cached_metadata = found
        return self._cached_metadata


strategy.CachedMetadataFileSystemReader = _Reader


@contextmanager
def guarded(listed: Iterable[str]) -> Iterator[None]:
    """While it lasts, `torch.load` takes weights and plain values only, and of a checkpoint no file
    is read but those that are `listed`: their digests were compared.
    """
    before = {name: os.environ.get(name) for name in _FORCED}
    try:
        _set(_FORCED)
        _Reader.listed = frozenset(listed)
        yield
    finally:
        _Reader.listed = frozenset()
        _set(before)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
