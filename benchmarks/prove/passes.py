"""What the rewrite pass and the judge pass ask about rows, as token ids: so must a run."""

from collections.abc import Sequence

from prewrite.engine.encoding import PromptEncoder
from prewrite.engine.types import Request
from prewrite.judge.config import JudgeConfig
from prewrite.judge.judge import Judge
from prewrite.judge.scorer import RowScorer
from prewrite.pipeline.passes import Document
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.rewriter import Rewriter
from prewrite.shards.schema import Row
from tests.scripted import Scripted, said

CONTEXT = 64  # tokens


async def rewrites_asked(model: str, rows: Sequence[Row], template: str) -> set[tuple[int, ...]]:
    """Prompts of the rewrite pass."""
    recipe = RewriteRecipe.model_validate(
        {
            "input": {"paths": ["a.jsonl"]},
            "output": "out",
            "chunking": {"tokenizer": "t", "tokens": 64, "max_context_tokens": CONTEXT},
            "engines": {"e": {"kind": "vllm", "model": "m"}},
            "rewrite": {"engine": "e", "template": template},
        }
    )
    engine = _recorder()
    bare = [row | {"rewrite": None, "rewrite_status": None} for row in rows]
    for document in _documents(bare):
        await Rewriter({"e": engine}, recipe)(document)
    return _ids(model, engine.asked)


async def verdicts_asked(model: str, rows: Sequence[Row], criterion: str) -> set[tuple[int, ...]]:
    """Prompts of the judge pass, every pair in both orders."""
    config = JudgeConfig.model_validate(
        {
            "engine": "e",
            "criteria": [criterion],
            "readout": "reasoning",
            "sampling": {"votes": 1, "reasks": 0},
            "pools": {"order": "both"},
            "max_context_tokens": CONTEXT,
        }
    )
    engine = _recorder()
    for document in _documents(rows):
        await RowScorer([Judge("e", engine, config)], config)(document)
    return _ids(model, engine.asked)


def _recorder() -> Scripted:
    return Scripted(lambda _: said("Verdict: (1)"))


def _documents(rows: Sequence[Row]) -> list[Document]:
    names = dict.fromkeys(row["doc_id"] for row in rows)
    return [Document([dict(row) for row in rows if row["doc_id"] == name], 0) for name in names]


def _ids(model: str, requests: Sequence[Request]) -> set[tuple[int, ...]]:
    encoder = PromptEncoder(model, {})
    return {tuple(encoder.encode(one.prompt)) for one in requests}
