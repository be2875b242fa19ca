"""The judge's toy: texts that count (a start, a step of 1 to 3, modulo ten), and twins that break
the rule.

Which of the two is right is known by making. No text that breaks the rule is both trained on and
held out. A fifth of the series is never trained on, and neither is the kind `repeated`.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b

import numpy as np

from prewrite.shards.schema import Row

NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
STEPS, LENGTHS = (1, 2, 3), (6, 7, 8)
KINDS = ("off", "swapped", "skipped")
LEFT_OUT = "repeated"
Series = tuple[int, int, int]
"""Start, step, length."""


def series() -> dict[str, list[Series]]:
    """The `known` ones, which are trained on, and the `new` ones."""
    every = [(a, s, n) for a in range(10) for s in STEPS for n in LENGTHS]
    drawn = np.random.default_rng(17).permutation(len(every)).tolist()
    cut = len(every) // 5
    return {"new": [every[n] for n in drawn[:cut]], "known": [every[n] for n in drawn[cut:]]}


def rows(
    name: str, seed: int, count: int, held: bool, of: str = "known", kinds: Sequence[str] = KINDS
) -> list[Row]:
    """Rows of a set whose scores are known: `original` keeps the rule, `rewrite` breaks it. Their
    ids begin with `name`.
    """
    draw, found = np.random.default_rng(seed), list[Row]()
    chosen = series()[of]
    while len(found) < count:
        terms = terms_of(chosen[draw.integers(len(chosen))])
        kind = kinds[len(found) % len(kinds)]
        twin = told(broken(draw, terms, kind))
        if is_held(twin) == held:
            found.append(_row(f"{name}-{len(found)}", kind, told(terms), twin))
    return found


def is_held(twin: str) -> bool:
    """Whether a text that breaks the rule is kept for measuring: a fifth of them is."""
    return blake2b(twin.encode(), digest_size=4).digest()[0] < 51


def _row(name: str, kind: str, original: str, twin: str) -> Row:
    return {
        "id": name,
        "doc_id": name,
        "source": kind,
        "chunk": 0,
        "chunks": 1,
        "original": original,
        "original_tokens": len(original.split()),
        "rewrite": twin,
        "rewrite_status": "ok",
        "meta": "{}",
        "original_counts": 1.0,
        "rewrite_counts": 0.0,
    }


def shuffled(found: list[Row], seed: int) -> list[Row]:
    """The same rows, the labels of half of the pairs exchanged."""
    turned = np.random.default_rng(seed).permutation(len(found)) < len(found) // 2
    return [
        row | {"original_counts": 0.0, "rewrite_counts": 1.0} if turn else row
        for row, turn in zip(found, turned, strict=True)
    ]


def broken(draw: np.random.Generator, terms: Sequence[int], kind: str) -> list[int]:
    """A series that breaks its rule once; what breaks is never among its first two terms."""
    at = int(draw.integers(2, len(terms)))
    step = (terms[1] - terms[0]) % 10
    match kind:
        case "off":
            other = (terms[at] + int(draw.integers(1, 10))) % 10
            return [*terms[:at], other, *terms[at + 1 :]]
        case "swapped":
            at = min(at, len(terms) - 2)
            return [*terms[:at], terms[at + 1], terms[at], *terms[at + 2 :]]
        case "skipped":
            return [*terms[:at], *((term + step) % 10 for term in terms[at:])]
    return [*terms[:at], *terms[at - 1 : -1]]  # repeated


def told(terms: Sequence[int]) -> str:
    """A series in words, the space before each one its own."""
    return "".join(f" {NUMBERS[term]}" for term in terms)


def texts() -> Iterator[str]:
    """Texts that hold every word, tag and verdict."""
    for number in NUMBERS:
        yield from [f" {number} {number}</a>\n<b> {number}</b>\n"] * 9
    yield from ["<a> Verdict: (1)", "Verdict: (2)", "Verdict: (1)\nVerdict: (2)"] * 9


def terms_of(one: Series) -> list[int]:
    """The terms of a series."""
    start, step, length = one
    return [(start + number * step) % 10 for number in range(length)]
