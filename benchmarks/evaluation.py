"""An evaluation's writing against vLLM's own offline `generate`: the same prompts, one run.

Ours is timed whole: prompts out of places, tokenisation, greedy and sampled continuations, the
likelihood of the originals, decoding, Parquet. The rival gets the token ids of all three ready-made
in one list and keeps nothing. Both run on the same loaded model with an empty prefix cache, in
alternating pairs; the order within a pair alternates too. What the judge costs, `judging` measures.
"""

import asyncio
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from prewrite.base.config import load
from prewrite.base.files import Folder
from prewrite.engine.tokenizer import load_tokenizer
from prewrite.engine.types import Prompt, Request, Sampling
from prewrite.engine.vllm_engine import VllmEngine
from prewrite.evaluation.chunks import chunks_of
from prewrite.evaluation.config import EvaluateConfig, EvaluateRecipe
from prewrite.evaluation.cut_points import CutPoint
from prewrite.evaluation.writing import Writer, write_chunks
from prewrite.rewrite.chunker import Chunker

PAIRS, CUT_POINTS, CUT = 3, 32, 64
RECIPE = ["evaluate.tokens=32"]


def main(output: str) -> None:
    """Measure, and write the figures as JSON."""
    recipe = load(EvaluateRecipe, "configs/quickstart.yaml", RECIPE)
    config, settings = recipe.evaluate, recipe.engine("base")
    cut_points = _cut_points(settings.model)
    engine = VllmEngine(settings)
    _ours(engine, config, cut_points)  # warms everything up
    pairs = [_pair(engine, config, cut_points, number) for number in range(PAIRS)]
    engine.close()
    texts = len(cut_points) * (1 + config.sampled.continuations)
    ratios = [theirs / ours for ours, theirs in pairs]
    result = {
        "places": len(cut_points),
        "continuations": texts,
        "tokens": config.tokens,
        "evaluate_continuations_per_s": [round(texts / ours, 2) for ours, _ in pairs],
        "generate_continuations_per_s": [round(texts / theirs, 2) for _, theirs in pairs],
        "ratios": [round(ratio, 3) for ratio in ratios],
        "median_ratio": round(statistics.median(ratios), 3),
    }
    Path(output).write_text(json.dumps(result), encoding="utf-8")


def _cut_points(model: str) -> list[CutPoint]:
    """Chunks of the sample corpus behind all that stands before them."""
    cut, found = Chunker(load_tokenizer(model), CUT), list[CutPoint]()
    for path in sorted(Path("configs/sample").glob("*.jsonl")):
        for number, line in enumerate(path.read_text().splitlines()):
            doc = f"{path.stem}-{number}"
            pieces = [chunk.text for chunk in cut(json.loads(line)["text"], doc)]
            found += [
                CutPoint("all", f"{doc}-{n}", doc, tuple(pieces[start:n]), start == 0, *2 * [text])
                for n, text in enumerate(pieces[1:], 1)
                for start in [max(0, n - 4)]
            ]
    return found[:CUT_POINTS]


def _pair(
    engine: VllmEngine, config: EvaluateConfig, cut_points: list[CutPoint], number: int
) -> tuple[float, float]:
    """Seconds of (ours, theirs)."""
    if number % 2:
        theirs = _theirs(engine, config, cut_points)
        return _ours(engine, config, cut_points), theirs
    return _ours(engine, config, cut_points), _theirs(engine, config, cut_points)


def _ours(engine: VllmEngine, config: EvaluateConfig, cut_points: list[CutPoint]) -> float:
    engine.llm.reset_prefix_cache()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        chunks = list(chunks_of({"all": cut_points}))
        asyncio.run(write_chunks(Folder(folder), "base", chunks, Writer(engine, config)))
        return time.perf_counter() - begun


def _theirs(engine: VllmEngine, config: EvaluateConfig, cut_points: list[CutPoint]) -> float:
    prompts, parameters = _requests(engine, config, cut_points)
    engine.llm.reset_prefix_cache()
    begun = time.perf_counter()
    engine.llm.generate(prompts, parameters, use_tqdm=False)
    return time.perf_counter() - begun


def _requests(
    engine: VllmEngine, config: EvaluateConfig, cut_points: list[CutPoint]
) -> tuple[list[Any], list[Any]]:
    """What an evaluation asks of the model, as vLLM takes it."""
    from vllm import SamplingParams

    writer, prompts, parameters = Writer(engine, config), list[Any](), list[Any]()
    for cut_point in cut_points:
        ids, sampled = writer.prompt(cut_point), config.sampled
        seed = cut_point.seed(config.seed)
        for sampling in (
            Sampling(config.tokens, 0.0),
            Sampling(config.tokens, sampled.temperature, sampled.top_p, seed),
        ):
            prompts.append({"prompt_token_ids": ids})
            parameters.append(engine.parameters(Request(Prompt(tokens=tuple(ids)), sampling)))
        before, after = engine.plain(
            cut_point.context, cut_point.reference, engine.max_model_len - 1, cut_point.begins
        )
        prompts.append({"prompt_token_ids": before + after})
        parameters.append(SamplingParams(max_tokens=1, prompt_logprobs=0, detokenize=False))
    return prompts, parameters


if __name__ == "__main__":
    main(sys.argv[1])
