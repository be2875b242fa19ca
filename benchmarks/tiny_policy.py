"""A tiny policy and a scored set, made out of the sample corpus by the commands that a user has.

SmolLM2-135M rewrites six of its nine documents, and on them a llama of four layers, with a
tokenizer of its own, learns from random weights by next-token loss; the last document of each file
is held out. What scores is a function (`benchmarks.known_words` times the shipped `variety`), so
that a run takes seconds a step: on two cores SmolLM2's likelihood takes most of them.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

MODEL = "models/smollm2-135m-instruct"
SAMPLE = Path("configs/sample")
VOCABULARY, CHUNK, CONTEXT = 2048, 64, 128  # tokens of the policy
STEPS, RATE = 80, 3e-3
ROLLOUTS = {"samples": 8, "tokens": 48}
JUDGE = {
    "engine": "judge",
    "criteria": ["benchmarks/known_words.yaml", "variety"],
    "combine": "product",
}
SHAPE = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
END = "<|endoftext|>"


def prepare(folder: Path) -> None:
    """A scored set of six documents, and the policy as it is before the phases."""
    _start(folder / "start", [text for text, _ in documents()["train"]])
    _scored_set(folder)
    _policy(folder)


def _scored_set(folder: Path) -> None:
    texts = [{"text": text, "source": name} for text, name in documents()["train"]]
    lines = [json.dumps(record) + "\n" for record in texts]
    (folder / "train.jsonl").write_text("".join(lines), encoding="utf-8")
    command(
        "rewrite",
        folder,
        {},
        input={"paths": [str(folder / "train.jsonl")]},
        chunking={"tokenizer": str(folder / "start"), "tokens": CHUNK},
        rewrite={"engine": "judge"},
        judge=JUDGE,
        run={"rows_per_part": 32},
    )


def _policy(folder: Path) -> None:
    """Stopped where it writes words and knows few texts by heart: those it would only repeat."""
    phase = {"name": "base", "objective": "nll", "until": {"step": STEPS}}
    base = train_section(folder, "base", [phase], 0, RATE)
    base["model"] = {"path": str(folder / "start"), "init": "scratch"}
    base["optimizer"] |= {"schedule": "cosine", "warmup_steps": 20}
    del base["rollouts"]
    command("train", folder, base)


def train_section(
    folder: Path, name: str, curriculum: list[dict[str, Any]], seed: int, rate: float
) -> dict[str, Any]:
    """The section `train` of a run that goes to `folder / name`."""
    return {
        "data": [{"set": str(folder / "set")}],
        "output": str(folder / name),
        "model": {"path": str(folder / "base/model")},
        "seed": seed,
        "batch": {"samples": 8, "row_tokens": 640, "max_seq_len": 256, "context_tokens": CONTEXT},
        "optimizer": {"lr": rate, "schedule": "constant", "warmup_steps": 2},
        "curriculum": curriculum,
        "rollouts": {"engine": "policy", "judge": JUDGE, "tolerance": 1e-3, **ROLLOUTS},
        "checkpoint": {"every": 1000},
    }


def command(name: str, folder: Path, train: dict[str, Any], **sections: Any) -> None:
    """`python -m NAME` on a recipe; ends the benchmark where it fails."""
    recipe = folder / f"{name}.yaml"
    parts = {"output": str(folder / "set"), "engines": engines(folder), **sections}
    recipe.write_text(yaml.safe_dump(parts | ({"train": train} if train else {})), encoding="utf-8")
    subprocess.run([sys.executable, "-m", name, "--config", str(recipe)], check=True)


def engines(folder: Path) -> dict[str, Any]:
    """The policy, and SmolLM2, which rewrites and judges."""
    one = {"kind": "vllm", "dtype": "float32", "concurrency": 64}
    sizes = {"policy": (str(folder / "base/model"), 512, 2**26), "judge": (MODEL, 2048, 2**28)}
    return {
        name: one
        | {"model": model, "max_model_len": longest, "args": {"kv_cache_memory_bytes": size}}
        for name, (model, longest, size) in sizes.items()
    }


def documents() -> dict[str, list[tuple[str, str]]]:
    """(text, file); the last of each file is held out."""
    split: dict[str, list[tuple[str, str]]] = {"train": [], "held": []}
    for file in sorted(SAMPLE.glob("*.jsonl")):
        lines = file.read_text(encoding="utf-8").splitlines()
        texts = [(json.loads(line)["text"], file.stem) for line in lines]
        split["train"] += texts[:-1]
        split["held"] += texts[-1:]
    return split


def _start(folder: Path, texts: Sequence[str]) -> None:
    """A byte-level tokenizer of `texts`, and the policy's shape."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import AutoConfig, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=[END],
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END
    ).save_pretrained(folder)
    config = AutoConfig.for_model(
        "llama", vocab_size=VOCABULARY, architectures=["LlamaForCausalLM"], **SHAPE
    )
    config.save_pretrained(folder)


def metrics(run: Path) -> list[dict[str, Any]]:
    """Every step of a run."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]
