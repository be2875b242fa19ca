"""Engines by configuration, loaded once a process and shared by its passes."""

import atexit
import os
from typing import TYPE_CHECKING, Any

from base.fingerprint import canonical
from engine.config import EndpointConfig, EngineConfig
from engine.types import Engine

if TYPE_CHECKING:
    from engine.pooling import PoolingModel

# torch reads it when it is first imported, by whichever library; its warnings about memory binding
# and missing kernels tell a user nothing.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

_engines: dict[str, Engine] = {}
_poolings: dict[str, "PoolingModel"] = {}


def get_engine(config: EngineConfig) -> Engine:
    """The engine of `config`, loaded at its first use; EngineError when it cannot be."""
    key = canonical(config.model_dump(mode="json"))
    if key not in _engines:
        _engines[key] = _load(config)
    return _engines[key]


def probe(config: EngineConfig) -> None:
    """EngineError when `config` names an endpoint or a model that is not there; loads no weights.
    So a mistake in the judge shows before the rewrites are paid for.
    """
    if isinstance(config, EndpointConfig):
        get_engine(config)
    else:
        from engine.encoding import PromptEncoder

        PromptEncoder(config.model, config.template_args, config.revision, config.trust_remote_code)


def get_pooling(model: str, revision: str | None, args: dict[str, Any]) -> "PoolingModel":
    """A classifier in vLLM, loaded at its first use; EngineError when it cannot be."""
    from engine.pooling import PoolingModel

    key = canonical([model, revision, args])
    if key not in _poolings:
        _poolings[key] = PoolingModel(model, revision, args)
    return _poolings[key]


@atexit.register
def close_engines() -> None:
    """Close every engine of this process."""
    while _engines:
        _engines.popitem()[1].close()


def _load(config: EngineConfig) -> Engine:
    # Each implementation imports a large library that the other does not need.
    if isinstance(config, EndpointConfig):
        from engine.endpoint import EndpointEngine

        return EndpointEngine(config)
    from engine.vllm_engine import VllmEngine

    return VllmEngine(config)
