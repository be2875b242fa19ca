"""Which chunks are drawn: the same ones, whatever else the set holds and in whatever order."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prewrite.base.errors import ConfigError, ShardError
from prewrite.base.files import Folder
from prewrite.evaluation.config import PrefixesConfig
from prewrite.evaluation.cut_points import CutPoint, cut_points_of, write_cut_points
from prewrite.shards.reader import ShardSet
from tests.evaluation.sets import make_set
from tests.shards.making import write_set


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_set(str(tmp_path_factory.mktemp("held") / "set"))


def drawn(
    url: str, cut_points: int = 1000, seed: int = 0, taken: str | None = None
) -> list[CutPoint]:
    config = PrefixesConfig(set=url, filter=taken, cut_points=cut_points)
    return cut_points_of({"ordinary": config}, 100, seed)["ordinary"]


def test_every_place_has_a_prefix_and_its_document_joins(url: str) -> None:
    cut_points = drawn(url)
    assert len(cut_points) > 20
    texts = [json.loads(line)["text"] for path in sorted(Path("configs/sample").glob("*.jsonl"))
             for line in path.read_text().splitlines()]  # fmt: skip
    for cut_point in cut_points:
        assert cut_point.context and cut_point.original
        known = "".join(cut_point.context) + cut_point.original
        assert any(known in text for text in texts)
        assert cut_point.begins == any(text.startswith(known) for text in texts)
    assert {cut_point.begins for cut_point in cut_points} == {True, False}


@given(seed=st.integers(0, 99), more=st.integers(0, 20), few=st.integers(1, 10))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_more_places_hold_the_fewer(url: str, seed: int, more: int, few: int) -> None:
    small = {cut_point.id for cut_point in drawn(url, few, seed)}
    assert len(small) == few
    assert small <= {cut_point.id for cut_point in drawn(url, few + more, seed)}


def test_the_order_of_parts_does_not_matter(url: str, tmp_path: Path) -> None:
    before, shards = drawn(url, 7), ShardSet(url)
    parts = [[row for rows in shards.documents(part) for row in rows] for part in shards.parts]
    write_set(str(tmp_path), parts[::-1])
    after = drawn(str(tmp_path), 7)
    assert {cut_point.id for cut_point in after} == {cut_point.id for cut_point in before}
    assert {cut_point.seed(3) for cut_point in after} == {cut_point.seed(3) for cut_point in before}


def test_seeds_and_filters_change_the_draw(url: str) -> None:
    assert {p.id for p in drawn(url, 5)} != {p.id for p in drawn(url, 5, seed=1)}
    assert {p.doc_id[:2] for p in drawn(url, 5, taken="source == 'c4'")} == {"c4"}


def test_the_prefix_is_no_longer_than_asked(url: str) -> None:
    config = {"a": PrefixesConfig(set=url, cut_points=1000)}
    long, short = (cut_points_of(config, tokens, 0)["a"] for tokens in (1000, 60))
    for one, other in zip(long, short, strict=True):
        assert "".join(one.context).endswith("".join(other.context))
    assert max(len(cut_point.context) for cut_point in short) == 1


def test_what_cannot_be_drawn_is_one_sentence(url: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^evaluate.prefixes.ordinary: no chunk passes `chunk"):
        drawn(url, taken="chunk > 1000")
    with pytest.raises(ConfigError, match="prefixes.ordinary.filter: found the name 'sorce'"):
        drawn(url, taken="sorce == 'c4'")
    with pytest.raises(ShardError, match="nothing"):
        drawn(str(tmp_path / "nothing"))


def test_the_texts_are_kept(url: str, tmp_path: Path) -> None:
    cut_points = drawn(url, 3)
    write_cut_points(Folder(str(tmp_path)), {"ordinary": cut_points})
    rows = pq.read_table(tmp_path / "cut_points.parquet").to_pylist()
    assert [(row["id"], row["prefix"]) for row in rows] == [
        (cut_point.id, "".join(cut_point.context)) for cut_point in cut_points
    ]
