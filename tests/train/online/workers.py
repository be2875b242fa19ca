"""What tests of the rollout worker share: a tiny policy, its configuration, and places."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from prewrite.engine.config import EngineConfig
from prewrite.judge.pool import Pool
from prewrite.train.config.sections import TrainConfig
from prewrite.train.messages import RolloutPrompt
from prewrite.train.online.client import WorkerClient
from tests.train.small import make_model, settings

EOS = 2
PROOF = (1, 345, 999, 12, 44, 8000, 71, 5, 90)
_ENGINES: TypeAdapter[dict[str, EngineConfig]] = TypeAdapter(dict[str, EngineConfig])


def make_policy(folder: Path, **changed: Any) -> None:
    """A tiny llama whose texts do end. vLLM's attention on CPU takes heads of 32 and more."""
    import torch
    from safetensors.torch import load_file, save_file

    make_model(folder, head_dim=32, **changed)
    weights = load_file(folder / "model.safetensors")
    with torch.no_grad():
        weights["model.embed_tokens.weight"][EOS] *= 15
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def engines(model: Path) -> dict[str, EngineConfig]:
    """The `policy`, and the same model with its first weights as `judge`."""
    one = {
        "kind": "vllm",
        "model": str(model),
        "dtype": "float32",
        "max_model_len": 64,
        "concurrency": 16,
        "args": {"kv_cache_memory_bytes": 1 << 24},
    }
    return _ENGINES.validate_python({"policy": one, "judge": one})


def config(folder: Path, **changed: Any) -> TrainConfig:
    """The section `train` of a run in `folder` with rollouts of 12 tokens."""
    rollouts = {
        "engine": "policy",
        "judge": {"engine": "judge", "criteria": ["variety", "likelihood"]},
        "samples": 4,
        "tokens": 12,
        **changed,
    }
    batch = {"samples": 4, "sequence_tokens": 128, "max_seq_len": 64, "context_tokens": 16}
    return TrainConfig.model_validate(settings(folder, batch=batch, rollouts=rollouts))


@contextmanager
def worker(
    config: TrainConfig, engines: dict[str, EngineConfig], store: Path | None = None
) -> Iterator[WorkerClient]:
    """A worker of rank 0, which is gone at the end."""
    client = WorkerClient(config, engines, EOS, store, 0)
    try:
        yield client
    finally:
        client.close()


def prompt(sample: int, tokens: Sequence[int], row: str = "row", **others: Any) -> RolloutPrompt:
    """A place with two stored texts."""
    stored = {"original": " the fox runs over seven hills", "rewrite": " the fox rests at home"}
    pool = Pool(row, ("One day",), stored["original"], stored, **others)
    return RolloutPrompt(sample, tuple(tokens), 1000 + sample, pool)
