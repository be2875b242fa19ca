"""Every family on one process and on two, measured once a session."""

from pathlib import Path

import pytest

from prewrite.train.config.sections import ParallelConfig
from tests.train.launch import launch
from tests.train.model.cases import CASES, make
from tests.train.model.measure import Found, measure

ALONE = [
    (ParallelConfig(), list(CASES)),
    (ParallelConfig(recompute="selective"), ["llama3"]),
    (ParallelConfig(recompute="full"), ["llama3", "smollm2"]),
]
PAIR = [
    (ParallelConfig(tp=2), list(CASES)),
    (ParallelConfig(pp=2), list(CASES)),
    (ParallelConfig(tp=2, sequence=True), ["qwen2", "qwen3"]),
    (ParallelConfig(tp=2, sequence=True, recompute="selective"), ["smollm2"]),
    (ParallelConfig(pp=2, recompute="full"), ["smollm2", "qwen3"]),
]
LAYOUTS = [(config, name) for config, names in ALONE + PAIR for name in names]


@pytest.fixture(scope="session")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder of each case."""
    folder = tmp_path_factory.mktemp("cases")
    for name in CASES:
        make(folder / name, name)
    return folder


@pytest.fixture(scope="session")
def measured(
    cases: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[ParallelConfig, str], Found]:
    """What each case comes out as under each layout, all ranks' together."""
    found: dict[tuple[ParallelConfig, str], Found] = {}
    for processes, work in ((1, ALONE), (2, PAIR)):
        orders = [(config, [cases / name for name in names]) for config, names in work]
        target = tmp_path_factory.mktemp("exported")
        for rank in reversed(launch(measure, processes, orders, target)):
            for (config, _), by_name in zip(work, rank, strict=True):
                for name, distances in by_name.items():
                    found[config, name] = found.get((config, name), {}) | distances
    return found
