"""Thoughts in the rewrites of a set: how many there are, and which of them come again and again.

One that stands in many rows says nothing of its place, which no check of a single row can know.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from prewrite.shards.thoughts import MARKERS, parted

SHOWN = 10
"""Thoughts that are shown."""

_DISTINCT = 100_000
"""That are told apart; what is first seen after so many others is not counted as repeated."""


@dataclass
class ThoughtTally:
    """thoughts: all of them; rows: those that have some; seen: thought → rows that have it."""

    thoughts: int = 0
    rows: int = 0
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, rewrites: Iterable[str | None]) -> None:
        """Count those of more rewrites. A text whose markers are no pairs has none."""
        for text in rewrites:
            if text and MARKERS[0] in text:
                self._count(text)

    def _count(self, text: str) -> None:
        try:
            found = parted(text)[1::2]
        except ValueError:
            return
        self.thoughts, self.rows = self.thoughts + len(found), self.rows + 1
        for thought in {" ".join(one.casefold().split()) for one in found}:
            if thought in self.seen or len(self.seen) < _DISTINCT:
                self.seen[thought] += 1

    @property
    def repeated(self) -> list[tuple[str, int]]:
        """The thoughts of most rows, in small letters, and of how many: two at least."""
        most = sorted(self.seen.items(), key=lambda item: (-item[1], item[0]))[:SHOWN]
        return [(thought, rows) for thought, rows in most if rows > 1]
