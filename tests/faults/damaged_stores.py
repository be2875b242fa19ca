"""What training runs keep to be read again, damaged in every way, then read: the rollout store,
the pools of rollouts, and reference log-probabilities.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from prewrite.base.files import Folder
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.stored import references_of, stored
from prewrite.train.messages import RolloutGroup
from prewrite.train.online import kept_pools
from prewrite.train.online.store import RolloutStore, RolloutStoreWriter
from tests.faults.damage import Extent, Verdict, copied, others_of
from tests.faults.forks import forked
from tests.train.online.pools import group, prompt
from tests.train.small import make_model

KINDS = {
    "rollout store": {"*.json", "*.jsonl"},
    "pools": {"*.json", "*.parquet"},
    "references": {"*.pq"},
}
"""The kinds of file of each store that are read again."""

Read = Callable[[Path], tuple[str, str]]
"""Reads a store in a folder; the outcome and the reason."""


@dataclass(frozen=True)
class _Store:
    """A store in a folder, one that was made otherwise, and how it is read."""

    folder: Path
    old: Path
    read: Read

    def verdicts(self, extent: Extent) -> Iterator[Verdict]:
        """All damages to its files, and reading it."""
        of = self.folder.name
        for suffix in sorted(KINDS[of]):
            paths, older = (sorted(folder.glob(suffix)) for folder in (self.folder, self.old))
            for number, path in enumerate(paths[: extent.each]):
                others = others_of(paths, number, older)
                for damage, data in extent.damages(path, others, f"{of} {suffix} {number}"):
                    found = self._read(path, data)
                    yield Verdict(of, suffix, path.name, damage, "reading", *found)

    def _read(self, path: Path, data: bytes | None) -> tuple[str, str]:
        case = self.folder.with_name("store")
        copied(self.folder, path.relative_to(self.folder), data, case)
        ended = forked(lambda: self.read(case), limit=120)
        return ended.value or ended.failure


def verdicts(base: Path, config: TrainConfig, extent: Extent) -> Iterator[Verdict]:
    """The damage matrix of all stores, made in `base`. config: of a run on a set that is there."""
    for store in (_store(base), _pools(base), _references(base, config)):
        yield from store.verdicts(extent)


def _store(base: Path) -> _Store:
    """A group that is missing is sampled again; one that is another is learnt from."""
    folders = base / "rollout store", base / "old store"
    for seed, folder in enumerate(folders):
        # The other is of a run with the same configuration.
        RolloutStore(Folder(str(folder)), {"seed": 0}).claim()
        for worker in range(2):
            writer = RolloutStoreWriter(folder, worker)
            for step in range(1, 4):
                writer.append(step, [found for _, found in _some(step, seed)][worker::2])
    good, _ = RolloutStore(Folder(str(folders[0])), {"seed": 0}).read(0)

    def read(case: Path) -> tuple[str, str]:
        kept = RolloutStore(Folder(str(case)), {"seed": 0})
        kept.claim()
        found, damaged = kept.read(0)
        if any(good.get(key) != one for key, one in found.items()):
            return "silent", "other groups are read"
        return ("detected", f"{damaged} records") if damaged else ("harmless", "")

    return _Store(*folders, read)


def _pools(base: Path) -> _Store:
    folders = base / "pools", base / "old pools"
    for seed, folder in enumerate(folders):
        for step in range(1, 4):
            kept_pools.write(str(folder), step, 0, _some(step, seed))

    def whole(case: Path) -> list[object]:
        return [*kept_pools.each(str(case), kept_pools.check(str(case)))]

    good = whole(folders[0])

    def read(case: Path) -> tuple[str, str]:
        return _same(good, whole(case))

    return _Store(*folders, read)


def _references(base: Path, config: TrainConfig) -> _Store:
    other = base / "other model"
    make_model(other, initializer_range=0.07)
    model = config.model.model_copy(update={"path": str(other)})
    configs = config, config.model_copy(update={"model": model})
    folders = base / "references", base / "old references"
    for one, folder in zip(configs, folders, strict=True):
        ended = forked(partial(_keep, one, folder), limit=120)
        assert not (ended.bug or ended.sentence), ended
    parts = sorted(path.name for path in folders[0].glob("*.pq"))

    def values(case: Path) -> list[Any]:
        url, folder = _place(config)
        shutil.rmtree(folder)
        shutil.copytree(case, folder)
        found = stored(config, _shape(config))
        return [[*key, value] for part in parts for key, value in sorted(found(url, part).items())]

    good = forked(lambda: values(folders[0]), limit=120).value

    def read(case: Path) -> tuple[str, str]:
        return _same(good, values(case))

    return _Store(*folders, read)


def _keep(config: TrainConfig, to: Path) -> None:
    """Compute references, and copy them to a folder."""
    from prewrite.train.reference import keep

    keep(config)
    shutil.copytree(_place(config)[1], to)


def _place(config: TrainConfig) -> tuple[str, str]:
    """The one set of a configuration, and where its references lie."""
    ((url, references),) = references_of(config, _shape(config)).items()
    return url, references.folder.root


def _shape(config: TrainConfig) -> Any:
    from prewrite.train.model.shape import load_shape

    return load_shape(config.model.path, config.model.revision)


def _some(step: int, seed: int) -> list[tuple[Any, RolloutGroup]]:
    """Two places of a step, and their groups."""
    found = []
    for sample in (2 * step, 2 * step + 1):
        texts = [f"step {step}, sample {sample}, text {n} of {seed} " * 4 for n in range(3)]
        scores = {f"rollout-{n}": 0.1 * n + 0.01 * seed for n in range(3)}
        named: dict[str, Any] = {
            "sample": sample,
            "id": f"row-{sample}",
            "scores": scores,
            "version": step,
        }
        found.append((prompt(sample), group(*texts, **named)))
    return found


def _same(good: object, found: object) -> tuple[str, str]:
    return ("harmless", "") if good == found else ("silent", "other values are read")
