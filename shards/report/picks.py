"""The rows that a report shows: the best and worst changes, some by chance, some of each status.

Only so many of each kind are held, with their texts cut, so a set of any size fits. The choice
depends on the rows alone, not on their order.
"""

from dataclasses import dataclass
from heapq import nlargest
from operator import attrgetter
from zlib import crc32

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from prewrite.shards.report.tallies import Column, ColumnTexts, texts
from prewrite.shards.schema import TEXTS, USABLE, Row

LONGEST = 6000
"""Characters of a text that are shown."""

EXTREMES, OF_SOURCE, BY_CHANCE, OF_STATUS = 100, 10, 100, 20
"""Rows shown: best, and worst, of the set; of every source; by chance; of an unusable status."""

CHANGED = ("ok", "truncated")

KINDS = {
    "best": "best changes",
    "worst": "worst changes",
    "chance": "drawn by chance",
    "unusable": "without a usable rewrite",
}
"""Why a row is shown."""


@dataclass(frozen=True)
class Pick:
    """A row with the number that ranks it among those of its kind."""

    rank: tuple[float, float]
    row: Row


class Picks:
    """What is held so far: (kind, group) → its rows, the highest rank first."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], list[Pick]] = {}

    def add(
        self, batch: pa.RecordBatch, source_R: ColumnTexts, status_R: ColumnTexts, change_R: Column
    ) -> None:
        """Look at the rows of a batch. change_R: score of the rewrite less that of the original."""
        draw_R = np.array([crc32(text.encode()) for text in texts(batch["id"])], np.float64)
        for source in set(source_R):
            for kind, rank_R in (("best", change_R), ("worst", -change_R)):
                among_R = (source_R == source) & (rank_R > 0)
                self._offer((kind, source), EXTREMES, batch, (rank_R, draw_R), among_R)
        drawn_R = (draw_R, draw_R)
        self._offer(("chance", ""), BY_CHANCE, batch, drawn_R, np.isin(status_R, CHANGED))
        for status in set(status_R) - set(USABLE):
            self._offer(("unusable", status), OF_STATUS, batch, drawn_R, status_R == status)

    def _offer(
        self,
        key: tuple[str, str],
        limit: int,
        batch: pa.RecordBatch,
        ranks: tuple[Column, Column],
        among_R: NDArray[np.bool_],
    ) -> None:
        """Hold rows of `among_R` that rank high; of equal ranks those with the higher second."""
        held, (rank_R, second_R) = self._held.setdefault(key, []), ranks
        if len(held) == limit:
            among_R = among_R & (rank_R >= held[-1].rank[0])
        places = np.flatnonzero(among_R)
        best = places[np.lexsort((second_R[places], rank_R[places]))[-limit:]]
        new = [
            Pick((rank_R[place], second_R[place]), _cut(batch.slice(place, 1).to_pylist()[0]))
            for place in best.tolist()
        ]
        self._held[key] = nlargest(limit, held + new, key=attrgetter("rank"))

    def chosen(self) -> list[tuple[Row, list[str]]]:
        """The rows to show, each once with its kinds: the extremes of the set, then those of each
        source, then the others.
        """
        found: dict[str, tuple[Row, list[str]]] = {}
        for kind in KINDS:
            groups = [held for (of, _), held in self._held.items() if of == kind]
            every = [pick for held in groups for pick in held]
            if kind in ("best", "worst"):
                ranked = nlargest(EXTREMES, every, key=attrgetter("rank"))
                every = ranked + [pick for held in groups for pick in held[:OF_SOURCE]]
            for pick in every:
                kinds = found.setdefault(pick.row["id"], (pick.row, []))[1]
                if kind not in kinds:
                    kinds.append(kind)
        return list(found.values())


def _cut(row: Row) -> Row:
    """The row with texts of at most LONGEST characters."""
    for text in TEXTS:
        if row[text] is not None and len(row[text]) > LONGEST:
            row[text] = row[text][:LONGEST] + f" … (cut here, of {len(row[text])} characters)"
    return row
