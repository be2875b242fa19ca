"""Statistics of a set equal what pandas finds in the same rows, and show in three forms."""

import json
from pathlib import Path
from typing import Any

import pandas
import pytest

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.shards import names
from prewrite.shards.manifest import Manifest
from prewrite.shards.reader import ShardSet
from prewrite.shards.show import mean_scores
from prewrite.shards.stats import BINS, Stats
from tests.commands import shards as main
from tests.shards.scored import scored_set
from tests.train.data.sets import write_set

COLUMNS = ["original_quality", "rewrite_quality", "original_score", "rewrite_score"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return scored_set(tmp_path_factory.mktemp("scored") / "set")


@pytest.fixture(scope="module")
def frame(url: str) -> Any:
    return pandas.concat(
        pandas.read_parquet(path) for path in sorted(Path(url).glob("data/*.parquet"))
    )


def assert_like(found: dict[str, Any], rows: Any) -> None:
    assert list(found) == COLUMNS
    for name, score in found.items():
        values = rows[name].astype(float)
        assert (score["rows"], score["null"]) == (values.count(), values.isna().sum())
        assert score["mean"] == pytest.approx(values.mean(), abs=1e-5)
        assert score["sd"] == pytest.approx(values.std(ddof=0), abs=1e-5)
        assert (score["min"], score["max"]) == (values.min(), values.max())
        for key, share in (("p25", 0.25), ("median", 0.5), ("p75", 0.75)):
            ordered = values.dropna().sort_values().to_numpy()
            assert score[key] == pytest.approx(ordered[int(share * len(ordered))], abs=1 / BINS)
        assert sum(score["histogram"]) == score["rows"]


def test_the_numbers_are_those_of_pandas(url: str, frame: Any) -> None:
    report = Stats(url).report()
    assert report["rows"] == len(frame)
    assert report["statuses"] == frame["rewrite_status"].value_counts().sort_index().to_dict()
    assert_like(report["scores"], frame)
    assert set(report["sources"]) == {"c4", "oscar", "wikipedia"}
    for name, group in report["sources"].items():
        rows = frame[frame["source"] == name]
        assert group["statuses"] == rows["rewrite_status"].value_counts().to_dict()
        assert_like(group["scores"], rows)
    expected = frame[COLUMNS].astype(float).corr()
    for a, row in report["correlations"].items():
        for b, value in row.items():
            assert value == pytest.approx(expected.loc[a, b], abs=1e-4)


def test_a_score_of_one_value_has_no_correlation(tmp_path: Path) -> None:
    def row(quality: float, total: float) -> dict[str, Any]:
        scores = {"original_quality": quality, "original_score": total}
        return {"original": "text", **scores}

    url = write_set(tmp_path / "set", [[[row(0.7, 2.5), row(0.7, -1)]]])
    report = Stats(url).report()
    assert report["correlations"]["original_quality"] == dict.fromkeys(COLUMNS)
    score = report["scores"]["original_score"]
    assert (score["min"], score["max"], score["histogram"][0]) == (-1, 2.5, 1)
    none = report["scores"]["rewrite_score"]
    assert none["mean"] is None and none["null"] == 2


def test_a_set_without_scores_has_counts(tmp_path: Path, capsys: Any) -> None:
    url = write_set(tmp_path / "set", [[[{"original": "text"}]]], criteria=())
    assert main(["stats", url]) == 0
    assert "failed" in capsys.readouterr().out
    assert main(["stats", "--json", url]) == 0
    assert json.loads(capsys.readouterr().out)["scores"] == {}


def test_the_table_fits_a_terminal_and_hides_no_name(url: str, capsys: Any) -> None:
    assert main(["stats", url]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in [*COLUMNS, "wikipedia", "Correlations", "failed"])
    assert max(map(len, text.splitlines())) <= 80 and "█" in text


def test_a_hostile_source_stays_text(tmp_path: Path, capsys: Any) -> None:
    hostile = "<script>alert(1)</script>\x1b[2J[red]"
    url = write_set(tmp_path / "set", [[[{"original": "text", "source": hostile}]]])
    assert main(["stats", url]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text and "[red]" in text.replace("\n", "").replace(" ", "")


def test_a_damaged_part_is_one_sentence(tmp_path: Path, capsys: Any) -> None:
    url = scored_set(tmp_path / "set")
    part = ShardSet(url).parts[1]
    path = Path(url, part.file)
    whole = path.read_bytes()
    for data, said in (
        (b"PAR1 nothing", f"found 12 bytes; accepted: {len(whole)}, as listed"),
        (whole[:-1] + b"2", "its footer is not the one that is listed: it is damaged, or another"),
    ):
        path.write_bytes(data)
        assert main(["stats", url]) == 1
        assert capsys.readouterr().err.startswith(f"error: {path}: {said}")
    path.unlink()
    assert main(["stats", url]) == 1
    assert capsys.readouterr().err == f"error: {path}: listed, but not there\n"


def test_a_manifest_that_names_what_its_parts_have_not(tmp_path: Path) -> None:
    url = write_set(tmp_path / "set", [[[{"original": "text"}]]], criteria=())
    folder = Folder(url)
    manifest = Manifest.load(folder)
    manifest.model_copy(update={"criteria": ["quality"]}).save(folder)
    sentence = "found no column '(original|rewrite)_quality', which the set has by"
    with pytest.raises(ShardError, match=sentence):
        mean_scores(ShardSet(url))
    with pytest.raises(ShardError, match=sentence):
        Stats(url).report()
    path = tmp_path / "set" / names.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"passes": []}))
    with pytest.raises(ShardError, match="damaged: passes: List should have at least 1 item"):
        ShardSet(url)
