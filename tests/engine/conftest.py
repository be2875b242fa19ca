"""One real vLLM for every test of a session that wants it: loading takes 10 s."""

from collections.abc import Iterator
from typing import Any

import pytest

from prewrite.engine.config import VllmConfig
from prewrite.engine.vllm_engine import VllmEngine

MODEL = "models/smollm2-135m-instruct"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever waits for the model is slow."""
    for item in items:
        if "vllm" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def vllm() -> Iterator[VllmEngine]:
    """SmolLM2-135M in float32: bfloat16 instructions trap on some virtual machines."""
    config = VllmConfig(
        kind="vllm",
        model=MODEL,
        dtype="float32",
        max_model_len=1024,
        concurrency=8,
        args={"kv_cache_memory_bytes": 1 << 27},
    )
    engine = VllmEngine(config)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def reference() -> Any:
    """The same weights in transformers."""
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32).eval()
