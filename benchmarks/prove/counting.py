"""The judge's toy: texts that count (a start, a step of 1 to 3, modulo ten) and twins that break the rule.

Which of the two is right is known by making. No series of a held-out pair is trained on, and the
kind `repeated` never is.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from prewrite.shards.schema import Row

NUMBERS = "zero one two three four five six seven eight nine".split()
STEPS, LENGTHS = (1, 2, 3), (6, 7, 8)
KINDS = ("off", "swapped", "skipped")
LEFT_OUT = "repeated"
Series = tuple[int, int, int]
"""Start, step, length."""


def series() -> dict[str, list[Series]]:
    """Those to `train` on, and the `held` ones."""
    every = [(a, s, n) for a in range(10) for s in STEPS for n in LENGTHS]
    drawn = np.random.default_rng(17).permutation(len(every)).tolist()
    cut = len(every) // 5
    return {"held": [every[n] for n in drawn[:cut]], "train": [every[n] for n in drawn[cut:]]}


def rows(seed: int, count: int, split: str, kinds: Sequence[str] = KINDS) -> list[Row]:
    """Rows of a set whose scores are known: `original` keeps the rule, `rewrite` breaks it."""
    draw, found = np.random.default_rng(seed), list[Row]()
    chosen = series()[split]
    for number in range(count):
        terms = _terms(chosen[draw.integers(len(chosen))])
        kind = kinds[number % len(kinds)]
        name = f"{split}-{seed}-{number}"
        found.append(
            {
                "id": name,
                "doc_id": name,
                "source": kind,
                "chunk": 0,
                "chunks": 1,
                "original": told(terms),
                "original_tokens": len(terms),
                "rewrite": told(broken(draw, terms, kind)),
                "rewrite_status": "ok",
                "meta": "{}",
                "original_counts": 1.0,
                "rewrite_counts": 0.0,
            }
        )
    return found


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


def _terms(one: Series) -> list[int]:
    start, step, length = one
    return [(start + number * step) % 10 for number in range(length)]
