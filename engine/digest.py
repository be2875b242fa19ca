"""A fingerprint of a model folder that costs milliseconds, whatever the model's size.

SHA-256 over the names and sizes of all files, the whole content of files up to 16 MiB
(configuration, tokenizer, template), and the first and last MiB of larger ones (safetensors begin
with the names and shapes of all tensors). It tells two models apart; it is no proof against an
adversary.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.config import EngineConfig

_SMALL = 16 << 20
_END = 1 << 20


def model_digest(model: str, revision: str | None = None, names: Sequence[str] = ("*",)) -> str:
    """Digest of a local folder or file, or of a cached Hugging Face snapshot; else `unknown`.
    names: patterns of the files of a folder that count.
    """
    folder = Path(model)
    if folder.is_file():
        return hashlib.sha256(folder.read_bytes()).hexdigest()
    if not folder.is_dir():
        return _hub_commit(model, revision)
    digest = hashlib.sha256()
    files = {path for name in names for path in folder.rglob(name) if path.is_file()}
    for path in sorted(files):
        size = path.stat().st_size
        digest.update(f"{path.relative_to(folder)}\0{size}\0".encode())
        with open(path, "rb") as stream:
            digest.update(stream.read(_SMALL if size <= _SMALL else _END))
            if size > _SMALL:
                stream.seek(-_END, 2)
                digest.update(stream.read(_END))
    return digest.hexdigest()


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
