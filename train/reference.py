"""Reference log-probabilities, computed once and kept with the shards.

`python -m train reference` runs the configured model over every stretch of the configured sets and
keeps the summed log-probability of each candidate in `reference/<fingerprint>/` of the set: one
Parquet file a part, beside a manifest of what they depend on. Then `reference: stored` trains DPO
with no second model in memory. Guarantees: a file is whole or not there, so an interrupted pass
goes on; another model, tokenizer, window or filter and a remade set have another fingerprint, so
nothing stale is read.
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
from shards.reader import ShardSet
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
    folders = {url: folder for url, (folder, _) in places(config, shape).items()}

    def read(url: str, part: str) -> Reference:
        data = folders[url].read(part)
        if data is None:
            raise ShardError(
                f"{folders[url].url}/{part}: not there; run `python -m train reference` with this "
                "configuration first, or take `reference: frozen`"
            )
        columns = pq.read_table(io.BytesIO(data), columns=COLUMNS.names[:3]).to_pydict()
        kinds = (KINDS.index(kind) for kind in columns["kind"])
        return dict(zip(zip(columns["id"], kinds, strict=True), columns["log_prob"], strict=True))

    return read


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


def keep(config: TrainConfig) -> None:
    """Compute what is missing of every set and keep it; runs under torchrun too."""
    # What needs Megatron stands here: the loader reads references without it.
    from train import parallel
    from train.feed import open_loader
    from train.learner import frozen_model
    from train.model.shape import load_shape

    with parallel.processes(config.parallel, config.seed):
        shape = load_shape(config.model.path, config.model.revision)
        folders = places(config, shape)
        model = frozen_model(config, shape)
        with parallel.main_first():
            rank, ranks = parallel.data_rank(), parallel.data_size()
            loader = open_loader(config, shape, rank, ranks, references=False)
        with loader:
            for url, part, rows in loader.stored():
                folder, _ = folders[url]
                if folder.fs.exists(folder.path(part)):
                    continue
                values = _values(model, list(rows))
                if parallel.is_last_stage() and parallel.is_first_tensor():
                    folder.write(part, to_parquet(values, COLUMNS))
                    console.print(f"reference: {folder.url}/{part}", soft_wrap=True)
        if parallel.is_main():
            for folder, about in folders.values():
                text = json.dumps(about, indent=1, sort_keys=True) + "\n"
                folder.write(MANIFEST, text.encode())


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
