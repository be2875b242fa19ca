"""What models write at places in the held-out documents, and what a judge that can tell says of it.

Every model gets the same places and seeds, in one vLLM engine that takes their weights one after
the other. P: places.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.tiny_policy import CONTEXT, JUDGE, ROLLOUTS, engines
from prewrite.evaluation.ablation.tiny import documents

EVERY, CONTINUATIONS = 32, 8


@dataclass(frozen=True)
class Measured:
    """Means over all continuations of a model. score_P: of each place. known, variety: what the
    score is made of. nll: nats a token on the held-out originals.
    """

    score_P: list[float]
    score: float
    known: float
    variety: float
    tokens: float
    ended: float
    nll: float
    unscored: int


async def measure(folder: Path, models: dict[str, Path]) -> dict[str, Measured]:
    """Each model's continuations of the held-out places, scored."""
    from prewrite.engine.config import VllmConfig
    from prewrite.engine.vllm_engine import VllmEngine

    places, pieces = _held_out(folder)
    engine = VllmEngine(VllmConfig.model_validate(engines(folder)["policy"]))
    written = dict[str, tuple[list[list[Any]], float]]()
    for name, model in models.items():
        await engine.reload(str(model))
        continuations = await asyncio.gather(
            *(_continue(folder, engine, prompt, number) for number, prompt in enumerate(places))
        )
        told = await asyncio.gather(*(engine.token_likelihood(tokens) for tokens in pieces))
        written[name] = continuations, -fmean(p for one in told for p in one.samples[0].logprobs)
    engine.close()
    return await _judged(written)


def _held_out(folder: Path) -> tuple[list[list[int]], list[list[int]]]:
    """Prefixes of `CONTEXT` tokens or fewer, and the pieces of text that hold them."""
    from prewrite.engine.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(str(folder / "start"))
    places, pieces = list[list[int]](), list[list[int]]()
    for text, _ in documents()["held"]:
        tokens = [0, *tokenizer.encode(text).ids]
        cuts = range(EVERY, len(tokens) - EVERY, EVERY)
        places += [tokens[max(0, cut - CONTEXT) : cut] for cut in cuts]
        pieces += [tokens[at : at + 2 * CONTEXT] for at in range(0, len(tokens) - 1, 2 * CONTEXT)]
    return places, pieces


async def _continue(folder: Path, engine: Any, prompt: list[int], number: int) -> list[Any]:
    """The continuations of a place as (text, tokens, ended)."""
    from prewrite.engine.tokenizer import continuation, load_tokenizer
    from prewrite.engine.types import Prompt, Request, Sampling

    sampling = Sampling(
        ROLLOUTS["tokens"], seed=1000 * number, n=CONTINUATIONS, logprobs=True, end=0
    )
    told = await engine.complete(Request(Prompt(tokens=tuple(prompt)), sampling))
    assert not told.error, told.error
    tokenizer = load_tokenizer(str(folder / "start"))
    found = []
    for sample in told.samples:
        ended = sample.token_ids[-1:] == (0,)
        spoken = sample.token_ids[: len(sample.token_ids) - ended]
        found.append((continuation(tokenizer, tuple(prompt), spoken), len(sample.token_ids), ended))
    return found


async def _judged(written: dict[str, tuple[list[list[Any]], float]]) -> dict[str, Measured]:
    from prewrite.judge.config import JudgeConfig
    from prewrite.judge.pool import Pool
    from prewrite.judge.scorer import PoolScorer

    scorer = PoolScorer.load(JudgeConfig.model_validate(JUDGE), {})  # they ask no engine
    found = {}
    for name, (continuations, nll) in written.items():
        pools = [
            Pool(str(n), (), "", {str(k): one[0] for k, one in enumerate(some)})
            for n, some in enumerate(continuations)
        ]
        scored = await scorer(pools)
        found[name] = _means(scored, [one for some in continuations for one in some], nll)
    return found


def _means(scored: Sequence[Any], texts: Sequence[Any], nll: float) -> Measured:
    """A text without a score (fewer than four words) counts as 0: here it must not be left out."""
    scores = [[one.scores.get(str(k), 0.0) for k in range(CONTINUATIONS)] for one in scored]
    known, variety = (
        fmean(value for one in scored for value in one.values[name].values())
        for name in ("known_words", "variety")
    )
    return Measured(
        score_P=[round(fmean(some), 6) for some in scores],
        score=fmean(map(fmean, scores)),
        known=known,
        variety=variety,
        tokens=fmean(one[1] for one in texts),
        ended=fmean(one[2] for one in texts),
        nll=nll,
        unscored=sum(CONTINUATIONS - len(one.scores) for one in scored),
    )
