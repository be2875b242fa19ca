"""Rewrite pass against vLLM's own offline `generate`: the same requests, the same engine, one run.

The pass is timed whole: reading, cutting, prompts, tokenisation, checks, Parquet, manifest. The
rival gets the pass's token ids ready-made, in one list. Both run on the same loaded model with an
empty prefix cache, five alternating pairs; the order within a pair alternates too.
"""

import json
import statistics
import sys
import tempfile
import time
from typing import Any

from prewrite.base.config import load
from prewrite.engine.registry import get_engine
from prewrite.engine.types import Request
from prewrite.engine.vllm_engine import VllmEngine
from prewrite.pipeline.run import run_pass
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.passes import RewritePass

PAIRS = 5
RECIPE = ["run.rows_per_part=8192", "chunking.tokens=64", "rewrite.sampling.max_tokens=96"]
"""The quick-start with smaller chunks: enough requests to keep 32 of them running."""


def main(output: str) -> None:
    """Measure, and write the figures as JSON."""
    recipe = load(RewriteRecipe, "configs/quickstart.yaml", RECIPE)
    engine = get_engine(recipe.engines["main"])
    assert isinstance(engine, VllmEngine)
    requests = _requests(recipe, engine)
    pairs = [_pair(recipe, engine, requests, number) for number in range(PAIRS)]
    ratios = [ours / theirs for ours, theirs in pairs]
    result = {
        "requests": len(requests),
        "pass_tokens_per_s": [round(ours, 1) for ours, _ in pairs],
        "generate_tokens_per_s": [round(theirs, 1) for _, theirs in pairs],
        "ratios": [round(ratio, 3) for ratio in ratios],
        "median_ratio": round(statistics.median(ratios), 3),
    }
    with open(output, "w", encoding="utf-8") as stream:
        json.dump(result, stream)


def _requests(recipe: RewriteRecipe, engine: VllmEngine) -> list[Request]:
    """Every request of the pass, noted on a first run that also warms everything up."""
    noted: list[Request] = []
    complete = engine.complete

    async def note(request: Request) -> Any:
        noted.append(request)
        return await complete(request)

    engine.complete = note  # type: ignore[method-assign]
    _ours(recipe, engine)
    engine.complete = complete  # type: ignore[method-assign]
    return noted


def _pair(
    recipe: RewriteRecipe, engine: VllmEngine, requests: list[Request], number: int
) -> tuple[float, float]:
    if number % 2:
        theirs = _theirs(engine, requests)
        return _ours(recipe, engine), theirs
    return _ours(recipe, engine), _theirs(engine, requests)


def _ours(recipe: RewriteRecipe, engine: VllmEngine) -> float:
    engine.llm.reset_prefix_cache()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        manifest = run_pass(RewritePass(recipe), f"{folder}/set", recipe.run)
        seconds = time.perf_counter() - begun
    return manifest.passes[0].usage.output_tokens / seconds


def _theirs(engine: VllmEngine, requests: list[Request]) -> float:
    prompts = [{"prompt_token_ids": engine.token_ids(request)} for request in requests]
    parameters = [engine.parameters(request) for request in requests]
    engine.llm.reset_prefix_cache()
    begun = time.perf_counter()
    outputs = engine.llm.generate(prompts, parameters, use_tqdm=False)
    seconds = time.perf_counter() - begun
    return sum(len(output.outputs[0].token_ids) for output in outputs) / seconds


if __name__ == "__main__":
    main(sys.argv[1])
