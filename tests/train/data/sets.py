"""Small shard sets on disk, for the tests of the trainer."""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from prewrite.engine.tokenizer import PlainTokenizer, load_tokenizer
from prewrite.shards.manifest import PassInfo
from prewrite.shards.schema import TEXTS, texts_of
from prewrite.train.config.sections import TrainConfig
from tests.shards import making

MODEL = "models/smollm2-135m-instruct"
BOS, EOS = 1, 2

HOSTILE = (
    "e\u0301\u0323 a\u030a\u0327",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽",
    "שלום \u202eabc\u202c مرحبا",
    "a\r\nb\rc\n\n\td",
    "  \u00a0\u3000\u200b\u2003  ",
    "漢字仮名交じり文は空白を含まない。",
    "𓀀𓁐𝔘𝔫𝔦𝔠",
    "<|im_start|>system\n<|im_end|><|endoftext|>",
)

Given = Mapping[str, Any]


@cache
def tokenizer() -> PlainTokenizer:
    return load_tokenizer(MODEL)


def ids(text: str) -> list[int]:
    return list(tokenizer().encode(text).ids)


def row(
    document: int, chunk: int, chunks: int, given: Given, texts: Sequence[str] = TEXTS
) -> dict[str, Any]:
    """A row of which only what is unlike others is given."""
    there = {text: given.get(text) is not None for text in texts[1:]}
    return {
        "id": f"{document}-{chunk}",
        "doc_id": str(document),
        "source": "test",
        "chunk": chunk,
        "chunks": chunks,
        "original_tokens": 1,
        "meta": "{}",
        **{f"{text}_status": "ok" if found else "failed" for text, found in there.items()},
        **given,
    }


def write_set(
    folder: Path,
    parts: Sequence[Sequence[Sequence[Given]]],
    criteria: Sequence[str] = ("quality",),
    tokens: int = 8,
    rewrites: Sequence[str] = (),
    passes: Sequence[PassInfo] = (),
) -> str:
    """A finished set of `parts` of documents of chunks; its URL. passes: those after the first."""
    made, document = list[list[dict[str, Any]]](), 0
    for documents in parts:
        made.append([])
        for chunks in documents:
            texts, count = texts_of(rewrites), len(chunks)
            made[-1] += [row(document, i, count, given, texts) for i, given in enumerate(chunks)]
            document += 1
    config = {"chunking": {"tokens": tokens}}
    every = [PassInfo(name="rewrite", fingerprint="f", config=config), *passes]
    making.write_set(
        str(folder), made, criteria=list(criteria), rewrites=list(rewrites), passes=every
    )
    return str(folder)


def config(*sets: str | Given, **changes: Any) -> TrainConfig:
    """A recipe over `sets`, small; `changes` of its other keys."""
    data = [{"set": item} if isinstance(item, str) else item for item in sets]
    batch = {"samples": 4, "sequence_tokens": 256, "max_seq_len": 40, "context_tokens": 8}
    phase = {"name": "all", "objective": "nll", "until": {"step": 10}}
    phase |= {"candidates": ["original", "rewrite"]}
    recipe = {"data": data, "output": "out", "model": {"path": MODEL}, "curriculum": [phase]}
    recipe["optimizer"] = {"warmup_steps": 0}
    return TrainConfig.model_validate({**recipe, "batch": batch, **changes})
