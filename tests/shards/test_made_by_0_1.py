"""A set and a model's provenance that version 0.1 itself wrote (its commit 813773a) are read.

`made_by_0_1/set` is what its `python -m rewrite` made of three documents with an endpoint that
shouts, with another folder for the corpus; `prewrite.json` says who judged it, as 0.1 left that
beside an exported model.
"""

import shutil
from pathlib import Path

import pytest

from prewrite import Export, ShardSet, verify
from prewrite.base.files import Folder
from prewrite.judge.provenance import read, set_judges
from prewrite.shards.stats import Stats
from prewrite.train.data.source import TrainingSet
from tests.commands import shards
from tests.train.data.sets import config as train_config

MADE = Path(__file__).parent / "made_by_0_1"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A copy: nothing may write into the fixture."""
    return str(shutil.copytree(MADE / "set", tmp_path / "set"))


def test_a_set_is_whole_and_its_texts_are_there(url: str) -> None:
    for name in (url, f"{url}/rewrites"):
        found = verify(name)
        assert found["problems"] == [] and found["documents"] == 3
    rows = list(ShardSet(url).rows())
    assert rows and all(row["rewrite"].isupper() for row in rows)
    assert Stats(url).report()["rows"] == len(rows)


@pytest.mark.parametrize("each", ["document", "chunk"])
def test_it_is_exported(url: str, each: str) -> None:
    records = list(Export(url, each))  # type: ignore[arg-type]
    assert {record["source"] for record in records} == {"corpus"}


@pytest.mark.parametrize("command", ["show", "stats", "verify", "report"])
def test_the_commands_take_it(url: str, command: str) -> None:
    assert shards([command, url]) == 0


def test_the_trainer_reads_it(url: str, tmp_path: Path) -> None:
    source = TrainingSet(0, train_config({"set": url, "filter": "chunk >= 0"}))
    assert sum(source.counts(Folder(str(tmp_path / "cache")))) > 0
    assert len(source.load(0, None)) > 0


def test_who_judged_is_read(tmp_path: Path) -> None:
    shutil.copy(MADE / "prewrite.json", tmp_path)
    found = read(str(tmp_path))
    assert found and found.judged_by == [set_judges(ShardSet(str(MADE / "set")).manifest)]
