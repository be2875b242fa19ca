"""Reference log-probabilities, computed once and kept with the shards.

`python -m train reference` runs the configured model over every stretch of the configured sets and
keeps the summed log-probability of each candidate in `reference/<fingerprint>/` of the set, one
Parquet file a part, beside a manifest of what they depend on. Then `reference: stored` trains DPO
with no second model in memory. Guarantee: a file is whole or not there, so an interrupted pass goes
on; another model, tokenizer or window has another fingerprint, so nothing stale is ever read.
"""

import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from base.errors import ShardError
from base.files import Folder
from base.fingerprint import fingerprint
from shards.schema import to_parquet

MANIFEST = "manifest.json"
COLUMNS = pa.schema(
    [("id", pa.string()), ("kind", pa.int32()), ("log_prob", pa.float32()), ("tokens", pa.int32())]
)
Key = tuple[str, int]


class References:
    """The stored log-probabilities of one set under `material`: all that they depend on."""

    def __init__(self, url: str, material: dict[str, Any]) -> None:
        self.material = material
        self.folder = Folder(f"{url.rstrip('/')}/reference/{fingerprint(material)[:16]}")

    def begin(self) -> None:
        """Say what the files depend on."""
        text = json.dumps(self.material, indent=1, sort_keys=True)
        self.folder.write(MANIFEST, (text + "\n").encode())

    def has(self, part: str) -> bool:
        """Whether the part is done."""
        return bool(self.folder.fs.exists(self.folder.path(part)))

    def write(self, part: str, rows: list[dict[str, Any]]) -> None:
        """Keep a part: rows of id, kind, log_prob and tokens."""
        self.folder.write(part, to_parquet(rows, COLUMNS))

    def read(self, part: str) -> dict[Key, float]:
        """Log-probability by row id and kind; ShardError when the part is not there."""
        import pyarrow.parquet as pq

        data = self.folder.read(part)
        if data is None:
            raise ShardError(
                f"{self.folder.url}/{part}: not there; run `python -m train reference` with this "
                "configuration, or take `reference: frozen`"
            )
        table = pq.read_table(pa.BufferReader(data))
        return dict(_entries(table))


def _entries(table: pa.Table) -> Iterator[tuple[Key, float]]:
    columns = (table[name].to_pylist() for name in ("id", "kind", "log_prob"))
    for row, kind, value in zip(*columns, strict=True):
        yield (row, kind), value
