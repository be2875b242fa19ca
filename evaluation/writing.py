"""What a model writes at every cut point, and how likely it finds what truly stands there.

A model gets its own tokenizer's tokens of the prefix as plain text: no chat template, and special
tokens in a hostile text are characters. Where prefix and continuation do not fit the model, the
prefix loses its beginning. A continuation is decoded with the end of the prompt, its special tokens
spelt out but for the one that ends it. Greedy and sampled ones and the likelihood of the original
share the cached prefix.

Models run one after the other: each is closed before the next is loaded, and so is whatever engine
was open. On a GPU vLLM puts a model into a process of its own, which `close` ends, so all its
memory is free again. On a CPU it is in this process; `close` frees it there, and takes what vLLM
holds in globals along, which would break a second one. So a process of ours for each model would
buy nothing, at ten seconds each.
"""

import asyncio
from collections.abc import Mapping, Sequence

import pyarrow as pa

from prewrite.base.cli import console
from prewrite.base.files import Folder
from prewrite.engine.config import VllmConfig
from prewrite.engine.registry import close_engines
from prewrite.engine.types import Completion, Prompt, Request, Sample, Sampling
from prewrite.engine.vllm_engine import VllmEngine
from prewrite.evaluation.chunks import CutPointChunk, chunks_of, missing, work, write_rows
from prewrite.evaluation.config import EvaluateConfig
from prewrite.evaluation.cut_points import CutPoint
from prewrite.shards.schema import Row

FOLDER = "continuations"
GREEDY, SAMPLED, ORIGINAL = "greedy", "sampled", "original"

_CATEGORY = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("split", _CATEGORY),
        ("id", pa.string()),
        ("doc_id", pa.string()),
        ("decoding", _CATEGORY),
        ("number", pa.int32()),
        ("text", pa.string()),
        ("tokens", pa.int32()),
        ("ended", pa.bool_()),
        ("logprob", pa.float64()),
        ("error", pa.string()),
    ]
)
"""One row a text. decoding: `greedy`, `sampled`, or `original`: the chunk itself, with the sum of
its tokens' log-probabilities in nats. ended: whether the model ended the text by itself. error: why
there is no text, or no log-probability."""


class Writer:
    """One model at any cut point."""

    def __init__(self, engine: VllmEngine, config: EvaluateConfig) -> None:
        self.engine, self._config = engine, config

    async def __call__(self, cut_point: CutPoint) -> list[Row]:
        """The rows of a cut point."""
        sampled = self._config.sampled
        asked = [self._written(cut_point, GREEDY, Sampling(self._config.tokens, 0.0))]
        if sampled.continuations:
            sampling = Sampling(
                self._config.tokens,
                sampled.temperature,
                sampled.top_p,
                cut_point.seed(self._config.seed),
                sampled.continuations,
            )
            asked.append(self._written(cut_point, SAMPLED, sampling))
        if cut_point.original is not None:
            asked.append(self._original(cut_point, cut_point.original))
        found = await asyncio.gather(*asked)
        return [row for rows in found for row in rows]

    def prompt(self, cut_point: CutPoint) -> list[int]:
        """The prefix as the model gets it."""
        room = max(1, self.engine.max_model_len - self._config.tokens)
        return self.engine.plain(cut_point.context, "", room, cut_point.begins)[0]

    async def _written(self, cut_point: CutPoint, decoding: str, sampling: Sampling) -> list[Row]:
        prompt = self.prompt(cut_point)
        told = await self.engine.complete(Request(Prompt(tokens=tuple(prompt)), sampling))
        if told.error is not None:
            return [
                _row(cut_point, decoding, number, error=told.error) for number in range(sampling.n)
            ]
        return [
            self._continuation(cut_point, decoding, number, prompt, sample)
            for number, sample in enumerate(told.samples)
        ]

    def _continuation(
        self, cut_point: CutPoint, decoding: str, number: int, prompt: Sequence[int], sample: Sample
    ) -> Row:
        ended = sample.finish_reason == "stop"
        spoken = sample.token_ids[:-1] if ended else sample.token_ids
        text = self.engine.continuation(prompt, spoken)
        return _row(
            cut_point, decoding, number, text=text, tokens=len(sample.token_ids), ended=ended
        )

    async def _original(self, cut_point: CutPoint, text: str) -> list[Row]:
        # One token less: vLLM generates one.
        before, after = self.engine.plain(
            cut_point.context, text, self.engine.max_model_len - 1, cut_point.begins
        )
        if not before or not after:
            told = Completion(error="a text without tokens, or without one before it")
        else:
            told = await self.engine.token_likelihood([*before, *after], len(before))
        if told.error is not None:
            return [_row(cut_point, ORIGINAL, 0, text=text, error=told.error)]
        logprob = sum(told.samples[0].logprobs)
        return [_row(cut_point, ORIGINAL, 0, text=text, tokens=len(after), logprob=logprob)]


def write(
    folder: Folder,
    models: Mapping[str, VllmConfig],
    splits: Mapping[str, Sequence[CutPoint]],
    config: EvaluateConfig,
) -> None:
    """Let every model continue what it has not continued yet; EngineError for one that cannot be
    loaded or dies.
    """
    for name, settings in models.items():
        if left := missing(folder, f"{FOLDER}/{name}", list(chunks_of(splits))):
            cut_points = sum(len(some) for _, some in left)
            console.print(f"{name}: {cut_points} cut points to continue", soft_wrap=True)
            close_engines()
            engine = VllmEngine(settings)
            try:
                asyncio.run(write_chunks(folder, name, left, Writer(engine, config)))
            finally:
                engine.close()


async def write_chunks(
    folder: Folder, name: str, chunks: Sequence[CutPointChunk], writer: Writer
) -> None:
    """Keep what a model writes, chunk by chunk, in its folder."""

    def keep(chunk: str, found: list[list[Row]]) -> None:
        rows = [row for some in found for row in some]
        write_rows(folder, f"{FOLDER}/{name}/{chunk}", rows, SCHEMA)

    await work(chunks, writer, keep, 2 * writer.engine.concurrency)


def _row(cut_point: CutPoint, decoding: str, number: int, **values: object) -> Row:
    blank = dict.fromkeys(("text", "tokens", "ended", "logprob", "error"))
    known = {"split": cut_point.split, "id": cut_point.id, "doc_id": cut_point.doc_id}
    return {**known, "decoding": decoding, "number": number, **blank, **values}
