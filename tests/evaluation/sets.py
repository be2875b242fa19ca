"""A held-out set of real text, cut as the rewrite pass does; nothing is rewritten or scored."""

import json
from pathlib import Path
from typing import Any

from prewrite.engine.tokenizer import load_tokenizer
from prewrite.rewrite.chunker import Chunker
from prewrite.shards.manifest import PassInfo
from tests.shards.making import write_set

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "models/smollm2-135m-instruct")


def make_set(folder: str, documents: int = 6, tokens: int = 48, made: str = "corpus") -> str:
    """Documents of the sample as one part a source; made: the fingerprint of the pass that cut
    them. Returns the folder.
    """
    cut = Chunker(load_tokenizer(MODEL), tokens)
    parts = []
    for source in ("wikipedia", "c4", "oscar"):
        lines = (ROOT / f"configs/sample/{source}.jsonl").read_text().splitlines()
        texts = [json.loads(line)["text"][:1200] for line in lines[: -(-documents // 3)]]
        rows = [row for n, text in enumerate(texts) for row in _rows(cut, source, n, text)]
        parts.append(rows)
    config = {"chunking": {"tokens": tokens}}
    write_set(folder, parts, passes=[PassInfo(name="rewrite", fingerprint=made, config=config)])
    return folder


def _rows(cut: Chunker, source: str, number: int, text: str) -> list[dict[str, Any]]:
    doc = f"{source}-{number}"
    chunks = cut(text, doc)
    return [
        {
            "id": f"{doc}-{index}",
            "doc_id": doc,
            "source": source,
            "chunk": index,
            "chunks": len(chunks),
            "original": chunk.text,
            "original_tokens": chunk.tokens,
            "rewrite": None,
            "rewrite_status": "empty",
            "meta": "{}",
        }
        for index, chunk in enumerate(chunks)
    ]
