"""The quick-start model that `make test` converted: its parts fit, and converting is repeatable."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGUFReader, dequantize
from safetensors import safe_open
from transformers import AutoModelForCausalLM, AutoTokenizer

from scripts.quickstart_model import (
    FILES,
    build_config,
    convert,
    find_gguf,
    hf_name,
    unpermute,
    write_model,
)

MODEL = Path("models/smollm2-135m-instruct")


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    return dict(json.loads((MODEL / "config.json").read_text()))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(MODEL)


def shapes() -> dict[str, tuple[int, ...]]:
    with safe_open(MODEL / "model.safetensors", "pt") as weights:
        return {name: tuple(weights.get_slice(name).get_shape()) for name in weights.keys()}  # noqa: SIM118


def test_tensors_have_the_names_and_shapes_of_a_tied_llama(config: dict[str, Any]) -> None:
    width, inner, kv = 576, 1536, 192
    layer = {
        "self_attn.q_proj": (width, width),
        "self_attn.k_proj": (kv, width),
        "self_attn.v_proj": (kv, width),
        "self_attn.o_proj": (width, width),
        "mlp.gate_proj": (inner, width),
        "mlp.up_proj": (inner, width),
        "mlp.down_proj": (width, inner),
        "input_layernorm": (width,),
        "post_attention_layernorm": (width,),
    }
    expected: dict[str, tuple[int, ...]] = {
        f"model.layers.{number}.{name}.weight": shape
        for number in range(30)
        for name, shape in layer.items()
    }
    expected |= {"model.embed_tokens.weight": (49152, width), "model.norm.weight": (width,)}
    assert shapes() == expected
    assert config["tie_word_embeddings"] is True


def test_values_are_those_of_the_file() -> None:
    """A value tensor is copied; a query's rows 0 and 1 stand half a head (32 rows) apart."""
    tensors = {tensor.name: tensor for tensor in GGUFReader(find_gguf()).tensors}
    with safe_open(MODEL / "model.safetensors", "pt") as weights:
        for part in ("attn_v", "attn_q"):
            name = f"blk.7.{part}.weight"
            raw = dequantize(tensors[name].data, tensors[name].tensor_type)
            source = torch.tensor(raw).to(torch.bfloat16)
            ours = weights.get_tensor(hf_name(name))
            assert torch.equal(ours[0], source[0])
            assert torch.equal(ours[1 if part == "attn_v" else 32], source[1])


def test_unpermute_moves_pairs_to_halves() -> None:
    rows = torch.arange(8.0).reshape(8, 1)
    assert unpermute(rows, heads=2).flatten().tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_an_output_matrix_unties_the_embeddings() -> None:
    meta = {f"tokenizer.ggml.{name}_token_id": 0 for name in ("bos", "eos", "padding")}
    attention = ("head_count", "head_count_kv", "layer_norm_rms_epsilon")
    meta |= {f"llama.attention.{name}": 1 for name in attention}
    sizes = ("embedding_length", "feed_forward_length", "block_count", "context_length")
    meta |= {f"llama.{name}": 1 for name in (*sizes, "vocab_size", "rope.freq_base")}
    assert build_config(meta, tied=False)["tie_word_embeddings"] is False


@pytest.mark.parametrize("token", ["<|im_start|>", "<|im_end|>", "<|endoftext|>"])
def test_special_tokens_are_single_ids(tokenizer: Any, token: str) -> None:
    (number,) = tokenizer.encode(token)
    assert number in tokenizer.all_special_ids


def test_generation_stops_at_the_end_of_a_turn(tokenizer: Any, config: dict[str, Any]) -> None:
    generation = json.loads((MODEL / "generation_config.json").read_text())
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert tokenizer.eos_token == "<|im_end|>"
    assert config["eos_token_id"] == generation["eos_token_id"] == end


def test_tokenizer_splits_digits_and_returns_every_character(tokenizer: Any) -> None:
    text = "In  2024,\n\n 7 naïve 漢字 🙂\r\n\t\u200b\x00x"
    tokens = tokenizer.convert_ids_to_tokens(tokenizer.encode(text))
    assert tokenizer.decode(tokenizer.encode(text)) == text
    assert not [token for token in tokens if len(token) > 1 and any(map(str.isdigit, token))]


def test_answers_in_words_through_the_chat_template(tokenizer: Any) -> None:
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(
        question, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    output = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "capital of France is Paris" in tokenizer.decode(output[0], skip_special_tokens=True)


def test_converting_again_gives_the_same_bytes(tmp_path: Path) -> None:
    write_model(find_gguf(), tmp_path)
    for file in tmp_path.iterdir():
        assert file.read_bytes() == (MODEL / file.name).read_bytes(), file.name


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    assert {path.name for path in MODEL.iterdir()} <= FILES
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"found notes\.txt; accepted: a folder with"):
        convert(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "notes.txt"]
