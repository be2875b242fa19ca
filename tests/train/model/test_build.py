"""Megatron's model computes what Hugging Face's does, however many processes share it."""

import pytest

from prewrite.train.config.sections import ParallelConfig
from tests.train.model.conftest import LAYOUTS
from tests.train.model.measure import Found

Measured = dict[tuple[ParallelConfig, str], Found]


def label(value: object) -> str:
    if isinstance(value, ParallelConfig):
        changed = value.model_dump(exclude_defaults=True)
        return " ".join(f"{key}={setting}" for key, setting in changed.items()) or "alone"
    return str(value)


@pytest.mark.parametrize(("config", "name"), LAYOUTS, ids=label)
def test_a_model_is_hugging_faces(measured: Measured, config: ParallelConfig, name: str) -> None:
    found = measured[config, name]
    assert found["logits"] < 1e-5 and found["plain"] < 1e-5
    assert found["nll"] < 1e-5
    assert found["gradient"] < 1e-5
    assert found["wrong positions"] > 0.1
    assert found["export"] and found["bfloat16"]
    assert found["scratch"] == measured[ParallelConfig(), name]["scratch"]
