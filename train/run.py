"""A training run from end to end: what stands before the first step and after the last."""

from pathlib import Path

from rich.console import Console

from shards.reader import ShardSet
from train import parallel
from train.config import TrainConfig
from train.feed import open_loader
from train.model.export import export
from train.model.shape import load_shape
from train.outcome import continuations, plot, write_continuations
from train.trainer import Trainer

MODEL = "model"
_SHOWN = 3


def run(config: TrainConfig) -> None:
    """Train, or go on, or say that the run is complete; leave a model and what shows it."""
    parallel.start(config.parallel, config.seed)
    try:
        shape = load_shape(config.model.path, config.model.revision)
        model = Path(config.output) / MODEL
        with open_loader(config, shape, parallel.data_rank(), parallel.data_size()) as loader:
            trainer = Trainer(config, shape, loader)
            if trainer.curriculum.over and model.exists():
                if parallel.is_main():
                    print(f"{config.output}: the run is complete; nothing to do")
                return
            learner = trainer.train()
            export(learner.model, shape, model)
        if parallel.is_main():
            _show(config, model)
    finally:
        parallel.stop()


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
