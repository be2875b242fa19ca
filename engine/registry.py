"""Engines by configuration, loaded once a process and shared by its passes."""

import asyncio
import atexit
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prewrite.base.errors import EngineError
from prewrite.base.extras import require
from prewrite.base.fingerprint import canonical
from prewrite.engine.config import EndpointConfig, EngineConfig
from prewrite.engine.types import Engine

if TYPE_CHECKING:
    from prewrite.engine.pooling import PoolingModel

# torch reads it when it is first imported, by whichever library; its warnings about memory binding
# and missing kernels tell a user nothing.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
# So does transformers: that without torch it has tokenizers only, which is what is needed here.
os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")

TRIES = 3
"""How often an endpoint is asked one thing before a run: one odd answer must not refuse it."""

_engines: dict[str, Engine] = {}
_poolings: dict[str, "PoolingModel"] = {}


def get_engine(config: EngineConfig) -> Engine:
    """The engine of `config`, loaded at its first use; EngineError when it cannot be."""
    key = canonical(config.model_dump(mode="json"))
    if key not in _engines:
        _engines[key] = _load(config)
    return _engines[key]


@dataclass(frozen=True)
class First:
    """What an endpoint is asked before a run. wanted: what is asked for; ask: puts it in the
    variant of a number below `TRIES` and says why its answer cannot be used, or None.
    """

    wanted: str
    ask: Callable[[Engine, int], Awaitable[str | None]]


def probe(config: EngineConfig, first: Sequence[First] = (), verdicts: Iterable[str] = ()) -> None:
    """EngineError when `config` names an endpoint or a model that is not there, or one that cannot
    do what a run will ask of it; loads no weights. So a mistake in the judge shows before the
    rewrites are paid for. Only an endpoint is asked: of a model here the form of answers is known.
    """
    if isinstance(config, EndpointConfig):
        engine = get_engine(config)
        engine.check_verdicts(verdicts)
        asyncio.run(_ask_first(config, engine, first))
    else:
        from prewrite.engine.encoding import PromptEncoder

        trusted = config.trust_remote_code
        encoder = PromptEncoder(config.model, config.template_args, config.revision, trusted)
        encoder.verdict_ids(verdicts)


async def _ask_first(config: EndpointConfig, engine: Engine, first: Sequence[First]) -> None:
    for one in first:
        for number in range(TRIES):
            reason = await one.ask(engine, number)
            if reason is None:
                break
        else:
            raise EngineError(
                f"the endpoint of {config.model}: asked for {one.wanted} {TRIES} times before the "
                f"run; found {reason}; accepted: an answer that can be read as one"
            )


def get_pooling(model: str, revision: str | None, args: dict[str, Any]) -> "PoolingModel":
    """A classifier in vLLM, loaded at its first use; EngineError when it cannot be."""
    require("vllm")
    from prewrite.engine.pooling import PoolingModel

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
        from prewrite.engine.endpoint import EndpointEngine

        return EndpointEngine(config)
    require("vllm")
    from prewrite.engine.vllm_engine import VllmEngine

    return VllmEngine(config)
