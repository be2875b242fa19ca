"""The loader of a run: its tokenizer, its stored references, its cache."""

from collections.abc import Callable, Mapping
from pathlib import Path

from prewrite.engine.config import EngineConfig
from prewrite.engine.tokenizer import load_tokenizer
from prewrite.judge.criteria import load_criterion
from prewrite.judge.passes import judge_pass
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.loader import Loader
from prewrite.train.data.stored import stored
from prewrite.train.model.shape import ModelShape
from prewrite.train.names import CACHE
from prewrite.train.tasks.asking import asker_of


def open_loader(
    config: TrainConfig,
    shape: ModelShape,
    rank: int = 0,
    ranks: int = 1,
    references: bool = True,
    engines: Mapping[str, EngineConfig] | None = None,
) -> Loader:
    """The loader of data parallel rank `rank` of `ranks`; without `references` it reads none.
    engines: those of the recipe; without them no score of a set is taken over.
    """
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
        _known(config, engines or {}),
        asker_of(config, shape, engines),
    )


def _known(
    config: TrainConfig, engines: Mapping[str, EngineConfig]
) -> Callable[[str], frozenset[str]]:
    """The criteria that a set has been judged on, by the judges of the rollouts in the same way,
    and that look at one text alone: what a text got there it would get again.
    """

    def known(url: str) -> frozenset[str]:
        judge = config.rollouts and config.rollouts.judge
        if not (judge and engines and any(p.online for p in config.curriculum)):
            return frozenset()
        kinds = {c.name: c.kind for c in map(load_criterion, judge.criteria)}
        kept = judge_pass(url, judge, dict(engines)).kept
        return frozenset(name for name in kept if kinds[name] != "pairwise")

    return known
