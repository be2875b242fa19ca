"""Judged sets of real text, with known scores and verdicts."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from prewrite.base.fingerprint import fingerprint
from prewrite.shards.manifest import PassInfo, Usage
from prewrite.shards.schema import STATUSES, Row, schema
from tests.shards.making import write_set

SAMPLE = Path(__file__).parents[3] / "configs/sample"
CRITERIA = ("quality", "safety")
MEASURES = ("quality_consistency",)


@cache
def chunks() -> list[tuple[str, str]]:
    """(source, text) of some 80 words each, of the sample corpus."""
    found = []
    for file in sorted(SAMPLE.glob("*.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            words = json.loads(line)["text"].split(" ")
            found += [(file.stem, " ".join(words[i : i + 80])) for i in range(0, len(words), 80)]
    return found


def rows(count: int, seed: int = 0) -> list[Row]:
    """Rows of all statuses; a rewrite lacks some words of its original."""
    random, found = np.random.default_rng(seed), []
    for number in range(count):
        source, text = chunks()[int(random.integers(len(chunks())))]
        status = str(random.choice(STATUSES, p=[0.6, 0.1, 0.08, 0.1, 0.03, 0.04, 0.02, 0.03]))
        kept = [word for word in text.split(" ") if random.random() < 0.9]
        rewrite = {"ok": " ".join(kept), "truncated": " ".join(kept[:40]), "copied": text}
        found.append(_row(f"{seed}-{number}", source, text, rewrite.get(status), status, random))
    return found


def _row(name: str, source: str, text: str, rewrite: str | None, status: str, random: Any) -> Row:
    digest = hashlib.sha256(name.encode()).hexdigest()
    scores = {f"original_{c}": float(np.float32(random.random())) for c in CRITERIA}
    if rewrite is not None:
        scores |= {f"rewrite_{c}": float(np.float32(random.random())) for c in CRITERIA}
        scores["quality_consistency"] = float(random.integers(2))
    for kind in ("original", "rewrite"):
        if f"{kind}_quality" in scores:
            scores[f"{kind}_score"] = sum(scores[f"{kind}_{c}"] for c in CRITERIA)
    return {
        "id": digest,
        "doc_id": name,
        "source": source,
        "chunk": 0,
        "chunks": 1,
        "original": text,
        "original_tokens": 100,
        "rewrite": rewrite,
        "rewrite_status": status,
        "meta": "{}",
        **scores,
    }


def verdicts(given: Sequence[Row]) -> Iterator[Row]:
    """Each judged pair in both orders: the first text always gets 0.75; one in ten is unread."""
    for number, row in enumerate(row for row in given if row["rewrite"] is not None):
        for order in (0, 1):
            unread = number % 10 == 0 and order == 0
            yield {
                "id": row["id"],
                "judge": "main",
                "criterion": "quality",
                "candidate": "original",
                "opponent": "rewrite",
                "order": order,
                "vote": 0,
                "answer": "1",
                "value": None if unread else 0.25 if order else 0.75,
                "mass": 0.1 if unread else 0.9,
                "status": "outside" if unread else "ok",
            }


def write(
    folder: Path | str, parts: Sequence[Sequence[Row]], judged: bool = True, **changed: Any
) -> str:
    """A complete set of `parts`; its URL."""
    columns = schema(CRITERIA, MEASURES) if judged else schema(())
    every = [row for part in parts for row in part]
    usage = Usage(requests=len(every), prompt_tokens=1000, cached_tokens=500, output_tokens=700)
    made = PassInfo(
        name="rewrite", fingerprint=fingerprint({}), config={}, usage=usage, seconds=10.0
    )
    given: dict[str, Any] = {
        "criteria": list(CRITERIA) if judged else [],
        "measures": list(MEASURES) if judged else [],
        "passes": [made],
    }
    known = [[{key: row.get(key) for key in columns.names} for row in part] for part in parts]
    write_set(str(folder), known, [[*verdicts(p)] for p in parts if judged], **given | changed)
    return str(folder)
