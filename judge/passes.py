"""The judge pass: a shard set in, the same rows with scores out."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from base.fingerprint import fingerprint
from engine.config import EngineConfig
from engine.digest import identity
from engine.registry import get_engine
from judge.config import JudgeConfig
from judge.criteria import load_criterion
from judge.scorer import Scorer
from shards.manifest import Manifest, PassInfo
from shards.passes import Document, End, Item, Split, Work
from shards.reader import ShardSet


@dataclass(frozen=True)
class SetSource:
    """The documents of a finished set; each part is a split and becomes one part again."""

    url: str

    def splits(self) -> list[Split]:
        """One a part, named like it."""
        parts = ShardSet(self.url).finished().manifest.parts
        return [Split(_stem(part.name), part.name, part.bytes) for part in parts]

    def read(self, split: Split, start: int) -> Iterator[Item]:
        """Documents of a part; a document counts as one record."""
        shards = ShardSet(self.url)
        part = next(part for part in shards.manifest.parts if part.name == split.path)
        rows = 0
        for number, document in enumerate(shards.documents(part)):
            rows += len(document)
            if number >= start:
                yield Document(document, part.bytes * rows // part.rows)
        yield End(None)


@dataclass(frozen=True)
class JudgePass:
    """Scores the set at `url`."""

    url: str
    judge: JudgeConfig
    engine: EngineConfig
    name: str = "judge"
    max_bad_rows: float = 0.0

    @property
    def criteria(self) -> list[str]:
        """The names of the score columns."""
        return [load_criterion(name).name for name in self.judge.criteria]

    @property
    def source(self) -> SetSource:
        """The set to score."""
        return SetSource(self.url)

    def config(self) -> dict[str, Any]:
        """What the scores depend on; the input by what made it and by its bytes."""
        manifest = ShardSet(self.url).finished().manifest
        return {
            "engine": identity(self.engine),
            "judge": self.judge.model_dump(mode="json", exclude={"engine", "input"}),
            "criteria": [load_criterion(name).identity() for name in self.judge.criteria],
            "input": {
                "fingerprint": manifest.passes[-1].fingerprint,
                "parts": fingerprint([part.sha256 for part in manifest.parts]),
            },
        }

    def begin(self, splits: list[Split]) -> Manifest:
        """The input's manifest with this pass added."""
        before = ShardSet(self.url).manifest
        config = self.config()
        info = PassInfo(name=self.name, fingerprint=fingerprint(config), config=config)
        return before.model_copy(
            update={
                "criteria": self.criteria,
                "passes": [*before.passes, info],
                "parts": [],
                "judgements": [],
            }
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        """Load the judge in this process."""
        yield Scorer(get_engine(self.engine), self.judge)


def _stem(name: str) -> str:
    """`part-00002-00007.parquet` → `00002-00007`."""
    return name.removeprefix("part-").removesuffix(".parquet")
