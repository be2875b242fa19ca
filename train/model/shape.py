"""The shape of a Llama-like model, read from the `config.json` of Hugging Face.

Llama 2 and 3 and what shares their type (SmolLM2), Qwen2 and Qwen3. Guarantee: a model that would
not compute the same here is refused with one sentence, before a weight is read.
"""

import json
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

from prewrite.base.errors import ConfigError, EngineError
from prewrite.engine.digest import content_digest
from prewrite.engine.tokenizer import begin_of

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
}
# What the model built here does, whatever a config says; absent keys are the default.
_FIXED = {
    "hidden_act": "silu",
    "attention_bias": False,
    "mlp_bias": False,
    "attention_dropout": 0.0,
}
_SIZES = (
    "vocab_size",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "max_position_embeddings",
    "rms_norm_eps",
)
_SCALING = (
    "factor",
    "low_freq_factor",
    "high_freq_factor",
    "original_max_position_embeddings",
)
_QUANTISED = ("quantization_config", "compression_config")
_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]


@dataclass(frozen=True)
class Scaling:
    """RoPE of Llama 3.1: waves longer than the `original` context are slowed by `factor`."""

    factor: float
    low: float
    high: float
    original: int


@dataclass(frozen=True)
class ModelShape:
    """Everything about a model but its weights.

    folder: where it was read. family: its `model_type`. heads and kv_heads: of queries, and of keys
    and values. positions: longest sequence it was made for. tied: the output layer is the
    embedding. std: standard deviation of random weights. bos: what a document starts with, EOS
    where the model has no BOS. eos: all that end a text, the usual one first.
    """

    folder: Path
    family: str
    vocabulary: int
    hidden: int
    feed_forward: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    positions: int
    epsilon: float
    theta: float
    scaling: Scaling | None
    tied: bool
    std: float
    bos: int
    eos: tuple[int, ...]

    @property
    def qkv_bias(self) -> bool:
        """Whether queries, keys and values have a bias."""
        return self.family == "qwen2"

    @property
    def qk_norm(self) -> bool:
        """Whether each head's query and key are normalised."""
        return self.family == "qwen3"


def base_digest(shape: ModelShape) -> str:
    """Of all bytes of the files that tokens, a `frozen` reference and the model that is built
    depend on; `engine.digest` says what it costs.
    """
    names = ("config.json", "tokenizer.json", "*.safetensors", "*.safetensors.index.json")
    return content_digest(shape.folder, names)


def load_shape(name: str, revision: str | None = None) -> ModelShape:
    """The shape of the model in the folder or with the Hugging Face id `name`.

    An id is downloaded, weights included. EngineError where nothing is found, ConfigError where
    what is found cannot be built.
    """
    folder = _folder(name, revision)
    raw = _raw(name, folder)
    family = _family(name, raw)
    config = _read(name, folder)
    _check(name, config)
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    theta, scaling = _rope(name, config)
    bos, eos = _ends(name, config)
    return ModelShape(
        folder=folder,
        family=family,
        vocabulary=config.vocab_size,
        hidden=config.hidden_size,
        feed_forward=config.intermediate_size,
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=kv_heads,
        head=getattr(config, "head_dim", None) or config.hidden_size // heads,
        positions=config.max_position_embeddings,
        epsilon=config.rms_norm_eps,
        theta=theta,
        scaling=scaling,
        tied=config.tie_word_embeddings,
        std=config.initializer_range,
        bos=bos,
        eos=eos,
    )


def _raw(name: str, folder: Path) -> dict[str, Any]:
    try:
        file = folder / "config.json"
        raw = json.loads(file.read_bytes()) if file.is_file() else None
    except (ValueError, RecursionError):
        raw = None
    if not isinstance(raw, dict):
        raise EngineError(f"{name}: no config.json of a model in it")
    return raw


def _family(name: str, raw: dict[str, Any]) -> str:
    """ConfigError for another family, or one of these that does not compute as its own does."""
    family = raw.get("model_type")
    if family not in ARCHITECTURES:
        raise _refused(name, "model_type", family, ", ".join(ARCHITECTURES))
    own = [ARCHITECTURES[family]]
    if raw.get("architectures") not in (None, [], own):
        raise _refused(name, "architectures", raw["architectures"], own)
    for key in _QUANTISED:
        if found := raw.get(key):
            method = found.get("quant_method", found) if isinstance(found, dict) else found
            raise _refused(name, key, f"quant_method {method}", "no such key, plain weights")
    return str(family)


def _check(name: str, config: Any) -> None:
    """ConfigError for what the model that is built here would compute otherwise."""
    for key, accepted in _FIXED.items():
        if getattr(config, key, accepted) != accepted:
            raise _refused(name, key, getattr(config, key), accepted)
    if set(getattr(config, "layer_types", None) or ()) - {"full_attention"}:
        raise _refused(name, "layer_types", config.layer_types, "full_attention in every layer")
    for key in _SIZES:
        _refuse_nothing(name, key, getattr(config, key))
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    if heads % kv_heads:
        raise _refused(name, "num_key_value_heads", kv_heads, f"what divides {heads} heads")


def _folder(name: str, revision: str | None) -> Path:
    path = Path(name)
    if path.is_dir():
        return path
    # What looks like a path is none of the hub's ids: asking there takes a minute.
    if name.startswith((".", "/", "~")) or (path.parent != Path() and path.parent.is_dir()):
        raise EngineError(f"{name}: no such folder")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=_FILES))
    except (LocalEntryNotFoundError, HfHubHTTPError, ValueError) as error:
        text = str(error).splitlines()[0]
        raise EngineError(f"{name}: no folder, and no model to download: {text}") from None


def _read(name: str, folder: Path) -> Any:
    """The configuration as transformers understands it, with the defaults of its family."""
    # Slow imports (2 s).
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(folder)
    except (
        StrictDataclassError,
        ArithmeticError,
        KeyError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        text = str(error).splitlines()[-1].strip(' "')
        raise ConfigError(f"{name}: config.json: {text}") from None


def _rope(name: str, config: Any) -> tuple[float, Scaling | None]:
    """Base and scaling; transformers 5 turns the old `rope_theta`, `rope_scaling` into these."""
    rope = config.rope_parameters
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        raise _refused(name, "partial_rotary_factor", rope["partial_rotary_factor"], 1.0)
    for key in ("rope_theta", *_SCALING):
        if key in rope:
            _refuse_nothing(name, key, rope[key])
    if rope["rope_type"] == "default":
        return float(rope["rope_theta"]), None
    if rope["rope_type"] != "llama3":
        raise _refused(name, "rope_type", rope["rope_type"], "default, llama3")
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    if high <= low:
        raise _refused(name, "high_freq_factor", high, f"more than low_freq_factor, {low}")
    return float(rope["rope_theta"]), Scaling(*(rope[key] for key in _SCALING))


def _ends(name: str, config: Any) -> tuple[int, tuple[int, ...]]:
    found = config.eos_token_id
    eos = tuple(found) if isinstance(found, list) else (found,)
    if not eos or None in eos:
        raise _refused(name, "eos_token_id", found, "a token id, or a list of them")
    begin = begin_of(config.bos_token_id, eos)
    return eos[0] if begin is None else begin, eos


def _refuse_nothing(name: str, key: str, found: object) -> None:
    if not isinstance(found, int | float) or not 0 < found < inf:
        raise _refused(name, key, found, "a number above 0")


def _refused(name: str, key: str, found: object, accepted: object) -> ConfigError:
    return ConfigError(f"{name}: config.json: {key}: found {found!r}; accepted: {accepted}")
