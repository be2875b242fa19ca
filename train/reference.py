"""Reference log-probabilities, computed once and kept with the shards.

`prewrite train reference` runs the configured model over every span of the configured sets and
keeps the summed log-probability of each candidate (`train.data.stored` says where). Then
`reference: stored` trains DPO with no second model in memory. Guarantee: a file is whole or not
there, so an interrupted pass goes on; one that is damaged, or of another part or model, is made
anew.
"""

from collections.abc import Sequence
from typing import Any

from prewrite.base.cli import console
from prewrite.shards.schema import Row
from prewrite.train import parallel
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.rows import PackedSequence
from prewrite.train.data.stored import references_of
from prewrite.train.feed import open_loader
from prewrite.train.learner import frozen_model, with_reference
from prewrite.train.model.shape import load_shape
from prewrite.train.objectives import count_tokens
from prewrite.train.preflight import check_model


def keep(config: TrainConfig) -> None:
    """Compute what is missing of every set and keep it; runs under torchrun too."""
    with parallel.processes(config.parallel, config.seed):
        shape = load_shape(config.model.path, config.model.revision)
        found = references_of(config, shape)
        if parallel.is_main():
            check_model(config, shape)
        parallel.barrier()
        model = frozen_model(config, shape)
        with parallel.main_first():
            rank, ranks = parallel.data_rank(), parallel.data_size()
            loader = open_loader(config, shape, rank, ranks, references=False)
        with loader:
            for url, part, rows in loader.stored():
                references = found[url]
                if references.read(part) is not None:
                    continue
                values = _values(model, list(rows))
                if parallel.is_last_stage() and parallel.is_first_tensor():
                    references.write(part, values)
                    console.print(f"reference: {references.folder.url}/{part}", soft_wrap=True)
        parallel.barrier()  # the manifest says that all parts are there
        if parallel.is_main():
            for references in found.values():
                references.finish()


def _values(model: Any, rows: Sequence[PackedSequence]) -> list[Row]:
    """One row a candidate, in the order of the rows; of a part that a filter leaves empty, none."""
    if not rows:
        return []
    return [
        {"id": row_id, "kind": row.candidates.kinds[kind], "log_prob": value, "tokens": tokens}
        for row in with_reference(model, rows)
        for row_id, kind, value, tokens in zip(
            row.candidates.ids,
            row.candidates.kind_C.tolist(),
            row.candidates.reference_C.tolist(),
            count_tokens(row.candidates).tolist(),
            strict=True,
        )
    ]
