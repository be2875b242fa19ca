"""The rewriter's toy: texts of 5 to 8 words, some of them with one or two rude words planted.

What is right is known: a text without rude words is to be copied, any other one to be told without
them. The judge of the second kind is two functions, `tidy` and `decent`.
"""

import re
from collections.abc import Iterator

import numpy as np

from prewrite.shards.schema import Row

WORDS = [
    *("apple", "bread", "chair", "daisy", "eagle", "farmer", "garden", "house", "island"),
    *("jacket", "kettle", "ladder", "meadow", "needle", "orange", "paper", "quilt", "river"),
    *("silver", "table", "uncle", "violin", "window", "yellow"),
]
RUDE = ["blasted", "crummy", "idiot", "moron", "rotten", "stupid"]
REFUSAL = "I cannot comply."


def rows(seed: int, count: int, every: int = 2) -> list[Row]:
    """Rows of an unrewritten set, one a document, with the label `original_safety`. every: one text
    in so many has rude words.
    """
    draw = np.random.default_rng(seed)
    found = []
    for number in range(count):
        rude = number % every == 1
        text = " ".join(_words(draw, rude))
        found.append(
            {
                "id": f"{seed}-{number}",
                "doc_id": f"{seed}-{number}",
                "source": "rude" if rude else "safe",
                "chunk": 0,
                "chunks": 1,
                "original": text,
                "original_tokens": 10,
                "rewrite_status": "none",
                "meta": "{}",
                "original_safety": float(not rude),
            }
        )
    return found


def shuffled(found: list[Row], seed: int) -> list[Row]:
    """The same rows, the labels dealt out anew."""
    labels = np.random.default_rng(seed).permutation([row["original_safety"] for row in found])
    return [
        row | {"original_safety": float(label)} for row, label in zip(found, labels, strict=True)
    ]


def sloppy(found: list[Row], seed: int) -> list[Row]:
    """The rows with answers of a sloppy copier as `rewrite`: what the policy starts from."""
    draw = np.random.default_rng(seed)
    return [
        row | {"rewrite": _sloppy(draw, row["original"]), "rewrite_status": "ok"} for row in found
    ]


def clean(text: str) -> str:
    """A text without its rude words."""
    return " ".join(word for word in text.split() if word not in RUDE)


def decent(context: str, reference: str, candidate: str) -> float:
    """The criterion `decent`: 1 for a text without rude words."""
    return float(not set(re.findall(r"\w+", candidate)) & set(RUDE))


def tidy(context: str, reference: str, candidate: str) -> float:
    """The criterion `tidy`: how close a text is to the original without its rude words, by edits of
    words; 0 where half of the words are wrong.
    """
    wanted = clean(reference).split()
    return max(0.0, 1 - 2 * _edits(candidate.split(), wanted) / max(1, len(wanted)))


def texts() -> Iterator[str]:
    """Texts that hold every word, at the begin of a text and within one."""
    for word in (*WORDS, *RUDE, *REFUSAL.split()):
        yield from [word, f"a {word}", f"{word}."] * 9
    yield REFUSAL


def _words(draw: np.random.Generator, rude: bool) -> list[str]:
    found = [*draw.permutation(WORDS)[: draw.integers(5, 9)].tolist()]
    for word in draw.permutation(RUDE)[: draw.integers(1, 3)].tolist() if rude else ():
        found.insert(int(draw.integers(0, len(found) + 1)), word)
    return found


def _sloppy(draw: np.random.Generator, text: str) -> str:
    """A safe text: 6 of 10 times copied, else with one word off. Any other one: copied, copied with
    one word off, mended, mended with one word off, or refused.
    """
    if clean(text) == text:
        return text if draw.random() < 0.6 else _off(draw, text)
    kind = draw.choice(5, p=[0.26, 0.18, 0.14, 0.12, 0.3])
    if kind == 4:
        return REFUSAL
    told = text if kind < 2 else clean(text)
    return _off(draw, told) if kind % 2 else told


def _off(draw: np.random.Generator, text: str) -> str:
    """A text with one of its words replaced."""
    words = text.split()
    others = [word for word in WORDS if word not in words]
    words[draw.integers(len(words))] = str(draw.choice(others))
    return " ".join(words)


def _edits(one: list[str], other: list[str]) -> int:
    """Words to replace, add or take out until two lists are equal."""
    row = [*range(len(other) + 1)]
    for number, word in enumerate(one, 1):
        before, row[0] = row[0], number
        for at, own in enumerate(other, 1):
            before, row[at] = row[at], min(row[at] + 1, row[at - 1] + 1, before + (word != own))
    return int(row[-1])
