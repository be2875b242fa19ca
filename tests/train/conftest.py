"""What every test of a run starts from."""

from pathlib import Path

import pytest

from tests.train.small import Command, make_model, make_set, settings


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny `model` and a scored `set`; runs go beside them."""
    folder = tmp_path_factory.mktemp("small")
    make_model(folder / "model")
    make_set(folder / "set")
    return folder


@pytest.fixture(scope="session")
def whole(small: Path) -> Command:
    """The run of `settings(small)` from its first step to its end, in one process."""
    command = Command(settings(small, "whole"))
    assert command.end() == 0, command.text
    return command
