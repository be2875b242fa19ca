"""Where reference log-probabilities lie beside the shards, and how they are read again.

`_references/<fingerprint>/` of a set has one Parquet file a part, beside a manifest of all that the
values depend on. Another model, tokenizer, window or filter and a remade set have another
fingerprint. Each file has a check of its values and of what they belong to: the bytes of the part
of the set, and all that is in the manifest. So nothing stale or damaged is read, and no file that
was exchanged with that of another part or model.
"""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.engine.digest import content_digest
from prewrite.shards import flat, names
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import Row, to_parquet
from prewrite.train.config.phases import KINDS
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.source import Reference, References, references_file
from prewrite.train.model.shape import ModelShape

MANIFEST = "manifest.json"
_FIELDS: list[tuple[str, pa.DataType]] = [
    ("id", pa.string()),
    ("kind", pa.string()),
    ("log_prob", pa.float32()),
    ("tokens", pa.int32()),
]
COLUMNS = pa.schema(_FIELDS)


_CHECK = "prewrite.check"


@dataclass(frozen=True)
class StoredReferences:
    """Where the references of a set lie. identity: all that they depend on. parts: name → SHA-256
    of each part of the set. kinds: those of the recipe.
    """

    folder: Folder
    identity: dict[str, Any]
    parts: dict[str, str]
    kinds: tuple[str, ...] = KINDS

    def read(self, part: str) -> Reference | None:
        """What was kept for a part; None where it is not there, damaged, or of another part or
        model.
        """
        data = self.folder.read(part)
        try:
            table = pq.read_table(io.BytesIO(data or b""), page_checksum_verification=True)
            columns = table.select(COLUMNS.names).to_pydict()
            kinds = [self.kinds.index(kind) for kind in columns["kind"]]
        except (pa.ArrowException, OSError, KeyError, ValueError):
            return None
        check = (table.schema.metadata or {}).get(_CHECK.encode(), b"").decode()
        if check != self._check(part, columns):
            return None
        return dict(zip(zip(columns["id"], kinds, strict=True), columns["log_prob"], strict=True))

    def write(self, part: str, rows: Sequence[Row]) -> None:
        """Keep the references of a part, whole or not at all."""
        table = pa.Table.from_pylist(list(rows), COLUMNS)
        check = {_CHECK: self._check(part, table.to_pydict())}
        self.folder.write(part, to_parquet(rows, COLUMNS, check))

    def finish(self) -> None:
        """Say what they depend on: all parts are there."""
        text = json.dumps(self.identity, indent=1, sort_keys=True) + "\n"
        self.folder.write(MANIFEST, text.encode())

    def _check(self, part: str, columns: dict[str, list[Any]]) -> str:
        return fingerprint([self.identity, self.parts[part], columns])


def stored(config: TrainConfig, shape: ModelShape) -> References:
    """What was kept for this configuration; ShardError for the first part that was not."""
    found = references_of(config, shape)
    for references in found.values():
        there = references.folder.names()
        for part in references.parts:
            if part not in there:
                raise _missing(references.folder, part)

    def read(url: str, part: str) -> Reference:
        values = found[url].read(part)
        if values is None:
            raise _missing(found[url].folder, part)
        return values

    return read


def _missing(folder: Folder, part: str) -> ShardError:
    return ShardError(
        f"{folder.url}/{part}: not there, damaged, or of another part or model; run `prewrite "
        "train reference` with this configuration first, or take `reference: frozen`"
    )


def references_of(config: TrainConfig, shape: ModelShape) -> dict[str, StoredReferences]:
    """By set: where its references lie, and all that they depend on."""
    model = {
        "model": content_digest(shape.folder),
        "init": config.model.init,
        "seed": config.seed if config.model.init == "scratch" else None,
        "dtype": config.model.dtype,
        **config.batch.model_dump(include={"max_seq_len", "context_tokens"}),
        "row_tokens": config.batch.sequence_tokens,  # as 0.1 called it, whose references stay
    }
    if config.kinds != KINDS:  # further texts move prefixes
        model["texts"] = config.stored_kinds
    found = {}
    for data in config.data:
        shards = ShardSet(data.set)
        parts = {references_file(part): part.sha256 for part in shards.parts}
        identity = model | {"parts": shards.manifest.known_as, "filter": data.filter}
        place = flat.REFERENCES if shards.manifest.flat else names.REFERENCES
        url = f"{data.set.rstrip('/')}/{place}/{fingerprint(identity)[:16]}"
        found[data.set] = StoredReferences(Folder(url, data.set), identity, parts, config.kinds)
    return found
