"""Shapes from config.json: what is read, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from prewrite.base.errors import ConfigError, EngineError
from prewrite.train.model.shape import Scaling, load_shape
from tests.train.model.cases import COMMON

LLAMA3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
LLAMA3 |= {"original_max_position_embeddings": 64}


def write(folder: Path, **settings: Any) -> str:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"} | COMMON | settings))
    return str(folder)


def test_the_quick_start_model() -> None:
    shape = load_shape("models/smollm2-135m-instruct")
    assert (shape.family, shape.layers, shape.hidden, shape.heads, shape.kv_heads) == (
        "llama",
        30,
        576,
        9,
        3,
    )
    assert (shape.vocabulary, shape.head, shape.theta, shape.scaling) == (49152, 64, 1e5, None)
    assert shape.tied and shape.bos == 1 and shape.eos == (2,)


@pytest.mark.parametrize("scaling", ["rope_scaling", "rope_parameters"])
@pytest.mark.parametrize("kind", ["type", "rope_type"])
def test_llama3_scaling_in_old_and_new_words(tmp_path: Path, scaling: str, kind: str) -> None:
    settings: dict[str, Any] = {scaling: LLAMA3 | {kind: "llama3"}}
    if scaling == "rope_scaling":
        settings["rope_theta"] = 5e5
    else:
        settings[scaling]["rope_theta"] = 5e5
    shape = load_shape(write(tmp_path, **settings))
    assert shape.theta == 5e5 and shape.scaling == Scaling(8.0, 1.0, 4.0, 64)


def test_several_eos_and_no_bos(tmp_path: Path) -> None:
    shape = load_shape(write(tmp_path, eos_token_id=[7, 5], bos_token_id=None))
    assert shape.eos == (7, 5) and shape.bos == 7


def test_qwen(tmp_path: Path) -> None:
    qwen2 = load_shape(write(tmp_path, model_type="qwen2", use_sliding_window=False))
    assert (qwen2.qkv_bias, qwen2.qk_norm, qwen2.head) == (True, False, 8)
    qwen3 = load_shape(write(tmp_path, model_type="qwen3", head_dim=16))
    assert (qwen3.qkv_bias, qwen3.qk_norm, qwen3.head) == (False, True, 16)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"model_type": "mixtral"}, "model_type: found 'mixtral'; accepted: llama, qwen2, qwen3"),
        ({"num_attention_heads": 5}, "ValueError: The hidden size (32) is not a multiple"),
        ({"rope_scaling": {"type": "llama3"}}, "Missing required keys in `rope_parameters`"),
        ({"num_key_value_heads": 3}, "num_key_value_heads: found 3; accepted: what divides 4"),
        ({"hidden_act": "gelu"}, "hidden_act: found 'gelu'; accepted: silu"),
        ({"attention_bias": True}, "attention_bias: found True; accepted: False"),
        ({"mlp_bias": True}, "mlp_bias: found True; accepted: False"),
        ({"attention_dropout": 0.1}, "attention_dropout: found 0.1; accepted: 0.0"),
        ({"eos_token_id": None}, "eos_token_id: found None; accepted: a token id, or a list"),
        (
            {"rope_scaling": {"type": "linear", "factor": 2.0}},
            "rope_type: found 'linear'; accepted: default, llama3",
        ),
        (
            {"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}},
            "partial_rotary_factor: found 0.5; accepted: 1.0",
        ),
        (
            {"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 1},
            "layer_types: found ['full_attention', 'sliding_attention']; accepted: full_attention",
        ),
    ],
)
def test_what_cannot_be_built_is_refused(
    tmp_path: Path, settings: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError) as error:
        load_shape(write(tmp_path, **settings))
    assert str(error.value).startswith(f"{tmp_path}: config.json: {sentence}")


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_no_configuration(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(EngineError, match="no config.json of a model in it"):
        load_shape(str(tmp_path))


@pytest.mark.parametrize("name", ["./none", "models/none", "not a name", "/none"])
def test_no_folder(name: str) -> None:
    with pytest.raises(EngineError, match=f"^{name}: no "):
        load_shape(name)
