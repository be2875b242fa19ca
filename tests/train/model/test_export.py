"""Exported folders: whole, complete, and loaded by those who will use them."""

import asyncio
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from prewrite.engine.config import VllmConfig
from prewrite.engine.encoding import PromptEncoder
from prewrite.engine.types import Prompt, Request, Sample, Sampling
from prewrite.train.config.sections import ModelConfig, ParallelConfig
from tests.train.launch import launch, started
from tests.train.model.cases import make

QUICKSTART = Path("models/smollm2-135m-instruct")
TOKENS = [3, 250, 9, 41, 8, 5, 17, 2]


def export_all(case: Path, target: Path) -> dict[str, list[str]]:
    """Export over an older folder, in half precision, in small files; what lies in the folders."""
    from prewrite.train.model import export
    from prewrite.train.model.build import build
    from prewrite.train.model.shape import load_shape
    from prewrite.train.output import Output

    output = Output(target, target)
    with started(ParallelConfig()):
        shape = load_shape(str(case))
        model = build(shape, ModelConfig(path="unused"), ParallelConfig(), seed=0)
        (target / "one").mkdir()
        for name in ("older", "model-00002-of-00002.safetensors"):
            (target / "one" / name).touch()
        export.export(model, shape, output, "one")
        half = build(shape, ModelConfig(path="unused", dtype="bfloat16"), ParallelConfig(), seed=0)
        export.export(half, shape, output, "half")
        export.FILE_BYTES = 40_000
        export.export(model, shape, output, "many/model")
    return {path.name: sorted(p.name for p in path.iterdir()) for path in target.iterdir()}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the quick-start tokenizer."""
    folder = tmp_path_factory.mktemp("source")
    make(folder, "qwen3", vocab_size=49152)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(QUICKSTART / file, folder / file)
    return folder


@pytest.fixture(scope="module")
def exported(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`one` folder of one file, `many/model` of several, one of `half` precision."""
    target = tmp_path_factory.mktemp("target")
    (found,) = launch(export_all, 1, source, target)
    assert found["one"] == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "older",  # not of an export
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert found["many"] == ["model"] and len(found) == 3  # nothing temporary is left
    return target


def logits(folder: Path, tokens: Sequence[int] = TOKENS) -> torch.Tensor:
    """By transformers, [tokens, vocabulary]."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        found: torch.Tensor = model(torch.tensor([list(tokens)])).logits[0]
    return found


def test_transformers_loads_what_it_wrote(source: Path, exported: Path) -> None:
    expected = logits(source)
    assert torch.equal(logits(exported / "one"), expected)
    assert torch.equal(logits(exported / "many" / "model"), expected)
    files = sorted((exported / "many" / "model").glob("*.safetensors"))
    assert len(files) > 2 and files[0].name == f"model-00001-of-{len(files):05}.safetensors"
    modes = {file.stat().st_mode for file in (exported / "many" / "model").iterdir()}
    assert len(modes) == 1  # whoever reads one file reads all
    assert sum(file.stat().st_size > 45_000 for file in files) == 2  # embedding, output layer


def test_the_precision_is_told(exported: Path) -> None:
    half = AutoModelForCausalLM.from_pretrained(exported / "half")
    assert half.dtype == torch.bfloat16
    whole = load_file(exported / "one" / "model.safetensors")
    stored = load_file(exported / "half" / "model.safetensors")
    assert all(torch.equal(stored[name], whole[name].bfloat16()) for name in whole)


def greedy(folder: Path) -> tuple[list[int], Sample]:
    """A prompt and what vLLM answers, in a process where nothing else has set up torch."""
    from prewrite.engine.vllm_engine import VllmEngine

    config = VllmConfig(
        kind="vllm",
        model=str(folder),
        dtype="float32",
        max_model_len=128,
        args={"kv_cache_memory_bytes": 1 << 24},
    )
    engine = VllmEngine(config)
    prompt = Prompt(("Why?",))
    request = Request(prompt, Sampling(temperature=0.0, max_tokens=6, logprobs=True))
    answer = asyncio.run(engine.complete(request))
    engine.close()
    return PromptEncoder(str(folder), {}).encode(prompt), answer.samples[0]


@pytest.mark.slow
def test_vllm_loads_it(source: Path, exported: Path) -> None:
    ((prompt, sample),) = launch(greedy, 1, exported / "one")
    told = torch.log_softmax(logits(source, [*prompt, *sample.token_ids]), -1)[len(prompt) - 1 : -1]
    assert len(sample.token_ids) == 6
    assert sample.token_ids == tuple(told.argmax(-1).tolist())
    assert sample.logprobs == pytest.approx(told.max(-1).values.tolist(), abs=1e-3)
