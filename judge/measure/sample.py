"""Rows of a shard set chosen by chance, and what can be asked about them, with labels or without.

The labels are the scores of the set: of a single text its own; of a pair 1 where the first has 1
and the second 0, half where both have the same. So a judge can be measured on any scored set.
"""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from prewrite.judge.criteria import Criterion
from prewrite.judge.measure.corruptions import corruption_of
from prewrite.judge.measure.labels import LabelledItem
from prewrite.judge.pool import Pool
from prewrite.prompts.context import contexts
from prewrite.shards.parts import Part
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import TEXTS, Row

_PARTS = 8
"""Parts a sample comes from at most: each is read to its end, and a large set has thousands."""

SampledRow = tuple[Row, tuple[str, ...]]
"""A row, and the pieces of its context."""


def sample(url: str, rows: int, seed: int, max_context_tokens: int) -> list[SampledRow]:
    """At most `rows` rows that are not `skipped`, each as likely as any other in the parts that
    were drawn, in the order of the set. The same seed gives the same rows.
    """
    shards = ShardSet(url).finished()
    parts = shards.parts
    draw = random.Random(seed)  # noqa: S311  (a sample, no secret)
    parts = sorted(draw.sample(parts, min(_PARTS, len(parts))), key=lambda part: part.name)
    places = [(part.name, row) for part in parts for row in _judged(shards, part)]
    chosen = set(draw.sample(places, min(rows, len(places))))
    return [found for part in parts for found in _read(shards, part, chosen, max_context_tokens)]


def _judged(shards: ShardSet, part: Part) -> list[int]:
    """The indices of the rows of a part that a judge looks at."""
    batches = shards.batches(part, ["rewrite_status"])
    statuses = [status for batch in batches for status in batch["rewrite_status"].to_pylist()]
    return [index for index, status in enumerate(statuses) if status != "skipped"]


def _read(
    shards: ShardSet, part: Part, chosen: set[tuple[str, int]], max_context_tokens: int
) -> Iterator[SampledRow]:
    index = 0
    for rows in shards.documents(part):
        inside = [place for place in range(len(rows)) if (part.name, index + place) in chosen]
        index += len(rows)
        if inside:
            befores = contexts(rows, max_context_tokens)
            yield from ((rows[place], befores[place]) for place in inside)


def unlabelled(sampled: Sequence[SampledRow], criteria: Sequence[Criterion]) -> list[LabelledItem]:
    """Every text of the rows on every criterion; pairs where a row has two texts that differ."""
    items = []
    for criterion in criteria:
        for row, context in sampled:
            texts = {name: row[name] for name in TEXTS if row.get(name)}
            if criterion.kind != "pairwise":
                alone = [{name: text} for name, text in texts.items()]
            else:
                alone = [texts] if len(set(texts.values())) == 2 else []
            for one in alone:
                pool = Pool(row["id"], context, row["original"], one)
                items.append(LabelledItem(criterion, pool, document=row["doc_id"]))
    return items


def labelled(sampled: Sequence[SampledRow], criteria: Sequence[Criterion]) -> list[LabelledItem]:
    """The items of `unlabelled` that have a label. Of each kind of corruption every other pair
    stands the other way round, so that the first text is not always the better one.
    """
    rows = {row["id"]: row for row, _ in sampled}
    items, seen = list[LabelledItem](), Counter[tuple[str, str | None]]()
    for item in unlabelled(sampled, criteria):
        row = rows[item.pool.row_id]
        label, kind = _label(item, row), corruption_of(row["meta"])
        if label is not None:
            seen[item.criterion.name, kind] += 1
            turned = item.criterion.kind == "pairwise" and seen[item.criterion.name, kind] % 2 == 0
            one = replace(item, label=label, group=kind)
            items.append(_turned(one, label) if turned else one)
    return items


def _label(item: LabelledItem, row: Row) -> float | None:
    """None where a text has no score, or is the reference that it would be compared with."""
    texts = item.pool.candidates
    if item.criterion.has_reference and "original" in texts:
        return None
    scores = [row.get(f"{text}_{item.criterion.name}") for text in texts]
    known = [float(score) for score in scores if score is not None]
    if len(known) < len(scores):
        return None
    return known[0] if len(known) == 1 else (1 + known[0] - known[1]) / 2


def _turned(item: LabelledItem, label: float) -> LabelledItem:
    """The same pair the other way round."""
    texts = dict(reversed([*item.pool.candidates.items()]))
    return replace(item, pool=replace(item.pool, candidates=texts), label=1 - label)
