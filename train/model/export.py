"""A trained model as a Hugging Face folder, which transformers and vLLM load.

Guarantee: the folder appears whole or not at all; one that was there before is replaced. Costs: one
file of weights (5 GB at most) in the memory of the main process.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from prewrite.base.errors import EngineError
from prewrite.base.files import sync
from prewrite.judge.provenance import NAME, Provenance
from prewrite.train.model.headers import INDEX, SINGLE
from prewrite.train.model.shape import ARCHITECTURES, ModelShape
from prewrite.train.model.weights import tensors
from prewrite.train.output import Output
from prewrite.train.parallel import is_main

FILE_BYTES = 5_000_000_000
# The files that a model folder holds besides weights and config.json.
_COPIED = ("tokenizer*", "vocab*", "merges*", "*_tokens*.json", "chat_template*", "generation*")
_OURS = (*_COPIED, "config.json", NAME, SINGLE, INDEX, "model-*-of-*.safetensors")


def export(
    model: torch.nn.Module,
    shape: ModelShape,
    output: Output,
    name: str,
    left: Provenance | None = None,
) -> None:
    """Write `model` to the folder `name` of `output`; tokenizer and the rest come from
    `shape.folder`. left: what is to be said of its training.

    All processes must call it, and it returns on all when the folder is there. ShardError where the
    disk refuses it.
    """
    pairs = tensors(model, shape)
    if is_main():
        dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
        with output.told(output.root / name):
            part = output.new()
            _write(pairs, dtype, shape, part, left)
            output.publish(part, name, is_ours)
    else:
        list(pairs)
    dist.barrier()


def is_ours(name: str) -> bool:
    """Whether a file in a model's folder is called as one that is exported."""
    return any(fnmatch(name, pattern) for pattern in _OURS)


def rehearse(shape: ModelShape, dtype: str, part: Path, left: Provenance | None = None) -> None:
    """An export of all but the weights, to the new folder `part`, loaded as those who use it will,
    and removed: what is wrong with a side file or a disk is found before there is a model to lose.

    EngineError for a file that transformers does not read; OSError where one cannot be copied.
    """
    try:
        part.mkdir(parents=True)
        _copy(shape, dtype, part, left)
        _load(shape, part)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _load(shape: ModelShape, part: Path) -> None:
    """EngineError where transformers does not read the side files, as they are in `part`."""
    from transformers import AutoConfig, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    logging.set_verbosity_error()  # what it only warns of does no harm here
    for kind, file in (
        (AutoConfig, "config.json"),
        (AutoTokenizer, "tokenizer.json"),
        (GenerationConfig, "generation_config.json"),
    ):
        code = {} if kind is GenerationConfig else {"trust_remote_code": False}  # ask nobody
        try:
            if (part / file).exists():
                found = kind.from_pretrained(part, **code)
                if kind is AutoTokenizer:
                    _check_tokens(shape, found)
        except EngineError:
            raise
        except Exception as error:  # the library raises whatever the content leads to
            text = " ".join(str(error).split()).replace(str(part), str(shape.folder))[:300]
            raise EngineError(
                f"{shape.folder}: {file} and what belongs to it cannot be read by transformers: "
                f"{text}"
            ) from None


def _check_tokens(shape: ModelShape, tokenizer: Any) -> None:
    """EngineError for a token without an embedding, which a side file may add."""
    known = tokenizer.get_vocab()
    token = max(known, key=known.__getitem__)
    if known[token] >= shape.vocabulary:
        raise EngineError(
            f"{shape.folder}: transformers makes of tokenizer_config.json and what belongs to it "
            f"ids up to {known[token]} ({token!r}); accepted: ids up to {shape.vocabulary - 1}, "
            "the model's embeddings"
        )


def _write(
    pairs: Iterator[tuple[str, Tensor]],
    dtype: str,
    shape: ModelShape,
    part: Path,
    left: Provenance | None,
) -> None:
    part.mkdir()
    _copy(shape, dtype, part, left)
    save(pairs, part)
    for file in part.iterdir():
        shutil.copymode(part / "config.json", file)  # safetensors writes for the owner alone
        sync(file)


def _copy(shape: ModelShape, dtype: str, part: Path, left: Provenance | None) -> None:
    """All but the weights; what only has the name of such a file, as a folder, is passed over."""
    for pattern in _COPIED:
        for file in filter(Path.is_file, shape.folder.glob(pattern)):
            copy_file(file, part / file.name)
    config = json.loads((shape.folder / "config.json").read_text())
    config.pop("torch_dtype", None)  # the old name of `dtype`
    config["dtype"] = dtype
    config["architectures"] = [ARCHITECTURES[shape.family]]
    (part / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    if left:
        (part / NAME).write_text(left.model_dump_json(indent=1, by_alias=True) + "\n")


def copy_file(source: Path, target: Path) -> None:
    """Copy a file; an error of a full disk names what is written, not what is read."""
    try:
        shutil.copyfile(source, target)
    except OSError as error:
        raise OSError(error.errno, error.strerror, error.filename2 or error.filename) from None


def save(pairs: Iterator[tuple[str, Tensor]], part: Path) -> None:
    """Write weights to the folder `part`: one file, or numbered ones and an index."""
    files: list[list[str]] = []
    total = 0
    for pack in _packs(pairs):
        _save_file(pack, part / str(len(files)))
        files.append(list(pack))
        total += sum(tensor.nbytes for tensor in pack.values())
    if len(files) == 1:
        (part / "0").rename(part / SINGLE)
        return
    where = {}
    for number, names in enumerate(files):
        file = f"model-{number + 1:05}-of-{len(files):05}.safetensors"
        (part / str(number)).rename(part / file)
        where.update(dict.fromkeys(names, file))
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (part / INDEX).write_text(json.dumps(index, indent=2) + "\n")


def _save_file(pack: dict[str, Tensor], path: Path) -> None:
    """Write weights; an error of the disk comes out as one."""
    try:
        save_file(pack, path, metadata={"format": "pt"})
    except SafetensorError as error:
        number = re.search(r"\(os error (\d+)\)", str(error))
        if not number:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from None


def _packs(pairs: Iterator[tuple[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    """What goes into each file."""
    pack: dict[str, Tensor] = {}
    for name, tensor in pairs:
        if pack and sum(t.nbytes for t in pack.values()) + tensor.nbytes > FILE_BYTES:
            yield pack
            pack = {}
        pack[name] = tensor.cpu().contiguous()
    yield pack
