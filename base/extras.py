"""Which extra of the package brings a library, and the sentence for one that is not installed."""

import importlib.util
from collections.abc import Iterator
from traceback import walk_tb
from types import TracebackType

from prewrite.base.errors import PrewriteError

EXTRAS = {
    "rewrite": (
        *("datatrove", "huggingface_hub", "loguru", "msgspec", "openai", "regex", "scipy"),
        *("tenacity", "tokenizers", "transformers", "zstandard"),
    ),
    "train": (
        *("huggingface_hub", "megatron", "regex", "safetensors", "tensorboard", "tokenizers"),
        *("torch", "transformers"),
    ),
    "classifiers": ("onnxruntime", "sklearn", "skops"),
    "report": ("matplotlib", "scipy"),
    "s3": ("s3fs",),
    "ray": ("ray",),
    "eval": ("lm_eval", "math_verify"),
    "cpu": ("torch", "vllm"),
    "gpu": ("torch", "vllm"),
    "quickstart": ("gguf", "safetensors", "tokenizers", "torch", "transformers"),
}
"""What an extra of pyproject.toml is installed for, by the names that are imported."""

_OF_FLOORS = {"rewrite": "rewrite", "judge": "rewrite", "evaluation": "rewrite", "train": "train"}
"""The extra that a floor wants, of several that have a library."""


def missing(error: BaseException | None) -> PrewriteError | None:
    """The sentence for an import that failed because an extra is not installed, else None."""
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    extras = [extra for extra, modules in EXTRAS.items() if error.name in modules]
    wanted = [extra for extra in _walked(error.__traceback__) if extra in extras][:1] or extras
    if not wanted:
        return None
    ways = " or ".join(f"'prewrite[{extra}]'" for extra in wanted)
    return PrewriteError(f"the library {error.name} is not installed; pip install {ways}")


def require(module: str) -> None:
    """PrewriteError now where `module` is not installed, and not in the midst of what needs it."""
    if importlib.util.find_spec(module) is None:
        error = ModuleNotFoundError(name=module)
        raise missing(error) or error


def _walked(traceback: TracebackType | None) -> Iterator[str]:
    """The extras of the floors through which an error came, from the command on."""
    for frame, _ in walk_tb(traceback):
        package, _, rest = str(frame.f_globals.get("__name__")).partition(".")
        if package == "prewrite" and (floor := rest.partition(".")[0]) in _OF_FLOORS:
            yield _OF_FLOORS[floor]
