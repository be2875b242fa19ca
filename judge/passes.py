"""The judge pass: a shard set in, the same rows with scores out.

A set that is scored already can be the input: what the same judges said on the same criterion under
the same settings is taken over, and only the rest is asked; under another calibration its verdicts
are said again, and the scores computed anew. So one criterion can be added, changed
or dropped, or the weights, or a rewrite be added to each row, at the price of what is new.
"""

import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any, NamedTuple

import pyarrow as pa

from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.engine.config import EngineConfig
from prewrite.engine.digest import identity
from prewrite.judge.config import JudgeConfig, refuse_pairwise
from prewrite.judge.criteria import Criterion, load_criterion
from prewrite.judge.judge import load_judges
from prewrite.judge.scorer import RowScorer
from prewrite.pipeline.passes import Absent, Document, End, Item, Split, Work
from prewrite.shards import log
from prewrite.shards.manifest import Manifest, PassInfo, TakenOut
from prewrite.shards.names import block_name
from prewrite.shards.parts import Part
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import Rewrites, Row, refuse_hidden, schema

_ELSEWHERE = {"engine", "input", "calibration"}
"""Keys of `judge` on which no score depends, or that are looked at apart."""

_NOT_VERDICTS = _ELSEWHERE | {"criteria", "weights", "combine"}
"""Keys of `judge` on which a criterion's verdicts do not depend, or that are looked at apart."""


class SetBlock(NamedTuple):
    """A part of a set, None where all its documents were taken out; the digest that passes know it
    by; and what was taken out.
    """

    part: Part | None
    known_as: str
    removed: tuple[TakenOut, ...] = ()


@dataclass(frozen=True)
class SetSource:
    """The documents of a finished set; each part is a split and becomes one part again.

    kept: the criteria whose verdicts come along.
    """

    url: str
    kept: frozenset[str] = frozenset()

    def splits(self) -> list[Split]:
        """One a part, named like it, also of one whose documents were all taken out."""
        self._shards.finished()
        url = self.url.rstrip("/")
        return [
            Split(name, f"{url}/{block.part.file}", block.part.bytes)
            if block.part
            else Split(name, url, 0)
            for name, block in self.blocks.items()
        ]

    def read(self, split: Split, start: int) -> Iterator[Item]:
        """Documents of a part, each as one record; their digest is that of the part. One that was
        taken out keeps its place, so that what was read before is the same records.
        """
        block = self.blocks[split.name]
        known, gone = block.known_as, {one.at: one.doc_id for one in block.removed}
        documents, offset = self._documents(block.part), 0
        for place in itertools.count():
            if place in gone:
                item: Item = Absent(gone[place], offset, before=known, after=known)
            elif document := next(documents, None):
                item = replace(document, before=known, after=known)
                offset = document.offset
            else:
                break
            if place >= start:
                yield item
        yield End(None, before=known, after=known)

    def _documents(self, part: Part | None) -> Iterator[Document]:
        """Those that are there, with the verdicts that come along."""
        if part is None:
            return
        known = self._verdicts(self._shards, part)
        latest, rows = next(known, None), 0
        for document in self._shards.documents(part):
            rows += len(document)
            ids, found = {row["id"] for row in document}, []
            while latest and latest["id"] in ids:
                found.append(latest)
                latest = next(known, None)
            yield Document(document, part.bytes * rows // part.rows, found)

    def _verdicts(self, shards: ShardSet, part: Part) -> Iterator[Row]:
        """The verdicts on the rows of a part, in their order."""
        if self.kept and (verdicts := self._said.get(part.name)):
            for batch in shards.batches(verdicts):
                yield from (row for row in batch.to_pylist() if row["criterion"] in self.kept)

    @cached_property
    def _shards(self) -> ShardSet:
        return ShardSet(self.url)

    @cached_property
    def blocks(self) -> dict[str, SetBlock]:
        """All that were committed with rows, by the names of their parts. The log is read only
        where something was taken out.
        """
        shards = self._shards
        if not shards.manifest.removed:
            return {part.name: SetBlock(part, part.known_as) for part in shards.parts}
        return {
            block_name(record.split, record.block): SetBlock(
                record.part,
                record.part.known_as if record.part else record.known_as,
                tuple(record.removed),
            )
            for record in log.records(shards.folder, shards.manifest)
            if record.part or record.removed
        }

    @cached_property
    def _said(self) -> dict[str, Part]:
        return {part.name: part for part in self._shards.verdicts}

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets: each opens the set itself."""
        return {"url": self.url, "kept": self.kept}


@dataclass(frozen=True)
class JudgePass:
    """Scores the set at `url`; engines: by name, those of the panel."""

    url: str
    judge: JudgeConfig
    engines: dict[str, EngineConfig]
    name: str = "judge"
    max_bad_rows: float = 0.0

    def __getstate__(self) -> dict[str, Any]:
        """What a worker process gets: not what is cached, for compiled templates cannot be sent."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def criteria(self) -> list[Criterion]:
        """What is judged."""
        return [load_criterion(name) for name in self.judge.criteria]

    @property
    def measures(self) -> list[str]:
        """The columns beside the scores."""
        return measures_of(self.judge, self.criteria)

    @property
    def columns(self) -> pa.Schema:
        """The columns of the set it makes."""
        return judged_columns(self.judge, ShardSet(self.url).manifest.rewrites)

    @property
    def source(self) -> SetSource:
        """The set to score."""
        return SetSource(self.url, self.kept | self.heard)

    @property
    def kept(self) -> frozenset[str]:
        """The criteria that the input has been judged on, by the same judges in the same way."""
        return frozenset(name for name, same in self._known.items() if same)

    @property
    def heard(self) -> frozenset[str]:
        """Those on which the same judges were asked in the same way, but calibrated in another."""
        return frozenset(name for name, same in self._known.items() if not same)

    @cached_property
    def _known(self) -> dict[str, bool]:
        """The criteria whose verdicts the input has → whether its scores are calibrated as now."""
        passes = ShardSet(self.url).finished().manifest.passes
        made = next((one for one in reversed(passes) if one.name == self.name), None)
        criteria = made.config["criteria"] if made else []
        before = {one["key"]: one.get("calibration") for one in criteria}
        return {
            c["name"]: before[c["key"]] == c.get("calibration")
            for c in self._criteria_config()
            if c["key"] in before
        }

    @cached_property
    def judged(self) -> frozenset[str]:
        """The texts of the input that are what they were when it was judged."""
        manifest = ShardSet(self.url).finished().manifest
        texts = frozenset(manifest.texts)
        for made in reversed(manifest.passes):
            if made.name == self.name:
                break
            if "taken" in made.config:  # a rewrite pass over a set, which has made new ones
                texts &= {"original", *made.config["taken"]["kept"]}
        return texts

    @property
    def fresh(self) -> list[Criterion]:
        """The criteria that are asked about."""
        if self.judged.issuperset(ShardSet(self.url).manifest.texts):
            return [criterion for criterion in self.criteria if criterion.name not in self.kept]
        return self.criteria

    def identity(self) -> dict[str, Any]:
        """What the scores depend on; the input by what made it and by its bytes."""
        manifest = ShardSet(self.url).finished().manifest
        return {
            "judges": {name: identity(engine) for name, engine in self.engines.items()},
            "judge": self.judge.model_dump(mode="json", exclude=_ELSEWHERE),
            "criteria": self._criteria_config(),
            "input": {
                "fingerprint": manifest.passes[-1].fingerprint,
                "parts": manifest.known_as,
            },
        }

    def _criteria_config(self) -> list[dict[str, Any]]:
        """Each criterion with its weight, and the key of its verdicts."""
        judges = {name: identity(engine) for name, engine in self.engines.items()}
        found = []
        for criterion in self.criteria:
            known, settings = criterion.identity(), self._settings(criterion)
            key = fingerprint(
                [known, settings, judges] if criterion.needs_engine else [known, settings]
            )
            weight = self.judge.weights.get(criterion.name, criterion.weight)
            found.append({**known, "weight": weight, "key": key} | self.judge.calibrated(criterion))
        return found

    def _settings(self, criterion: Criterion) -> dict[str, Any]:
        """The keys of `judge` on which the verdicts of a criterion depend."""
        exclude = set(_NOT_VERDICTS)
        if self.judge.readout == "distribution" or not criterion.needs_engine:
            exclude |= {"sampling", "min_votes"}
        if criterion.kind != "pairwise":
            exclude.add("pools")
        return self.judge.about(criterion).model_dump(mode="json", exclude=exclude)

    def begin(self, splits: list[Split]) -> Manifest:
        """The input's manifest with this pass added; ConfigError where a criterion would hide a
        column of the input.
        """
        before = ShardSet(self.url).manifest
        names = [criterion.name for criterion in self.criteria]
        refuse_hidden("judge.criteria", names, self.measures, before.rewrites)
        refuse_pairwise(self.judge, before.rewrites, self.url)
        config = self.identity()
        info = PassInfo(name=self.name, fingerprint=fingerprint(config), config=config)
        return before.begun_by(info, criteria=names, measures=self.measures)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Work]:
        """Load the judges in this process, if there is something to ask them."""
        judges = load_judges(self.judge, self.engines, self.fresh)
        texts = ShardSet(self.url).manifest.texts
        yield RowScorer(judges, self.judge, texts, self.kept, self.judged, self.heard)


def measures_of(judge: JudgeConfig, criteria: Sequence[Criterion]) -> list[str]:
    """The columns beside the scores."""
    pairwise = [f"{c.name}_consistency" for c in criteria if c.kind == "pairwise"]
    asked = [c for c in criteria if len(judge.panel) > 1 and c.needs_engine]
    return pairwise + [f"{c.name}_disagreement" for c in asked]


def judged_columns(judge: JudgeConfig, rewrites: Rewrites) -> pa.Schema:
    """The columns of a set that `judge` has scored; rewrites: the names of its templates."""
    criteria = [load_criterion(name) for name in judge.criteria]
    names = [criterion.name for criterion in criteria]
    return schema(names, measures_of(judge, criteria), rewrites=rewrites)


def judge_pass(url: str, judge: JudgeConfig, engines: dict[str, EngineConfig]) -> JudgePass:
    """The pass that `judge` describes, over the set at `url`."""
    return JudgePass(url, judge, {name: engines[name] for name in judge.panel})


def remedy(scored: str, rewrites: str | None = None) -> str:
    """What to do when the set at `scored` was judged in another way: judge it once more, or the
    `rewrites` that it was made of where it is not finished.
    """
    found = Manifest.find(Folder(scored))
    source = scored if found and found.status == "complete" else rewrites
    if source is None:
        return "choose another output"
    return (
        f"its rewrites stay good: run prewrite judge with judge.input={source} and another "
        "output, which asks only what has not been asked"
    )
