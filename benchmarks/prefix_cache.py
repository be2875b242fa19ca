"""Share of prompt tokens that the prefix cache serves: document order against random order, and the
templates of a document together against a run for each.

The prompts are those of a rewrite pass with `cuts: every` over three encyclopaedia articles, and of
the judge pass after it (quality, both orders). The cache is small (4,096 tokens), as it is against
a real corpus. One token is generated a request; the share depends on the prompts alone. `computed`
are the prompt tokens that no cache served, for each row.
"""

import asyncio
import json
import random
import sys
from collections.abc import Sequence

from benchmarks.instant import Instant
from prewrite.base.config import load
from prewrite.engine.registry import get_engine
from prewrite.engine.types import Completion, Engine, Request, Sampling
from prewrite.engine.vllm_engine import VllmEngine
from prewrite.judge.judge import Judge
from prewrite.judge.scorer import RowScorer
from prewrite.pipeline.passes import Document
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.passes import RewritePass
from prewrite.rewrite.rewriter import Rewriter

RECIPE = [
    "input.paths=[configs/sample/wikipedia.jsonl]",
    "judge.criteria=[quality]",
    "engines.main.max_model_len=2048",
    "engines.main.args={kv_cache_memory_bytes: 188743680}",
]


TEMPLATES = ("questions", "table", "problems", "tutorial")
"""Those of FinePhrase, which begin alike."""


class _Notebook(Instant):
    """Notes requests."""

    concurrency = 32

    def __init__(self) -> None:
        self.requests: list[Request] = []

    async def complete(self, request: Request) -> Completion:
        """Note the request, and answer."""
        self.requests.append(request)
        return await super().complete(request)


async def _note(recipe: RewriteRecipe) -> dict[str, list[Request]]:
    """The requests of both passes over the sample, in the order they are sent."""
    source = RewritePass(recipe).source
    rewriting, judging = _Notebook(), _Notebook()
    assert recipe.rewrite
    rewriter = Rewriter({recipe.rewrite.engine: rewriting}, recipe)
    judge = recipe.judge
    scorer = RowScorer([Judge("main", judging, judge)], judge) if judge else None
    for split in source.splits():
        for item in source.read(split, 0):
            if isinstance(item, Document):
                outcome = await rewriter(item)
                if scorer:
                    await scorer(Document(outcome.rows, 0))
    return {"rewrite": rewriting.requests, "judge": judging.requests}


async def _share(engine: Engine, requests: list[Request]) -> float:
    """Cached over all prompt tokens, with the requests open all at once, in this order."""
    cached, every = await _tokens(engine, requests)
    return cached / every


async def _tokens(engine: Engine, requests: list[Request]) -> tuple[int, int]:
    """Cached, and all prompt tokens."""
    assert isinstance(engine, VllmEngine)
    engine.llm.reset_prefix_cache()
    short = [Request(request.prompt, Sampling(1, temperature=0.0)) for request in requests]
    answers = await asyncio.gather(*(engine.complete(request) for request in short))
    assert not any(answer.error for answer in answers)
    return sum(a.cached_tokens or 0 for a in answers), sum(a.prompt_tokens for a in answers)


async def _templates(engine: Engine, names: Sequence[str]) -> dict[str, object]:
    """The requests of `names` together, as a pass sends them, and each template's in a run."""
    told = "{" + ", ".join(f"{name}: {{}}" for name in names) + "}"
    recipe = load(
        RewriteRecipe,
        "configs/quickstart.yaml",
        [*RECIPE, "judge=null", f"rewrite.templates={told}"],
    )
    together = (await _note(recipe))["rewrite"]
    apart = [together[number :: len(names)] for number in range(len(names))]
    shares = [await _tokens(engine, together)]
    runs = [await _tokens(engine, requests) for requests in apart]
    shares.append((sum(cached for cached, _ in runs), sum(every for _, every in runs)))
    found: dict[str, object] = {"requests": len(together)}
    for name, (cached, every) in zip(("together", "apart"), shares, strict=True):
        found[name] = round(cached / every, 3)
        found[f"{name}_computed"] = round((every - cached) / len(apart[0]), 1)
    return found


def main(output: str) -> None:
    """Measure, and write the figures as JSON."""
    recipe = load(RewriteRecipe, "configs/quickstart.yaml", RECIPE)
    result: dict[str, object] = {}
    requests = asyncio.run(_note(recipe))
    engine = get_engine(recipe.engines["main"])
    for name, ordered in requests.items():
        shuffled = random.Random(0).sample(ordered, len(ordered))
        result[name] = {
            "requests": len(ordered),
            "document_order": round(asyncio.run(_share(engine, ordered)), 3),
            "random_order": round(asyncio.run(_share(engine, shuffled)), 3),
        }
    for number in (1, len(TEMPLATES)):
        result[f"templates_{number}"] = asyncio.run(_templates(engine, TEMPLATES[:number]))
    with open(output, "w", encoding="utf-8") as stream:
        json.dump(result, stream)


if __name__ == "__main__":
    main(sys.argv[1])
