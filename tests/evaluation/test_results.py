"""Results stay beside what is there, and replace nothing that is none."""

from pathlib import Path

import pytest

from prewrite.base.errors import ConfigError, InputError, ShardError
from prewrite.base.files import Folder
from prewrite.evaluation.results import (
    MetricValue,
    TaskResult,
    leaderboard,
    write_leaderboard,
    write_results,
)
from prewrite.evaluation.run import _refuse_foreign

TASK = TaskResult("texts", [MetricValue("score", "none", 0.5)], documents=1, cut_points=1)


def test_a_file_that_is_no_leaderboard_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_text('{"step": 1, "loss": 2.0}\n')
    with pytest.raises(InputError, match=r"metrics\.jsonl: line 1: found no row of a leaderboard"):
        write_leaderboard(str(file), "base", "models/base", {}, [TASK])
    assert file.read_text() == '{"step": 1, "loss": 2.0}\n'


def test_a_row_takes_the_place_of_its_older_self(tmp_path: Path) -> None:
    file = str(tmp_path / "board.jsonl")
    for model in ("a", "b", "a"):
        write_leaderboard(file, model, "models/any", {}, [TASK])
    assert [row["model"] for row in leaderboard(file)] == ["b", "a"]


@pytest.mark.parametrize("name", ["table.md", "cut_points.parquet", "scores/a/x.parquet"])
def test_names_that_are_taken_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "notes.md").touch()
    _refuse_foreign(Folder(str(tmp_path)))
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=rf"evaluate\.output: found {name} in .*evaluation"):
        _refuse_foreign(Folder(str(tmp_path)))


def test_a_link_that_is_named_is_what_it_leads_to_and_one_in_the_output_leads_nowhere_else(
    tmp_path: Path,
) -> None:
    """A leaderboard is named by a person; results of a model are found in the output."""
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/board.jsonl").touch()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/board.jsonl").symlink_to(tmp_path / "shared/board.jsonl")
    write_leaderboard(str(tmp_path / "mine/board.jsonl"), "a", "models/any", {}, [TASK])
    assert [row["model"] for row in leaderboard(str(tmp_path / "shared/board.jsonl"))] == ["a"]
    write_results(str(tmp_path / "mine"), "a", "models/any", [TASK])
    (tmp_path / "mine/results/a.json").rename(tmp_path / "shared/a.json")
    (tmp_path / "mine/results/a.json").symlink_to(tmp_path / "shared/a.json")
    with pytest.raises(ShardError, match="found a link to .*, out of the folder"):
        write_results(str(tmp_path / "mine"), "a", "models/any", [TASK])
