"""The loader of a run: its tokenizer, its stored references, its cache."""

from pathlib import Path

from engine.encoding import load_tokenizer
from train.config import TrainConfig
from train.data.loader import Loader
from train.data.stored import stored
from train.model.shape import Shape

CACHE = "cache"


def open_loader(
    config: TrainConfig, shape: Shape, rank: int = 0, ranks: int = 1, references: bool = True
) -> Loader:
    """The loader of data parallel rank `rank` of `ranks`; without `references` it reads none."""
    needed = references and any(phase.reference == "stored" for phase in config.curriculum)
    return Loader(
        config,
        load_tokenizer(str(shape.folder)),
        shape.bos,
        shape.eos[0],
        str(Path(config.output) / CACHE),
        rank,
        ranks,
        stored(config, shape) if needed else None,
    )
