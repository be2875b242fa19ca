"""A held-out set of real text, cut as the rewrite pass does; nothing is rewritten or scored."""

import json
from pathlib import Path
from typing import Any

from prewrite.base.files import Folder
from prewrite.engine.tokenizer import load_tokenizer
from prewrite.rewrite.chunker import Chunker
from prewrite.shards.manifest import File, Manifest, PassInfo
from prewrite.shards.schema import schema, to_parquet

ROOT = Path(__file__).parents[2]
MODEL = str(ROOT / "models/smollm2-135m-instruct")


def make_set(folder: str, documents: int = 6, tokens: int = 48, made: str = "corpus") -> str:
    """Documents of the sample as one part a source; made: the fingerprint of the pass that cut
    them. Returns the folder.
    """
    cut = Chunker(load_tokenizer(MODEL), tokens)
    parts = []
    for number, source in enumerate(("wikipedia", "c4", "oscar")):
        lines = (ROOT / f"configs/sample/{source}.jsonl").read_text().splitlines()
        texts = [json.loads(line)["text"][:1200] for line in lines[: -(-documents // 3)]]
        rows = [row for n, text in enumerate(texts) for row in _rows(cut, source, n, text)]
        data, name = to_parquet(rows, schema([])), f"part-{number}.parquet"
        Folder(folder).write(name, data)
        digest = Folder(folder).sha256(name)
        parts.append(File(name=name, rows=len(rows), bytes=len(data), sha256=digest))
    Manifest(
        status="complete",
        passes=[
            PassInfo(name="rewrite", fingerprint=made, config={"chunking": {"tokens": tokens}})
        ],
        inputs=[],
        rows=sum(part.rows for part in parts),
        documents=documents,
        parts=parts,
    ).save(Folder(folder))
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
