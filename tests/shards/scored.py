"""A scored set of real text, for what reads sets: both texts, every kind of row, known scores."""

import json
from pathlib import Path
from typing import Any

from tests.train.data.sets import write_set

SAMPLE = Path("configs/sample")


def documents(name: str) -> list[list[dict[str, Any]]]:
    """The documents of a sample file as chunks of 300 characters, with a rewrite and scores that
    follow from their places.
    """
    lines = (SAMPLE / f"{name}.jsonl").read_text().splitlines()
    return [_chunks(json.loads(line)["text"], name, number) for number, line in enumerate(lines)]


def _chunks(text: str, source: str, number: int) -> list[dict[str, Any]]:
    pieces = [text[i : i + 300] for i in range(0, min(len(text), 3000), 300)]
    return [_row(piece, source, number + index) for index, piece in enumerate(pieces)]


def _row(original: str, source: str, place: int) -> dict[str, Any]:
    before, after = (place % 5) / 4, (place % 3) / 2
    scores: dict[str, Any] = {
        "original_quality": before,
        "original_score": before,
        "rewrite_quality": after,
        "rewrite_score": after,
    }
    rewrite = None if place % 7 == 6 else original.swapcase()
    if rewrite is None:
        scores |= {"rewrite_quality": None, "rewrite_score": None, "original_score": None}
    return {"original": original, "rewrite": rewrite, "original_tokens": 100, **scores} | {
        "source": source,
        "meta": json.dumps({"place": place}),
    }


def scored_set(folder: Path) -> str:
    """The set, in three parts; its URL."""
    return write_set(folder, [documents(name) for name in ("c4", "oscar", "wikipedia")])
