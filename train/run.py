"""A training run from end to end: what stands before the first step and after the last."""

from collections.abc import Mapping

from prewrite.base.cli import console
from prewrite.base.console import PlainConsole
from prewrite.engine.config import EngineConfig
from prewrite.judge.provenance import Provenance
from prewrite.shards.reader import ShardSet
from prewrite.train import parallel
from prewrite.train.config.sections import TrainConfig
from prewrite.train.feed import open_loader
from prewrite.train.finished import begin, fault, finish, is_finished
from prewrite.train.model.export import export
from prewrite.train.model.shape import load_shape
from prewrite.train.names import MODEL
from prewrite.train.outcome import continuations, write_continuations
from prewrite.train.output import Output, held
from prewrite.train.preflight import preflight
from prewrite.train.provenance import provenance
from prewrite.train.trainer import Trainer

_SHOWN = 3


def run(config: TrainConfig, engines: Mapping[str, EngineConfig] | None = None) -> None:
    """Train, or go on, or say that the run is complete; leave a model and what shows it."""
    with parallel.processes(config.parallel, config.seed):
        shape = load_shape(config.model.path, config.model.revision)
        with held(config.output) as output:
            with parallel.main_first():
                rank, ranks = parallel.data_rank(), parallel.data_size()
                loader = open_loader(config, shape, rank, ranks, engines=engines)
            with loader:
                trainer = Trainer(config, shape, loader, output, engines)
                if trainer.curriculum.over and _is_complete(output):
                    trainer.tell_complete()
                    return
                parallel.by_main(lambda: preflight(config, shape, loader, output.new(), engines))
                _make(trainer, provenance(config, shape.folder, engines))


def _is_complete(output: Output) -> bool:
    """Whether the model of a run that made all its steps is there; says why it is not, where an
    earlier end has left something.
    """
    why = parallel.by_main(lambda: fault(output))
    if why and parallel.is_main() and is_finished(output):
        console.print(f"{why}; the model is exported again", soft_wrap=True)
    return why is None


def _make(trainer: Trainer, left: Provenance) -> None:
    output = trainer.output
    if parallel.is_main():
        begin(output)
    learner = trainer.train()
    export(learner.model, trainer.shape, output, MODEL, left)
    if parallel.is_main():
        _show(trainer.config, output)
        finish(output)


def _show(config: TrainConfig, output: Output) -> None:
    prefixes, model = _prefixes(config), output.root / MODEL
    pairs = list(zip(prefixes, continuations(str(model), prefixes), strict=True))
    write_continuations(output.folder(), pairs)
    shown = PlainConsole()
    for prefix, text in pairs:
        shown.print(f"…{prefix[-100:]!r} → {text!r}", soft_wrap=True)
    shown.print(f"report: prewrite train report {output.root}", soft_wrap=True)
    shown.print(f"model:  {model}", soft_wrap=True)


def _prefixes(config: TrainConfig) -> list[str]:
    """How the first documents of the first set begin."""
    rows = ShardSet(config.data[0].set).rows(["chunk", "original"])
    beginnings = (str(row["original"]) for row in rows if row["chunk"] == 0)
    return [text for text, _ in zip(beginnings, range(_SHOWN), strict=False)]
