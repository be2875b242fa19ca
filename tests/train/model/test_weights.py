"""Weights that cannot be used are named; those that can are read from any number of files."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from prewrite.base.errors import EngineError
from prewrite.train.model.shape import ModelShape, load_shape
from prewrite.train.model.weights import parameters, pretrained, scratch, sizes


@pytest.fixture
def folder(cases: Path, tmp_path: Path) -> Path:
    """A copy of a model, to spoil."""
    copied = tmp_path / "model"
    shutil.copytree(cases / "qwen2", copied)
    return copied


def read_all(shape: ModelShape) -> dict[str, torch.Tensor]:
    source = pretrained(shape)
    return {name: source(name, size) for name, size in sizes(shape).items()}


@pytest.mark.parametrize("name", ["llama2", "smollm2", "qwen2", "qwen3"])
def test_sizes_are_those_of_the_files(cases: Path, name: str) -> None:
    shape = load_shape(str(cases / name))
    files = load_file(cases / name / "model.safetensors")
    assert sizes(shape) == {key: tuple(tensor.shape) for key, tensor in files.items()}
    assert parameters(shape) == sum(tensor.numel() for tensor in files.values())


def test_several_files(folder: Path) -> None:
    shape = load_shape(str(folder))
    whole = read_all(shape)
    names = list(whole)
    where: dict[str, str] = {}
    for file, part in (("a.safetensors", names[::2]), ("b.safetensors", names[1::2])):
        save_file({name: whole[name] for name in part}, folder / file)
        where |= dict.fromkeys(part, file)
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": where}))
    again = read_all(shape)
    assert all(torch.equal(whole[name], again[name]) for name in names)
    (folder / "b.safetensors").unlink()
    with pytest.raises(EngineError, match="no usable safetensors weights there: no b.safeten"):
        read_all(shape)
    index.write_text("{}")
    with pytest.raises(EngineError, match=f"{folder}: no usable safetensors weights there: "):
        read_all(shape)


def test_no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(EngineError, match=f"{folder}: no usable safetensors weights there: "):
        pretrained(load_shape(str(folder)))


def test_odd_weights(folder: Path) -> None:
    shape, file = load_shape(str(folder)), folder / "model.safetensors"
    tensors = load_file(file)
    bias = tensors.pop("model.layers.0.self_attn.q_proj.bias")
    save_file(tensors, file)
    with pytest.raises(EngineError, match="hold no tensor model.layers.0.self_attn.q_proj.bias"):
        read_all(shape)
    save_file(tensors | {"model.layers.0.self_attn.q_proj.bias": bias[:-1]}, file)
    with pytest.raises(EngineError) as error:
        read_all(shape)
    assert str(error.value) == (
        f"{folder}: tensor model.layers.0.self_attn.q_proj.bias: found the sizes [31]; accepted "
        "(by config.json): [32]"
    )


def test_random_weights_are_those_of_the_seed(cases: Path) -> None:
    shape = load_shape(str(cases / "qwen2"))
    first, again, other = scratch(shape, 1), scratch(shape, 1), scratch(shape, 2)
    for name, size in sizes(shape).items():
        drawn = first(name, size)
        assert torch.equal(drawn, again(name, size))
        if name.endswith("norm.weight"):
            assert torch.all(drawn == 1)
        elif name.endswith("bias"):
            assert torch.all(drawn == 0)
        else:
            assert not torch.equal(drawn, other(name, size))
            assert float(drawn.std()) == pytest.approx(shape.std, rel=0.1)
