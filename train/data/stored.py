"""Where reference log-probabilities lie beside the shards, and how they are read again.

`reference/<fingerprint>/` of a set has one Parquet file a part, beside a manifest of all that the
values depend on. Another model, tokenizer, window or filter and a remade set have another
fingerprint, so nothing stale is read.
"""

import io
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from base.errors import ShardError
from base.files import Folder
from base.fingerprint import fingerprint
from engine.digest import model_digest
from shards.reader import ShardSet
from train.config import TrainConfig
from train.data.source import Reference, References
from train.data.trees import KINDS
from train.model.shape import Shape

MANIFEST = "manifest.json"
_FIELDS: list[tuple[str, pa.DataType]] = [
    ("id", pa.string()),
    ("kind", pa.string()),
    ("log_prob", pa.float32()),
    ("tokens", pa.int32()),
]
COLUMNS = pa.schema(_FIELDS)


def stored(config: TrainConfig, shape: Shape) -> References:
    """What was kept for this configuration; ShardError for the first part that was not."""
    folders = {url: folder for url, (folder, _) in places(config, shape).items()}
    for url, folder in folders.items():
        there = folder.names()
        for part in ShardSet(url).manifest.parts:
            if part.name not in there:
                raise _missing(folder, part.name)

    def read(url: str, part: str) -> Reference:
        found = kept_of(folders[url], part)
        if found is None:
            raise _missing(folders[url], part)
        return found

    return read


def kept_of(folder: Folder, part: str) -> Reference | None:
    """What was kept for a part of a set; None where it is not there or cannot be read."""
    data = folder.read(part)
    try:
        table = pq.read_table(io.BytesIO(data or b""), page_checksum_verification=True)
        columns = table.select(COLUMNS.names[:3]).to_pydict()
        kinds = [KINDS.index(kind) for kind in columns["kind"]]
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return None
    return dict(zip(zip(columns["id"], kinds, strict=True), columns["log_prob"], strict=True))


def _missing(folder: Folder, part: str) -> ShardError:
    return ShardError(
        f"{folder.url}/{part}: not there, or damaged; run `python -m train reference` with this "
        "configuration first, or take `reference: frozen`"
    )


def places(config: TrainConfig, shape: Shape) -> dict[str, tuple[Folder, dict[str, Any]]]:
    """By set: the folder of its references, and all that they depend on."""
    model = {
        "model": model_digest(str(shape.folder)),
        "init": config.model.init,
        "seed": config.seed if config.model.init == "scratch" else None,
        "dtype": config.model.dtype,
        **config.batch.model_dump(include={"max_seq_len", "context_tokens", "row_tokens"}),
    }
    found = {}
    for data in config.data:
        parts = [part.sha256 for part in ShardSet(data.set).manifest.parts]
        about = model | {"parts": fingerprint(parts), "filter": data.filter}
        url = f"{data.set.rstrip('/')}/reference/{fingerprint(about)[:16]}"
        found[data.set] = Folder(url), about
    return found
