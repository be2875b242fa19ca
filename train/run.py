"""A training run from end to end: what stands before the first step and after the last."""

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from engine.config import EngineConfig
from shards.reader import ShardSet
from train import parallel
from train.config import TrainConfig
from train.data.feed import open_loader
from train.model.export import MODEL, export
from train.model.shape import load_shape
from train.outcome import PLOT, continuations, plot, write_continuations
from train.preflight import preflight
from train.provenance import provenance
from train.trainer import Trainer

_SHOWN = 3


def run(config: TrainConfig, engines: Mapping[str, EngineConfig] | None = None) -> None:
    """Train, or go on, or say that the run is complete; leave a model and what shows it."""
    model, shown = Path(config.output) / MODEL, Path(config.output) / PLOT
    with parallel.processes(config.parallel, config.seed):
        shape = load_shape(config.model.path, config.model.revision)
        with parallel.main_first():
            rank, ranks = parallel.data_rank(), parallel.data_size()
            loader = open_loader(config, shape, rank, ranks, engines=engines)
        with loader:
            trainer = Trainer(config, shape, loader, engines)
            complete = trainer.curriculum.over and shown.exists()
            if not complete:
                if parallel.is_main():
                    preflight(config, shape, loader, engines)
                parallel.wait()
                shown.unlink(missing_ok=True)  # it is of an earlier end, and drawn last
                learner = trainer.train()
                left = provenance(config, shape.folder, engines)
                export(learner.model, shape, model, left)
        main = parallel.is_main()
    if main and complete:
        print(f"{config.output}: the run is complete; nothing to do")
    elif main:
        _show(config, model)


def _show(config: TrainConfig, model: Path) -> None:
    prefixes = _prefixes(config)
    pairs = list(zip(prefixes, continuations(str(model), prefixes), strict=True))
    write_continuations(config.output, pairs)
    console = Console(highlight=False, markup=False)
    for prefix, text in pairs:
        console.print(f"…{prefix[-100:]!r} → {text!r}", soft_wrap=True)
    console.print(f"losses: {plot(config.output)}", soft_wrap=True)
    console.print(f"model:  {model}", soft_wrap=True)


def _prefixes(config: TrainConfig) -> list[str]:
    """How the first documents of the first set begin."""
    rows = ShardSet(config.data[0].set).rows(["chunk", "original"])
    beginnings = (str(row["original"]) for row in rows if row["chunk"] == 0)
    return [text for text, _ in zip(beginnings, range(_SHOWN), strict=False)]
