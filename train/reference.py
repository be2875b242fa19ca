"""Reference log-probabilities, computed once and kept with the shards.

`python -m train reference` runs the configured model over every stretch of the configured sets and
keeps the summed log-probability of each candidate in `reference/<fingerprint>/` of the set: one
Parquet file a part, beside a manifest of what they depend on. Then `reference: stored` trains DPO
with no second model in memory. Guarantees: a file is whole or not there, so an interrupted pass
goes on; another model, tokenizer or window has another fingerprint, so nothing stale is read.
"""

import io
import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from base.cli import console
from base.errors import ShardError
from base.files import Folder
from base.fingerprint import fingerprint
from engine.digest import model_digest
from shards.schema import Row as Values
from shards.schema import to_parquet
from train.config import TrainConfig
from train.model.shape import Shape
from train.rows import Row
from train.source import Reference, References
from train.trees import KINDS

MANIFEST = "manifest.json"
_FIELDS: list[tuple[str, pa.DataType]] = [
    ("id", pa.string()),
    ("kind", pa.string()),
    ("log_prob", pa.float32()),
    ("tokens", pa.int32()),
]
COLUMNS = pa.schema(_FIELDS)


def stored(config: TrainConfig, shape: Shape) -> References:
    """What was kept for this configuration; ShardError when it is asked for a part that was not."""
    about = material(config, shape)

    def read(url: str, part: str) -> Reference:
        folder = place(url, about)
        data = folder.read(part)
        if data is None:
            raise ShardError(
                f"{folder.url}/{part}: not there; run `python -m train reference` with this "
                "configuration first, or take `reference: frozen`"
            )
        columns = pq.read_table(io.BytesIO(data), columns=COLUMNS.names[:3]).to_pydict()
        kinds = (KINDS.index(kind) for kind in columns["kind"])
        return dict(zip(zip(columns["id"], kinds, strict=True), columns["log_prob"], strict=True))

    return read


def material(config: TrainConfig, shape: Shape) -> dict[str, Any]:
    """All that the log-probability of a candidate depends on, beside its set."""
    return {
        "model": model_digest(str(shape.folder)),
        "init": config.model.init,
        "seed": config.seed if config.model.init == "scratch" else None,
        "dtype": config.model.dtype,
        **config.batch.model_dump(include={"max_seq_len", "context_tokens", "row_tokens"}),
    }


def place(url: str, about: dict[str, Any]) -> Folder:
    """The folder of a set's references under `about`."""
    return Folder(f"{url.rstrip('/')}/reference/{fingerprint(about)[:16]}")


def keep(config: TrainConfig) -> None:
    """Compute what is missing of every set and keep it; runs under torchrun too."""
    # What needs Megatron stands here: the loader reads references without it.
    from train import parallel
    from train.feed import open_loader
    from train.learner import frozen_model
    from train.model.shape import load_shape

    parallel.start(config.parallel, config.seed)
    try:
        shape = load_shape(config.model.path, config.model.revision)
        about = material(config, shape)
        model = frozen_model(config, shape)
        rank, ranks = parallel.data_rank(), parallel.data_size()
        with open_loader(config, shape, rank, ranks) as loader:
            for url, part, rows in loader.stored():
                folder = place(url, about)
                if folder.fs.exists(folder.path(part)):
                    continue
                values = _values(model, list(rows))
                if parallel.is_last_stage() and parallel.is_first_tensor():
                    folder.write(part, to_parquet(values, COLUMNS))
                    console.print(f"reference: {folder.url}/{part}", soft_wrap=True)
        if parallel.is_main():
            for data in config.data:
                text = json.dumps(about, indent=1, sort_keys=True) + "\n"
                place(data.set, about).write(MANIFEST, text.encode())
    finally:
        parallel.stop()


def _values(model: Any, rows: Sequence[Row]) -> list[Values]:
    """One row a candidate, in the order of the rows."""
    from train.learner import with_reference
    from train.objectives import count_tokens

    return [
        {"id": row_id, "kind": KINDS[kind], "log_prob": value, "tokens": tokens}
        for row in with_reference(model, rows)
        for row_id, kind, value, tokens in zip(
            row.candidates.ids,
            row.candidates.kind_C.tolist(),
            row.candidates.reference_C.tolist(),
            count_tokens(row.candidates).tolist(),
            strict=True,
        )
    ]
