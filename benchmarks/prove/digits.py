"""The thinker's toy: six digits in words, and their sum modulo ten.

A thought that is worth something has the running sums; a filler is the same word six times. With
four digits a small model may sum without a thought, with six none of those that were tried did.
"""

from collections.abc import Iterator

import numpy as np

from benchmarks.prove.counting import NUMBERS
from prewrite.prompts.thoughts import insert
from prewrite.shards.schema import Row

DIGITS = 6
MAKES = " makes"
FILLER = " well" * DIGITS
USEFUL = 0.35
"""Share of the thoughts that hold the running sums, at the start."""


def rows(name: str, seed: int, count: int) -> list[Row]:
    """Rows of an augmented set, one a document; their ids begin with `name`. Only the warm start
    learns their thoughts: the task `think` samples new ones in their places.
    """
    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        digits = draw.integers(0, 10, DIGITS).tolist()
        useful = draw.random() < USEFUL
        found.append(_row(f"{name}-{number}", digits, useful))
    return found


def shuffled(found: list[Row], seed: int) -> list[Row]:
    """The same rows, with the answers dealt out anew."""
    turned = np.random.default_rng(seed).permutation(len(found)).tolist()
    answers = [str(found[n]["original"]).rpartition(MAKES)[2] for n in turned]
    return [_answered(row, answer) for row, answer in zip(found, answers, strict=True)]


def equal(context: str, reference: str, candidate: str) -> float:
    """The criterion `equal`: whether a text goes on with the same word."""
    return float(candidate.split()[:1] == reference.split()[:1])


def texts() -> Iterator[str]:
    """Texts that hold every word and marker."""
    for number in NUMBERS:
        for text in (f" {number} {number}{MAKES}", f"<think> {number}", f" well {number}</think>"):
            yield from [text] * 9


def _row(name: str, digits: list[int], useful: bool) -> Row:
    sums = [sum(digits[: n + 1]) % 10 for n in range(DIGITS)]
    thought = _told(sums) if useful else FILLER
    pieces = (f"{_told(digits)}{MAKES}", _told(sums[-1:]))
    return {
        "id": name,
        "doc_id": name,
        "source": "useful" if useful else "filler",
        "chunk": 0,
        "chunks": 1,
        "original": "".join(pieces),
        "original_tokens": DIGITS + 2,
        "rewrite": insert(pieces, {1: thought.strip()}),
        "rewrite_status": "ok",
        "meta": "{}",
    }


def _answered(row: Row, answer: str) -> Row:
    """A row with another answer."""
    texts = ("original", "rewrite")
    return row | {text: f"{str(row[text]).rpartition(' ')[0]}{answer}" for text in texts}


def _told(digits: list[int]) -> str:
    return "".join(f" {NUMBERS[digit]}" for digit in digits)
