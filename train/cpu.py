"""Unmodified Megatron-Core 0.16.1 on a machine without CUDA: gloo and CPU tensors.

mcore writes `torch.cuda.…` and `device="cuda"` into its code. `enable` gives mcore's modules, and
no others, a stand-in for the module `torch` in which `cuda` means the CPU; everybody else keeps the
real one. Where CUDA is present nothing is touched. Cost: one attribute look-up more for each
`torch.` in mcore.

`mend_optimizer` is needed on every machine without Transformer Engine and Apex: there
DistributedOptimizer steps torch's AdamW, but cannot save or load its state.
"""

import functools
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

# mcore imports these inside functions; they must be there when `enable` looks.
_LATE = (
    "distributed",
    "optimizer",
    "pipeline_parallel",
    "tensor_parallel.random",
    "dist_checkpointing.strategies.async_utils",
    "dist_checkpointing.strategies.filesystem_async",
    "dist_checkpointing.strategies.fully_parallel",
    "dist_checkpointing.strategies.state_dict_saver",
    "dist_checkpointing.strategies.torch",
)
# Where mcore says device="cuda".
_FACTORIES = ("tensor", "empty", "zeros", "ones", "full", "arange", "empty_like", "zeros_like")
# What mcore calls these, with a buffer and this rank's part of it: alone they are the same memory.
_OF_BUFFERS: dict[str, Callable[..., Any]] = {
    "dist_reduce_scatter_func": torch.distributed.reduce_scatter_tensor,
    "dist_all_gather_func": torch.distributed.all_gather_into_tensor,
}

_tensor_type = torch.Tensor.type


class _Overlay(ModuleType):
    """A module with some of its names replaced."""

    def __init__(self, module: ModuleType, replaced: dict[str, Any]) -> None:
        super().__init__(module.__name__)
        self.__dict__.update(replaced, _module=module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)


class _Idle:
    """A CUDA stream or event: on the CPU everything has happened when a call returns."""

    def __init__(self, *args: Any, **kwargs: Any) -> None: ...

    def __enter__(self) -> "_Idle":
        return self

    def __exit__(self, *error: object) -> None: ...

    def __getattr__(self, name: str) -> Callable[..., None]:
        return _nothing


def enable() -> bool:
    """Whether mcore now runs on the CPU; False, and nothing changed, where CUDA is present.

    May be called again, and must be when mcore modules were imported after the last call.
    """
    if torch.cuda.is_available():
        return False
    for name in _LATE:
        importlib.import_module(f"megatron.core.{name}")
    for name, module in list(sys.modules.items()):
        if name.startswith("megatron.core") and getattr(module, "torch", None) is torch:
            module.torch = _TORCH  # type: ignore[attr-defined]
    random = sys.modules["megatron.core.tensor_parallel.random"]
    # Recompute saves and restores the CPU's and the CUDA generator: here they are one.
    random._get_cuda_rng_state = _get_rng_state  # type: ignore[attr-defined]
    random._set_cuda_rng_state = _set_rng_state  # type: ignore[attr-defined]
    # The distributed optimizer's buffers are copied three times a step where nobody shares them.
    buffers = sys.modules["megatron.core.distributed.param_and_grad_buffer"]
    for name, collective in _OF_BUFFERS.items():
        setattr(buffers, name, _unless_alone(collective))
    # The optimizers and the loaders move tensors with .cuda(), which otherwise always raises here.
    torch.Tensor.cuda = _stay  # type: ignore[method-assign, assignment]
    # The optimizers sort parameters by the text 'torch.cuda.FloatTensor'.
    torch.Tensor.type = _type  # type: ignore[method-assign, assignment]
    return True


def mend_optimizer() -> None:
    """Let DistributedOptimizer over torch's AdamW save and load.

    Three faults of mcore 0.16.1, all about `step`, which AdamW keeps per parameter: a state that
    has not stepped yet cannot be described, one loaded `step` tensor is shared by all parameters
    and so counts once for each, and the copy of loaded states looks for a `step` among them.
    """
    module = importlib.import_module("megatron.core.optimizer.distrib_optimizer")
    optimizer = module.DistributedOptimizer
    if module.HAVE_APEX_OR_TE or hasattr(optimizer.state_dict, "__wrapped__"):
        return
    describe, load = optimizer.state_dict, optimizer.load_state_dict
    copy = optimizer._set_main_param_and_optimizer_states

    @functools.wraps(describe)
    def state_dict(self: Any) -> Any:
        _start_adam(self.optimizer)
        return describe(self)

    @functools.wraps(load)
    def load_state_dict(self: Any, state: Any) -> None:
        load(self, state)
        for slot in self.optimizer.state.values():
            slot["step"] = slot["step"].clone()

    @functools.wraps(copy)
    def set_states(self: Any, parameter: Any, tensors: dict[str, Any]) -> None:
        group, order = self.model_param_group_index_map[parameter]
        slot = self.optimizer.state[self.optimizer.param_groups[group]["params"][order]]
        copy(self, parameter, {**tensors, "step": slot["step"]})

    optimizer.state_dict, optimizer.load_state_dict = state_dict, load_state_dict
    optimizer._set_main_param_and_optimizer_states = set_states


def _start_adam(adam: torch.optim.Optimizer) -> None:
    for group in adam.param_groups:
        for parameter in group["params"]:
            if not adam.state[parameter]:
                adam.state[parameter] = {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }


def _nothing(*args: Any, **kwargs: Any) -> None: ...


def _unless_alone(collective: Callable[..., Any]) -> Callable[..., Any]:
    def run(*tensors: torch.Tensor, group: Any, **others: Any) -> Any:
        return collective(*tensors, group=group, **others) if group.size() > 1 else None

    return run


def _stay(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return tensor


def _get_rng_state(*args: Any, **kwargs: Any) -> torch.Tensor:
    return torch.get_rng_state()


def _set_rng_state(state: torch.Tensor, *args: Any, **kwargs: Any) -> None:
    torch.set_rng_state(state)


def _type(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    found = _tensor_type(tensor, *args, **kwargs)
    asker = sys._getframe(1).f_globals.get("__name__", "")
    if isinstance(found, str) and asker.startswith("megatron.core"):
        return found.replace("torch.", "torch.cuda.", 1)
    return found


def _on_cpu(factory: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> torch.Tensor:
        if str(kwargs.get("device")).startswith("cuda"):
            kwargs["device"] = "cpu"
        return factory(*args, **kwargs)

    return make


_CUDA = _Overlay(
    torch.cuda,
    {
        "current_device": lambda: torch.device("cpu"),
        "synchronize": _nothing,
        "empty_cache": _nothing,
        "manual_seed": torch.manual_seed,
        "get_rng_state": _get_rng_state,
        "set_rng_state": _set_rng_state,
        "Stream": _Idle,
        "Event": _Idle,
        "stream": _Idle,
        "current_stream": _Idle,
        "default_stream": _Idle,
    },
)
_TORCH = _Overlay(
    torch,
    {"cuda": _CUDA} | {name: _on_cpu(getattr(torch, name)) for name in _FACTORIES},
)
