"""A shard set as the trainer sees it: parts as tables in memory, their rows as spans.

Memory: the texts, ids and scores of a part, as Arrow columns; `meta` and raw verdicts stay on disk.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from prewrite.base.errors import ConfigError, InputError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.judge.criteria import load_criterion
from prewrite.judge.provenance import compared_with_itself
from prewrite.shards.filters import Filter, Mask, parse_filter
from prewrite.shards.parts import Part
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import TEXTS, USABLE, Row, StoredValues, stored_values
from prewrite.train.config.phases import Nll, Phase
from prewrite.train.config.rollouts import RolloutsConfig
from prewrite.train.config.sections import TrainConfig
from prewrite.train.config.task import JudgeTask, RewriteTask, ThinkTask
from prewrite.train.data.index import Ints, mask_of, read_part, spans, stretch_counts
from prewrite.train.data.samples import AskedRow, DocumentSpan, ScoredChunk
from prewrite.train.data.trees import ORIGINAL

Reference = Mapping[tuple[str, int], float]
"""(row id, kind) → summed log-probability of that text under the reference model, in nats."""

References = Callable[[str, str], Reference]
"""(URL of a set, `references_file` of a part) → its references."""

_BYTES = 4  # of a token's text, roughly

_COLUMNS = ("id", "doc_id", "chunk", "chunks", "original", "original_tokens")


class TrainingSet:
    """One set of the recipe, `train.data[number]`.

    size: chunks of a span, so many that with its context it has `max_seq_len` tokens; it never
    depends on the phase. context: chunks before a span that hold its context, as a rule. known:
    the criteria whose columns the judge of rollouts takes over. texts: the columns that phases may
    lay out; kinds: the kinds of the recipe.
    """

    def __init__(
        self, number: int, recipe: TrainConfig, known: frozenset[str] = frozenset()
    ) -> None:
        config, batch, phases = recipe.data[number], recipe.batch, recipe.curriculum
        self._number, self.url, self.weight = number, config.set, config.weight
        self.task, self.criterion = recipe.task, config.criterion
        self.seed, self.rollouts, self.known = recipe.seed, recipe.rollouts, sorted(known)
        self.shards = ShardSet(config.set).finished()
        held = self.shards.manifest.texts
        _refuse_absent(number, self.url, held, phases)
        self.kinds = recipe.kinds
        self.texts = tuple(kind for kind in recipe.stored_kinds if kind in held)
        columns = self.shards.manifest.columns
        self.files = self.shards.parts
        tokens = self.shards.manifest.chunk_tokens
        self.size = max(1, (batch.max_seq_len - batch.context_tokens) // tokens)
        self.prompted = recipe.prompted
        if self.prompted:
            self.size = 1
        self.context = -(-batch.context_tokens // tokens) + 1
        self.filters = _filters(config.filter, columns, f"train.data.{number}.filter")
        self.phases = {
            phase.name: _filters(phase.filter, columns, f"train.curriculum.{i}.filter")
            for i, phase in enumerate(phases)
        }
        self.copies, self.labels = self._asked(columns)
        offline = [phase for phase in phases if not phase.online]
        if not self.shards.manifest.criteria and any(phase.needs_scores for phase in offline):
            raise ConfigError(
                f"train.data.{number}.set: found {self.url} without scores; accepted: a judged "
                "set, or objectives that read no scores"
            )
        _refuse_own_reference(number, self.shards, phases)
        _refuse_spoiled(number, self.shards, phases)
        used = [item.columns for group in (self.filters, *self.phases.values()) for item in group]
        used += [self.labels, *(item.columns for item in self.copies)]
        kept = {f"{text}_{name}" for text in self.texts for name in ("score", *self.known)}
        scores = kept & set(columns.names)
        statuses = [f"{text}_status" for text in self.texts[1:]]
        self._columns = sorted(scores.union(_COLUMNS, self.texts, statuses, *used))

    def _asked(self, columns: pa.Schema) -> tuple[list[Filter], frozenset[str]]:
        """Of a prompted task: the condition for copies, and the columns that prompts and labels
        read; ConfigError where there are no labels.
        """
        texts = self.shards.manifest.texts
        if isinstance(self.task, RewriteTask):
            copies = _filters(self.task.copies, columns, "train.task.copies")
            return copies, frozenset({"rewrite_status"})
        if isinstance(self.task, ThinkTask):
            return [], self._thoughts(self.task.text)
        if not isinstance(self.task, JudgeTask):
            return [], frozenset()
        criterion = load_criterion(self.criterion or "")
        labels = {f"{text}_{criterion.name}" for text in TEXTS}
        needed = labels if criterion.kind == "pairwise" else {f"original_{criterion.name}"}
        if not needed <= set(columns.names):
            known = ", ".join(self.shards.manifest.criteria) or "none"
            raise ConfigError(
                f"train.data.{self._number}.criterion: found '{criterion.name}', of which "
                f"{self.url} has no scores; accepted: the criteria it was judged on ({known})"
            )
        statuses = {"rewrite_status", *(f"{text}_status" for text in texts[1:])}
        return [], frozenset({*needed, *texts, *statuses})

    def _thoughts(self, text: str) -> frozenset[str]:
        """The columns of a text with thoughts; ConfigError where the set does not hold it."""
        held = self.shards.manifest.texts[1:]
        if text not in held:
            raise ConfigError(
                f"train.task.text: found '{text}', which train.data.{self._number}.set, "
                f"{self.url}, does not hold; accepted with it: {', '.join(held) or 'none'}"
            )
        return frozenset({"rewrite_status", text, f"{text}_status"})

    def counts(self, cache: Folder) -> list[int]:
        """Samples in each part; InputError when there are no rows, ConfigError when the filter
        leaves none.
        """
        if not self.shards.manifest.rows:
            raise InputError(f"{self.url}: this set has no rows")
        counts = stretch_counts(self.shards, self.size, self.filters, cache)
        if not sum(counts):
            raise ConfigError(
                f"train.data.{self._number}.filter: no row of {self.url} passes "
                f"`{self.filters[0].text}`"
            )
        return counts

    def passing(self, phase: Phase, cache: Folder) -> int:
        """Samples an epoch of which a phase's filter leaves something."""
        filters = [*self.filters, *self.phases[phase.name]]
        return sum(stretch_counts(self.shards, self.size, filters, cache))

    def load(self, part: int, references: References | None) -> "PartSamples":
        """A part in memory."""
        file = self.files[part]
        table = read_part(self.shards, file, self._columns)
        known = references(self.url, references_file(file)) if references else {}
        return PartSamples(self, table, known)

    def identity(self) -> dict[str, Any]:
        """What the order of samples depends on, for a checkpoint."""
        return (
            {
                "generation": self.shards.manifest.generation,
                "parts": self.shards.manifest.known_as,
                "weight": self.weight,
                "filter": " and ".join(item.text for item in self.filters),
                "chunks_per_stretch": self.size,
            }
            | ({} if self.texts == TEXTS else {"texts": list(self.texts)})
            | self._task_identity()
        )

    def _task_identity(self) -> dict[str, Any]:
        if not self.criterion:
            return {}
        asked = fingerprint(load_criterion(self.criterion).identity())
        return {"criterion": self.criterion, "criterion_asks": asked}


class PartSamples:
    """The samples of one part of a set."""

    def __init__(self, source: TrainingSet, table: pa.Table, reference: Reference) -> None:
        self._source, self._reference = source, reference
        self._values = _values(table)
        table = pa.table(self._values)
        self._original, self._chunk = self._values["original"], table["chunk"].to_numpy()
        self._columns = [(kind, f"{kind}_status", f"{kind}_score") for kind in source.kinds]
        self._no_references = (nan,) * len(source.kinds)
        passing = mask_of(table, source.filters)
        self._spans = spans(table, source.size, passing)
        self._masks: dict[str | None, Mask] = {
            name: passing & mask_of(table, group) for name, group in source.phases.items()
        }
        self._masks[None] = passing
        self._copies = mask_of(table, source.copies) & bool(source.copies)
        self._bytes = _running(_bytes(self._original))
        self._branch_bytes = {t: _running(_own_bytes(table, t)) for t in source.texts[1:]}

    def __len__(self) -> int:
        return len(self._spans)

    def cost(self, span: int, phase: Phase) -> int:
        """What a span costs to lay out, roughly: UTF-8 bytes of its texts and its context."""
        first, stop = self._spans[span]
        context = min(self._chunk[first], self._source.context)
        size = self._bytes[stop] - self._bytes[first - context]
        for text in phase.stored:
            if text in self._branch_bytes:
                size += self._branch_bytes[text][stop] - self._branch_bytes[text][first]
        if phase.online:
            size += _BYTES * rollout_tokens(self._source.rollouts)
        return int(size)

    def span(self, number: int, sample: int, phase: Phase | None) -> DocumentSpan:
        """A span with what `phase` learns of it; None: all that `train.data` passes."""
        first, stop = (int(row) for row in self._spans[number])
        asked = self._asked(first, sample) if self._source.prompted else None
        names = phase.stored if phase else self._source.texts
        kinds = frozenset(map(self._source.kinds.index, names))
        mask = self._masks[phase.name if phase else None][first:stop]
        room = (0, 0)
        if phase and phase.online and (rollouts := self._source.rollouts):
            # The original marks the cut point; it is taken out again where it is not learnt.
            kinds, room = kinds | {ORIGINAL}, (rollouts.samples, rollouts.tokens)
            mask = drawn(mask, rollouts.cut_points, self._source.seed, sample)
        rows = self._rows(first, stop)
        begin = first - rows[0]["chunk"]
        return DocumentSpan(
            sample=sample,
            first=rows[0]["chunk"],
            chunks=[
                self._row(row, kinds, room) if passes else self._row(row, frozenset(), (0, 0))
                for row, passes in zip(rows, mask, strict=True)
            ],
            original=lambda chunk: str(self._original[begin + chunk]),
            context=self._source.context,
            ends=rows[-1]["chunk"] + 1 == rows[-1]["chunks"],
            asked=asked,
            doc_id=rows[0]["doc_id"],
        )

    def _asked(self, number: int, sample: int) -> AskedRow:
        """A row of a prompted task with its document's."""
        chunk = int(self._chunk[number])
        first, count = number - chunk, int(self._values["chunks"][number].as_py())
        document, source = self._rows(first, first + count), self._source
        texts = source.shards.manifest.texts
        copies = bool(self._copies[number])
        return AskedRow(document[chunk], document, texts, copies, source.criterion, sample)

    def _rows(self, first: int, stop: int) -> list[Row]:
        """Rows [first, stop). Column by column: half of the time of Arrow's own way."""
        columns = [column[first:stop].to_pylist() for column in self._values.values()]
        return [
            dict(zip(self._values, values, strict=True)) for values in zip(*columns, strict=True)
        ]

    def _row(self, row: Row, learn: frozenset[int], room: tuple[int, int]) -> ScoredChunk:
        source, name = self._source, row["id"]
        scores = [row.get(score) for _, _, score in self._columns]
        references = self._no_references
        if self._reference:
            known = [self._reference.get((name, n), nan) for n in range(len(source.kinds))]
            references = tuple(known)
        return ScoredChunk(
            id=name,
            texts=tuple([_usable(row, kind, status) for kind, status, _ in self._columns]),
            scores=tuple([nan if score is None else score for score in scores]),
            references=references,
            learn=learn,
            room=room,
            known=_known(row, source.known, source.texts) if learn else {},
        )


def references_file(part: Part) -> str:
    """The file, in a folder of references, of those of a part."""
    return part.file if part.group is None else f"{part.name}.pq"


def drawn(mask: Mask, cut_points: int | str, seed: int, sample: int) -> Mask:
    """Of the chunks for which `mask` holds those that get rollouts: `cut_points` of them, or
    `every`; drawn by run and sample.
    """
    found = np.flatnonzero(mask)
    if isinstance(cut_points, int):
        found = np.random.default_rng([seed, sample]).permutation(found)[:cut_points]
    result = np.zeros_like(mask)
    result[found] = True
    return result


def rollout_tokens(rollouts: RolloutsConfig | None) -> int:
    """Tokens of the rollouts of a sample, at most (of `every` cut point: of one)."""
    if not rollouts:
        return 0
    cut_points = rollouts.cut_points if isinstance(rollouts.cut_points, int) else 1
    return cut_points * rollouts.samples * rollouts.tokens


def _values(table: pa.Table) -> dict[str, Any]:
    """Each column in one piece, and dictionaries as what they stand for."""
    found = {name: table[name].combine_chunks() for name in table.column_names}
    for name, column in found.items():
        if isinstance(column.type, pa.DictionaryType):
            found[name] = column.cast(column.type.value_type)
    return found


def _usable(row: Row, kind: str, status: str) -> str | None:
    """A text of a row where it is one; a row holds no rollout."""
    return row[kind] if kind == "original" or row.get(status) in USABLE else None


def _own_bytes(table: pa.Table, text: str) -> Ints:
    """UTF-8 bytes of a rewrite in each row; of a copy none, for it lies on the trunk."""
    copied = table[f"{text}_status"].cast(pa.string()).to_numpy() == "copied"
    return np.where(copied, 0, _bytes(table[text]))


def _refuse_absent(number: int, url: str, texts: Iterable[str], phases: Sequence[Phase]) -> None:
    """ConfigError for a candidate that a set does not hold."""
    for place, phase in enumerate(phases):
        for kind in phase.stored:
            if kind not in texts:
                raise ConfigError(
                    f"train.curriculum.{place}.candidates: found '{kind}', which train.data."
                    f"{number}.set, {url}, does not hold; accepted with it: {', '.join(texts)}"
                )


def _refuse_own_reference(number: int, shards: ShardSet, phases: Sequence[Phase]) -> None:
    """ConfigError for originals that compete by a score in which each was its own reference."""
    for place, phase in enumerate(phases):
        compares = not phase.online and phase.needs_scores and "original" in phase.stored
        if compares and (known := compared_with_itself(shards.manifest)):
            raise ConfigError(
                f"train.curriculum.{place}.candidates: found original; accepted with {known[0]} in "
                f"the scores of train.data.{number}.set, {shards.folder.url}, whose reference it "
                f"is: other texts, or that set judged once more with judge.weights.{known[0]}=0, "
                "which asks nothing"
            )


def _refuse_spoiled(number: int, shards: ShardSet, phases: Sequence[Phase]) -> None:
    """ConfigError for texts that were made worse on purpose, and are to be learnt as they are."""
    for place, phase in enumerate(phases if shards.manifest.corrupted else ()):
        if any(isinstance(p, Nll) and p.text != "original" for p in phase.objective):
            raise ConfigError(
                f"train.curriculum.{place}.objective: found nll on the rewrites of train.data."
                f"{number}.set, {shards.folder.url}, which `prewrite judge corrupt` has spoiled; "
                "accepted: another set, or text: original"
            )


def _known(row: Row, criteria: Iterable[str], texts: Sequence[str]) -> StoredValues:
    """What the set holds; what has no value is asked once more."""
    found = stored_values(row, criteria, texts)
    return {name: {t: v for t, v in some.items() if v is not None} for name, some in found.items()}


def _bytes(texts: Any) -> Ints:
    """UTF-8 bytes of each text."""
    sizes: Ints = pc.binary_length(texts).fill_null(0).to_numpy()
    return sizes


def _running(sizes: Ints) -> Ints:
    """The sum before each row, and of all."""
    return np.concatenate([[0], np.cumsum(sizes)])


def _filters(text: str | None, columns: pa.Schema, key: str) -> list[Filter]:
    return [] if text is None else [parse_filter(text, columns, key)]
