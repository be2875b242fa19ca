"""Whether the weights of a model folder are the model that is built of its `config.json`.

What the folder holds and the trainer would not read makes another model than the one that its
publisher meant: biases, a head of its own, scales of quantised weights. So all of it is read, or
refused by name. Costs milliseconds a file; of a tied model that holds a head, reading both.
"""

import re
from collections.abc import Collection, Mapping

import torch
from safetensors import safe_open

from prewrite.base.errors import EngineError
from prewrite.train.model.headers import INDEX, SINGLE, Held, header, held
from prewrite.train.model.shape import ARCHITECTURES, ModelShape
from prewrite.train.model.weights import EMBEDDING, HEAD, refuse_odd, sizes

_COMPUTED = re.compile(r"\brotary_emb\.inv_freq$")
"""What older versions stored of what `config.json` says; transformers passes over it, too."""

_TYPES = ("F64", "F32", "F16", "BF16")
_ROWS = 4096


def audit(shape: ModelShape) -> None:
    """EngineError where tensors are missing, odd, of a type that is no plain number, or not read
    though they would change what the model computes.
    """
    found, expected = held(shape.folder), sizes(shape)
    _refuse_others(shape, {tensor.file for tensor in found.values()}, expected)
    _refuse_types(shape, found)
    if missing := [name for name in expected if name not in found]:
        raise EngineError(f"{shape.folder}: the weights hold no tensor {_some(missing)}")
    for name, size in expected.items():
        refuse_odd(shape, name, found[name].sizes, size)
    unread = [name for name in found if name not in expected and not _COMPUTED.search(name)]
    if shape.tied and HEAD in unread:
        _refuse_own_head(shape, found)
        unread.remove(HEAD)
    if unread:
        raise EngineError(
            f"{shape.folder}: found tensors that the model built of config.json does not have: "
            f"{_some(unread)}; accepted: those of {ARCHITECTURES[shape.family]} alone"
        )


def _refuse_types(shape: ModelShape, found: Mapping[str, Held]) -> None:
    packed = [name for name, tensor in found.items() if tensor.type not in _TYPES]
    if packed:
        raise EngineError(
            f"{shape.folder}: tensor {_some(packed)}: found the type {found[packed[0]].type}; "
            f"accepted: {', '.join(_TYPES)}, weights that are not quantised"
        )


def _refuse_own_head(shape: ModelShape, found: Mapping[str, Held]) -> None:
    """The output layer of a tied model is the embedding: a head in its file must be the same."""
    head, embedding = found[HEAD], found[EMBEDDING]
    same = head.sizes == embedding.sizes
    with (
        safe_open(shape.folder / head.file, framework="pt") as first,
        safe_open(shape.folder / embedding.file, framework="pt") as second,
    ):
        one, other = first.get_slice(HEAD), second.get_slice(EMBEDDING)
        for at in range(0, shape.vocabulary, _ROWS) if same else ():
            a, b = (part[at : at + _ROWS].float() for part in (one, other))
            same = same and torch.equal(a.nan_to_num(), b.nan_to_num())
    if not same:
        raise EngineError(
            f"{shape.folder}: lm_head.weight differs from the embedding; set tie_word_embeddings: "
            "false in its config.json"
        )


def _refuse_others(shape: ModelShape, read: Collection[str], expected: Collection[str]) -> None:
    """Files beside those that are `read`, with weights of the model: another version, or a part."""
    if (shape.folder / "adapter_config.json").exists():
        raise EngineError(
            f"{shape.folder}: found adapter_config.json; accepted: weights with the adapter merged"
        )
    others = {path.name for path in shape.folder.glob("*.safetensors") if path.is_file()}
    for file in sorted(others - set(read)):
        if both := [name for name, _ in header(shape.folder, file) if name in expected]:
            raise EngineError(
                f"{shape.folder}: found {_some(both)} in {file}, which is not read; accepted: the "
                f"weights of one model, in {SINGLE} or where {INDEX} says"
            )


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    return f"{names[0]}{more}"
