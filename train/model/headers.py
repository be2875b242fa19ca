"""Which tensors the safetensors files of a model folder hold, from their headers alone.

The files are those that transformers reads: all that the index names, or the single one. Costs
milliseconds a file, whatever its size.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from safetensors import SafetensorError, safe_open

from prewrite.base.errors import EngineError
from prewrite.base.files import opened

INDEX, SINGLE = "model.safetensors.index.json", "model.safetensors"
_OTHERS = ("*.bin", "*.pt", "*.pth", "*.gguf", "*.safetensors")


class Held(NamedTuple):
    """Where a tensor lies, and as what: type in the words of safetensors (`BF16`), sizes."""

    file: str
    type: str
    sizes: tuple[int, ...]


def held(folder: Path) -> dict[str, Held]:
    """Every tensor that is read of a model, by name; EngineError where a file is missing or
    damaged, or where files contradict each other.
    """
    named = _named(folder)
    files = sorted({*named.values()}) if named is not None else [SINGLE]
    found: dict[str, Held] = {}
    for file in files:
        for name, tensor in header(folder, file):
            if name in found:
                raise EngineError(
                    f"{folder}: tensor {name}: found in {found[name].file} and in {file}; "
                    "accepted: in one file"
                )
            found[name] = tensor
    for name, file in (named or {}).items():
        if name not in found or found[name].file != file:
            raise EngineError(
                f"{folder}: {INDEX} says that {file} holds tensor {name}, which is not there"
            )
    return found


def header(folder: Path, file: str) -> Iterator[tuple[str, Held]]:
    """Every tensor of one file."""
    try:
        opened(folder / file).close()  # of a pipe it would wait
        with safe_open(folder / file, framework="pt") as stream:
            for name in stream.keys():  # noqa: SIM118  # it is no mapping
                part = stream.get_slice(name)
                yield name, Held(file, part.get_dtype(), tuple(part.get_shape()))
    except FileNotFoundError:
        raise EngineError(
            f"{folder}: no usable safetensors weights there: no {file}; found: {_there(folder)}"
        ) from None
    except (SafetensorError, OSError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise EngineError(f"{folder}: no usable safetensors weights there: {file}: {why}") from None


def _named(folder: Path) -> dict[str, str] | None:
    """Tensor → file, as the index has it; None without one."""
    try:
        with opened(folder / INDEX) as stream:
            text = stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EngineError(
            f"{folder}: no usable safetensors weights there: {INDEX}: {error.strerror}"
        ) from None
    try:
        named = json.loads(text)["weight_map"]
        found = {str(name): str(file) for name, file in named.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise EngineError(
            f"{folder}: no usable safetensors weights there: {INDEX}: {error!r}"
        ) from None
    for file in found.values():
        if Path(file).name != file or "\0" in file:
            raise EngineError(
                f"{folder}: {INDEX}: found the file {file!r}; accepted: names of files beside it"
            )
    return found


def _there(folder: Path) -> str:
    names = sorted(path.name for pattern in _OTHERS for path in folder.glob(pattern))
    return ", ".join(names[:5]) or "no weights"
