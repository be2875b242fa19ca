"""Sharing a trunk changes nothing: log-probabilities and gradients are those of separate rows.

For every objective, on one process and on two, with every recompute, tied and untied. Attention of
the models is made sharp, so that a wrong position or a wrong mask shows; that it does is checked.
"""

import pytest

from prewrite.train.config.sections import ParallelConfig
from tests.train.equality import BROKEN, OBJECTIVES, Found, measure
from tests.train.launch import launch
from tests.train.model.cases import make
from tests.train.model.test_build import label

MODELS = ("smollm2", "llama3")
"""Tied and untied; the second has a padded vocabulary, too."""
ALONE = [
    ParallelConfig(),
    ParallelConfig(recompute="selective"),
    ParallelConfig(recompute="full"),
]
PAIR = [
    ParallelConfig(tp=2),
    ParallelConfig(tp=2, sequence=True),
    ParallelConfig(tp=2, sequence=True, recompute="selective"),
    ParallelConfig(pp=2),
    ParallelConfig(pp=2, recompute="full"),
    ParallelConfig(distributed_optimizer=False),  # two data parallel ranks
]
CASES = [(config, name) for config in ALONE + PAIR for name in MODELS]
PLAIN = [(config, name) for config, name in CASES if config.recompute == "none"]
Measured = dict[tuple[ParallelConfig, str], Found]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """The distances of every case, the largest that any rank found."""
    folders = [tmp_path_factory.mktemp("models") / name for name in MODELS]
    for folder in folders:
        make(folder, folder.name)
    found: Measured = {}
    for processes, layouts in ((1, ALONE), (2, PAIR)):
        for rank in launch(measure, processes, [(config, folders) for config in layouts]):
            for config, by_name in zip(layouts, rank, strict=True):
                for name, distances in by_name.items():
                    known = found.setdefault((config, name), {})
                    for key, value in distances.items():
                        known[key] = max(value, known.get(key, 0.0))
    return found


@pytest.mark.parametrize(("config", "name"), CASES, ids=label)
def test_sharing_changes_nothing(measured: Measured, config: ParallelConfig, name: str) -> None:
    found = measured[config, name]
    assert found["token"] < 1e-5 and found["candidate"] < 1e-5
    for objective in OBJECTIVES:
        assert found[f"{objective} loss"] < 1e-5
        assert found[f"{objective} gradient"] < 1e-4 and found[f"{objective} tensor"] < 1e-4


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize(("config", "name"), PLAIN, ids=label)
def test_a_broken_row_shows(
    measured: Measured, config: ParallelConfig, name: str, broken: str
) -> None:
    found = measured[config, name]
    assert found[f"{broken} token"] > 0.1
    assert all(found[f"{broken} {objective} gradient"] > 0.1 for objective in OBJECTIVES)
