"""Tiny random models of every family, and what Hugging Face computes with them.

A case is a folder: the model, and `expected.pt` with inputs, logits, losses and gradients. Rows of
trees are computed run by run there, each with its own copy of its prefix. Norms, biases and
attention are made strong, so that a wrong one shows.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tests.train.model.layouts import Sizes, lay_out

TREES = [
    ([Sizes(12, ((0, 3), (5, 4), (5, 4), (11, 5))), Sizes(5, ((4, 3),))], 4),
    ([Sizes(17, ((3, 6), (16, 2))), Sizes(9)], 2),
]
"""Two rows of unlike length, both even, as two tensor parallel ranks need."""

_SCALED = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 24,
}
_OLD = {key: value for key, value in _SCALED.items() if key != "rope_theta"}
CASES: dict[str, dict[str, Any]] = {
    "llama2": {"model_type": "llama", "vocab_size": 300},
    "llama3": {"model_type": "llama", "vocab_size": 257, "rope_parameters": _SCALED},
    "llama3-old": {
        "model_type": "llama",
        "vocab_size": 256,
        "rope_theta": 500.0,
        "rope_scaling": _OLD,
    },
    "smollm2": {"model_type": "llama", "vocab_size": 320, "tie_word_embeddings": True},
    "qwen2": {"model_type": "qwen2", "vocab_size": 512, "tie_word_embeddings": True},
    # One of two tensor parallel ranks has nothing but padding of the vocabulary.
    "qwen3": {"model_type": "qwen3", "vocab_size": 100, "head_dim": 32},
}
COMMON = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.15,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def make(folder: Path, name: str, **others: Any) -> None:
    """The case `name`, in `folder`, with `others` of its settings changed."""
    from transformers import AutoConfig, AutoModelForCausalLM

    settings = COMMON | CASES[name] | others
    torch.manual_seed(len(name))
    config = AutoConfig.for_model(**settings)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith(("norm.weight", ".bias")):
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
            elif "q_proj" in key or "k_proj" in key:
                parameter.mul_(3)
    model.save_pretrained(folder)
    if name == "llama3-old":  # as transformers 4 wrote it
        config = (folder / "config.json").read_text().replace("rope_parameters", "rope_scaling")
        config = config.replace('"rope_theta": 500.0,', "", 1)
        (folder / "config.json").write_text(config.replace("{", '{"rope_theta": 500.0,', 1))
    rows = [_row(model, settings["vocab_size"], *trees) for trees in TREES]
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    torch.save({"rows": rows, "gradients": gradients}, folder / "expected.pt")


def _row(model: Any, vocabulary: int, trees: list[Sizes], padding: int) -> dict[str, Tensor]:
    """Inputs of a row and what comes out; the gradients stay in the model."""
    layout, runs = lay_out(trees, padding)
    size = len(layout)
    tokens, labels = torch.randint(vocabulary, (2, size))
    weights = torch.rand(size) * (layout[:, 0] >= 0)
    logits = torch.zeros(size, vocabulary)
    for run in runs:
        prefix = tokens[run.trunk : run.trunk + run.root]
        whole = torch.cat([prefix, tokens[run.start : run.end]])
        logits[run.start : run.end] = model(whole[None]).logits[0, run.root :]
    nll = cross_entropy(logits, labels, reduction="none")
    torch.autograd.backward((nll * weights).sum())
    return {
        "tokens": tokens[None],
        "positions": layout[None, :, 2].long(),
        "layout": layout[None],
        "labels": labels[None],
        "weights": weights,
        "logits": logits.detach(),
        "plain": model(tokens[None]).logits[0].detach(),
        "nll": nll.detach(),
    }
