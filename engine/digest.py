"""Fingerprints of a model folder: `model_digest` costs milliseconds, `content_digest` reads it all.

Both are SHA-256 over the names and sizes of files, and the whole content of files up to 16 MiB
(configuration, tokenizer, template). Of larger ones the first takes the first and last MiB
(safetensors begin with the names and shapes of all tensors): it tells two models apart, but not two
with the same tensors of which one was changed in its middle. The second takes the SHA-256 of each
whole file. Cost: about 1.1 s a GiB and core (x86 with SHA instructions, file in memory), up to four
files at a time; a process reads no unchanged file twice.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from prewrite.engine.config import EngineConfig

_SMALL = 16 << 20
_END = 1 << 20
_THREADS = 4


def model_digest(model: str, revision: str | None = None) -> str:
    """Digest of a local folder or file, or of a cached Hugging Face snapshot; else `unknown`."""
    folder = Path(model)
    if folder.is_file():
        return hashlib.sha256(folder.read_bytes()).hexdigest()
    if not folder.is_dir():
        return _hub_commit(model, revision)
    return _digest(folder, ("*",), _ends)


def content_digest(folder: Path, names: Sequence[str] = ("*",)) -> str:
    """Digest of all bytes of a local folder. names: patterns of the files that count."""
    return _digest(folder, names, _whole)


def _digest(folder: Path, names: Sequence[str], of_large: Callable[[Path], bytes]) -> str:
    files = sorted({path for name in names for path in folder.rglob(name) if path.is_file()})
    sizes = [path.stat().st_size for path in files]

    def content(path: Path, size: int) -> bytes:
        return path.read_bytes() if size <= _SMALL else of_large(path)

    digest = hashlib.sha256()
    with ThreadPoolExecutor(_THREADS) as pool:
        for path, size, data in zip(files, sizes, pool.map(content, files, sizes), strict=True):
            digest.update(f"{path.relative_to(folder)}\0{size}\0".encode())
            digest.update(data)
    return digest.hexdigest()


def _ends(path: Path) -> bytes:
    with open(path, "rb") as stream:
        first = stream.read(_END)
        stream.seek(-_END, os.SEEK_END)
        return first + stream.read(_END)


def _whole(path: Path) -> bytes:
    now = path.stat()
    return _sha256(path, (now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns))


@cache
def _sha256(path: Path, version: tuple[int, ...]) -> bytes:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def identity(config: EngineConfig) -> dict[str, Any]:
    """What an engine's answers depend on: its configuration, and its model where that is a folder
    (the content of a Hugging Face id is fixed by its revision).
    """
    known = config.identity()
    if Path(config.model).is_dir():
        known["digest"] = model_digest(config.model)
    return known


def _hub_commit(model: str, revision: str | None) -> str:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(model, revision=revision, local_files_only=True)).name
    except (LocalEntryNotFoundError, HfHubHTTPError, ValueError):
        return "unknown"
