"""Rollouts of the worker against vLLM alone, and what new weights cost.

SmolLM2-135M in float32. The prompts are cuts of the sample corpus, all cuts of a document together,
four rollouts of 32 tokens each; every round has documents of its own, so that nothing is cached
from the round before. Worker and `vllm.LLM.generate` take turns on the same prompts, with the same
settings, each in a process of its own; the worker also scores each pool (`variety`), stores it, and
hands it over. New weights go from a Megatron model to the worker as in a run.
"""

import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import TypeAdapter

from prewrite.engine.config import EngineConfig
from prewrite.judge.pool import Pool
from prewrite.train.config.sections import ParallelConfig, TrainConfig
from prewrite.train.messages import RolloutPrompt, RolloutRequest, WeightSync

MODEL = Path("models/smollm2-135m-instruct")
SAMPLES, TOKENS, STRIDE, ROUNDS = 4, 32, 64, 3
LONGEST = 512  # tokens of a prompt
ARGS = {"kv_cache_memory_bytes": 1 << 28}
_ENGINES: TypeAdapter[dict[str, EngineConfig]] = TypeAdapter(dict[str, EngineConfig])


def _documents() -> Iterator[list[int]]:
    """Token ids of the sample corpus, document by document."""
    from prewrite.engine.tokenizer import load_tokenizer

    tokenizer = load_tokenizer(str(MODEL))
    for path in sorted(Path("configs/sample").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            ids = tokenizer.encode(json.loads(line)["text"]).ids
            if len(ids) >= 4 * STRIDE:
                yield ids[:LONGEST]


def _rounds() -> list[tuple[RolloutPrompt, ...]]:
    """The prompts of each round."""
    documents = list(_documents())
    each = max(1, min(6, len(documents) // (ROUNDS + 1)))
    return [
        tuple(
            RolloutPrompt(n, tuple(ids[:cut]), 1000 * n + cut, Pool(f"{n}-{cut}", (), "", {}))
            for n, ids in enumerate(documents[first : first + each], first)
            for cut in range(STRIDE, len(ids), STRIDE)
        )
        for first in range(0, (ROUNDS + 1) * each, each)
    ]


def _engines(model: Path, **args: Any) -> dict[str, EngineConfig]:
    policy = {"kind": "vllm", "model": str(model), "dtype": "float32", "max_model_len": 1024}
    policy |= {"concurrency": 64, "args": ARGS | args}
    return _ENGINES.validate_python({"policy": policy})


def _config(model: Path, output: str) -> TrainConfig:
    rollouts = {
        "engine": "policy",
        "judge": {"engine": "policy", "criteria": ["variety"]},
        "samples": SAMPLES,
        "tokens": TOKENS,
    }
    return TrainConfig.model_validate(
        {
            "data": [{"set": "unused"}],
            "output": output,
            "model": {"path": str(model), "init": "scratch"},
            "optimizer": {"warmup_steps": 0},
            "curriculum": [{"name": "any", "objective": "nll", "until": {"step": 1}}],
            "rollouts": rollouts,
        }
    )


def _alone(line: Connection, end: int) -> None:
    """A process with vLLM and nothing else: seconds for each list of (prompt, seed) it is sent."""
    from prewrite.engine.vllm_engine import load

    common: dict[str, Any] = {"max_model_len": 1024, "max_num_seqs": 64, "dtype": "float32"}
    common |= {"distributed_executor_backend": "uni", "enforce_eager": True, "block_size": 32}
    common |= {"enable_chunked_prefill": False, "max_num_batched_tokens": 4096}
    llm = load({"model": str(MODEL), "enable_prefix_caching": True, **common, **ARGS})
    from vllm import SamplingParams

    line.send("ready")
    while (asked := line.recv()) is not None:
        parameters = [
            SamplingParams(
                n=SAMPLES, seed=seed, max_tokens=TOKENS, logprobs=0, ignore_eos=True,
                stop_token_ids=[end],
            )
            for _, seed in asked
        ]  # fmt: skip
        prompts = [{"prompt_token_ids": list(prompt)} for prompt, _ in asked]
        begun = time.monotonic()
        llm.generate(prompts, parameters, use_tqdm=False)
        line.send(time.monotonic() - begun)


class _Trainer:
    """A model of Megatron's in this process, and a worker for it."""

    def __init__(self, folder: Path, model: Path, **args: Any) -> None:
        from prewrite.train.model.build import build
        from prewrite.train.model.shape import load_shape
        from prewrite.train.online.client import WorkerClient

        config = _config(model, str(folder))
        self.shape, self.folder, self.version = load_shape(str(model)), folder / "weights", 0
        self.model = build(self.shape, config.model, config.parallel, config.seed)
        engines = _engines(model, **args)
        self.client = WorkerClient(config, engines, self.shape.eos[0], folder / "store", 0)

    def sync(self) -> dict[str, float]:
        """Seconds of writing weights, of the trainer's proof, and of loading and proving."""
        from prewrite.train.online.weights import probe_logprobs, publish

        self.version += 1
        folder, tokens = self.folder / str(self.version), tuple(range(100, 164))
        begun = time.monotonic()
        publish(self.model, self.shape, folder)
        written = time.monotonic()
        logprobs = probe_logprobs(self.model, tokens)
        proved = time.monotonic()
        self.client.send(WeightSync(self.version, str(folder), tokens, logprobs))
        loaded = self.client.synced(self.version).seconds
        return {"publish": written - begun, "trainer": proved - written, "load": loaded}

    def ask(self, number: int, prompts: Sequence[RolloutPrompt]) -> tuple[float, dict[str, float]]:
        """Seconds until the groups are there, and what the worker says."""
        begun = time.monotonic()
        self.client.send(RolloutRequest(number, self.version, tuple(prompts), SAMPLES, keep=True))
        answer = self.client.answer(number)
        return time.monotonic() - begun, answer.values


def _cut_model(folder: Path, layers: int) -> Path:
    """The quick-start model's shape with fewer layers; weights are the trainer's."""
    folder.mkdir()
    config = json.loads((MODEL / "config.json").read_text()) | {"num_hidden_layers": layers}
    (folder / "config.json").write_text(json.dumps(config))
    for file in MODEL.glob("*token*"):
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def _speed(trainer: _Trainer, line: Connection) -> dict[str, Any]:
    """Rollouts a second, round by round; the first one warms both up."""
    ours, theirs, values = list[float](), list[float](), dict[str, float]()
    for number, prompts in enumerate(_rounds()):
        rollouts = SAMPLES * len(prompts)
        seconds, values = trainer.ask(number, prompts)
        line.send([(prompt.tokens, prompt.seed) for prompt in prompts])
        alone = line.recv()
        if number:
            ours.append(round(rollouts / seconds, 2))
            theirs.append(round(rollouts / alone, 2))
    ratios = [round(a / b, 3) for a, b in zip(ours, theirs, strict=True)]
    median = statistics.median(ratios)
    prefill = values["rollout_prompt_tokens"] - values["rollout_cached_tokens"]
    return {
        "worker": ours, "vllm": theirs, "ratios": ratios, "median_ratio": median,
        "prompt_tokens": values["rollout_prompt_tokens"], "prefill_tokens": prefill,
    }  # fmt: skip


def main(output: str) -> None:
    """Measure, and write the figures as JSON."""
    from prewrite.train import parallel
    from prewrite.train.model.weights import parameters

    context = get_context("spawn")
    result: dict[str, Any] = {"samples": SAMPLES, "tokens": TOKENS, "stride": STRIDE, "sync": []}
    with TemporaryDirectory() as name, parallel.processes(ParallelConfig(), 0):
        folder = Path(name)
        ours, theirs = context.Pipe()
        whole = _Trainer(folder / "whole", MODEL)
        alone = context.Process(target=_alone, args=(theirs, whole.shape.eos[0]), daemon=True)
        alone.start()
        ours.recv()
        whole.sync()
        result["speed"] = _speed(whole, ours)
        ours.send(None)
        alone.join()
        small = _Trainer(folder / "small", _cut_model(folder / "model", 2))
        for trainer in (small, whole):
            trainer.sync()
            syncs = [trainer.sync() for _ in range(3)]
            seconds = {k: round(statistics.median(s[k] for s in syncs), 3) for k in syncs[0]}
            result["sync"].append({"parameters": parameters(trainer.shape), **seconds})
            trainer.client.close()
    Path(output).write_text(json.dumps(result))


if __name__ == "__main__":
    main(sys.argv[1])
