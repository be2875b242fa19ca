"""Damage to a file: cut, flipped, zeroed, exchanged, deleted, drawn at random; and what came of it.

harmless: what is made with the file is as without the damage. detected: a sentence says so, or a
line that names it. unnoticed: rows, scores and weights are right, but something else that is kept
is not what was written, without a word. silent: rows, scores or weights are others, without a word.
traceback: a bug, or no end.
"""

import itertools
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

OUTCOMES = ("harmless", "detected", "unnoticed", "silent", "traceback")
Change = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Verdict:
    """What one damage to one file did to one use of what it belongs to."""

    of: str
    kind: str
    file: str
    damage: str
    use: str
    outcome: str
    why: str = ""

    @property
    def good(self) -> bool:
        return self.outcome in ("harmless", "detected")


def _flip(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def _stretch(data: bytes, draw: random.Random, size: int = 16) -> bytes:
    at = draw.randrange(max(1, len(data) - size))
    return data[:at] + draw.randbytes(len(data[at : at + size])) + data[at + size :]


CHANGES: dict[str, Change] = {
    "cut to nothing": lambda data, draw: b"",
    "cut in half": lambda data, draw: data[: len(data) // 2],
    "cut by a byte": lambda data, draw: data[:-1],
    "first bit flipped": lambda data, draw: _flip(data, 0),
    "a bit in the middle flipped": lambda data, draw: _flip(data, 4 * len(data)),
    "last bit flipped": lambda data, draw: _flip(data, 8 * len(data) - 1),
    "any bit flipped": lambda data, draw: _flip(data, draw.randrange(8 * len(data))),
    "zeroed": lambda data, draw: bytes(len(data)),
    "second half zeroed": lambda data, draw: data[: len(data) // 2].ljust(len(data), b"\0"),
    "random bytes": lambda data, draw: draw.randbytes(len(data)),
    "16 random bytes": _stretch,
}
DRAWN = ("any bit flipped", "random bytes", "16 random bytes")
"""Those that are drawn anew each time."""


@dataclass(frozen=True)
class Extent:
    """How much is done. each: files of a kind, the first ones; times: how often what is drawn is
    drawn; names: of the changes, all where there are none; every: of all that may be done to a file
    each second one, say, from one that is drawn.
    """

    each: int = 1
    times: int = 1
    every: int = 1
    names: tuple[str, ...] = ()

    def damages(
        self, path: Path, others: Mapping[str, Path], seed: str
    ) -> Iterator[tuple[str, bytes | None]]:
        """Damages to a file by name, and what is then in it: None where there is none. others:
        files of the kind, which it is exchanged with.
        """
        first = random.Random(seed).randrange(self.every)
        return itertools.islice(self._all(path, others, seed), first, None, self.every)

    def _all(
        self, path: Path, others: Mapping[str, Path], seed: str
    ) -> Iterator[tuple[str, bytes | None]]:
        data, draw = path.read_bytes(), random.Random(seed)
        for name, change in CHANGES.items():
            for _ in range(self.times if name in DRAWN else 1):
                wanted = data and (not self.names or name in self.names)
                if wanted and (changed := change(data, draw)) != data:
                    yield name, changed
        for name, other in others.items():
            if (changed := other.read_bytes()) != data:
                yield f"exchanged with {name}", changed
        yield "deleted", None


def others_of(paths: Sequence[Path], number: int, older: Sequence[Path]) -> dict[str, Path]:
    """What file `number` of a kind is exchanged with: another one, and that of an older run."""
    rest = [*paths[:number], *paths[number + 1 :]]
    found = dict(zip(["another of its kind"], rest, strict=False))
    return found | dict(zip(["that of an older run"], older[number:], strict=False))


def copied(folder: Path, place: Path, data: bytes | None, to: Path) -> Path:
    """A copy of a folder in which a file holds just this, or is gone."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to)
    (to / place).unlink()
    if data is not None:
        (to / place).write_bytes(data)
    return to


def table(found: Iterable[Verdict]) -> dict[str, dict[str, int]]:
    """By kind of file: how often each outcome came."""
    counts: dict[str, Counter[str]] = {}
    for verdict in found:
        counts.setdefault(f"{verdict.of}: {verdict.kind}", Counter())[verdict.outcome] += 1
    return {kind: {name: some[name] for name in OUTCOMES} for kind, some in counts.items()}


def worst(found: Sequence[Verdict], outcomes: Sequence[str], most: int = 30) -> list[str]:
    """Cases with these outcomes, each kind of them once, as lines."""
    seen: dict[tuple[str, ...], str] = {}
    for one in found:
        if one.outcome in outcomes:
            key = (one.of, one.kind, one.damage, one.use, one.outcome)
            seen.setdefault(key, f"{' · '.join(key)}: {one.file}: {one.why}")
    return list(seen.values())[:most]
