"""`prewrite train pools`: kept pools in, a set without scores out, for another judge to label.

Each pool is a document (`pool_rows`). It bears the `doc_id` that it has in the set which the run
learnt from, so `share(doc_id)` divides both in the same way, and no document is on two sides. Split
n has the n-th pool of each document: within a part a `doc_id` names one document, as everywhere.

It is a pass, so it continues, is refused and is repaired like any other. Cost: the pools are read
once to be numbered, then once more, and those files again that hold further pools of a document.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import Any

import pyarrow as pa

from prewrite.base.config import Location, Recipe, validated
from prewrite.base.console import PlainConsole
from prewrite.base.errors import InputError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import AsRead, Document, End, Item, LeftOut, Split, Work, inputs
from prewrite.pipeline.run import finished, run_pass
from prewrite.shards.manifest import Manifest, PassInfo
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import schema
from prewrite.shards.show import print_summary
from prewrite.train.online import kept_pools
from prewrite.train.online.kept_pools import KeptPool
from prewrite.train.online.pool_rows import rows_of


class PoolsRecipe(Recipe):
    """What the command is told; it is looked at as a recipe is."""

    pools: Location


@dataclass(frozen=True)
class PoolDocuments:
    """The pools in the folder `url`, each a document."""

    url: str

    @cached_property
    def files(self) -> dict[str, str]:
        """The files that are read, each with the check of what it holds."""
        return kept_pools.check(self.url)

    @cached_property
    def turns(self) -> dict[str, list[int]]:
        """Of each file, for each of its pools: how many of its document come before it."""
        found, seen = dict[str, list[int]](), Counter[str]()
        for name, pool in kept_pools.each(self.url, self.files):
            if pool.kind is not None:
                raise InputError(
                    f"{self.url}/{name}: found a pool of the kind '{pool.kind}', whose rollouts do "
                    "not stand in the place of its original; accepted: pools of a run that "
                    "continues documents (train.task.kind: continue)"
                )
            found.setdefault(name, []).append(seen[pool.doc_id])
            seen[pool.doc_id] += 1
        return found

    def splits(self) -> list[Split]:
        """As many as a document has pools, at most; the bytes of all are those of the first."""
        sizes = Folder(self.url).sizes()
        size = sum(sizes.get(name, 0) for name in self.files)
        count = 1 + max(map(max, self.turns.values()))
        return [Split(f"{turn:05d}", self.url, 0 if turn else size) for turn in range(count)]

    def read(self, split: Split, start: int) -> Iterator[Item]:
        """See `pipeline.passes.Source.read`."""
        known = fingerprint(self.files)
        for pool in islice(self._pools(int(split.name)), start, None):
            rows = rows_of(pool)
            if isinstance(rows, str):
                yield LeftOut(rows, 0, before=known, after=known)
            else:
                yield Document(rows, 0, before=known, after=known)
        yield End(None, before=known, after=known)

    def _pools(self, wanted: int) -> Iterator[KeptPool]:
        for name, turns in self.turns.items():
            if wanted in turns:
                pools = kept_pools.pools_of(Folder(self.url), name)
                yield from (pool for pool, n in zip(pools, turns, strict=True) if n == wanted)


@dataclass(frozen=True)
class PoolsPass:
    """Makes a set of the pools at `url`."""

    url: str
    name: str = "pools"
    max_bad_rows: float = 0.0

    @property
    def columns(self) -> pa.Schema:
        """The columns of the set it makes."""
        return schema(())

    @cached_property
    def source(self) -> PoolDocuments:
        """The pools."""
        return PoolDocuments(self.url)

    def identity(self) -> dict[str, Any]:
        """What the rows depend on: what the files hold, wherever they lie."""
        files = self.source.files
        return {"pools": {"files": len(files), "content": fingerprint(files), "rollout": "best"}}

    def begin(self, splits: list[Split]) -> Manifest:
        """The manifest of a set to be made."""
        config = self.identity()
        made = PassInfo(name=self.name, fingerprint=fingerprint(config), config=config)
        return Manifest(passes=[made], inputs=inputs(splits))

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        """Nobody is asked."""
        yield AsRead()


def run(pools: str, to: str) -> None:
    """Make the set at `to`, or say that it is done."""
    told = {"pools": pools, "output": to}
    recipe = validated(PoolsRecipe, "prewrite train pools", told)
    job = PoolsPass(recipe.pools.rstrip("/"))
    done = finished(job, recipe.output)
    run_pass(job, recipe.output, RunConfig())  # removes what a killed run has left
    if done:
        print(f"{recipe.output}: the set is complete; nothing to do")
    else:
        print_summary(ShardSet(recipe.output), PlainConsole())
