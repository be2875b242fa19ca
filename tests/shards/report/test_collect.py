"""The numbers of a report are those of the rows, however these lie in parts."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest

from prewrite.base.errors import ShardError
from prewrite.shards.reader import ShardSet
from prewrite.shards.report import collect as module
from prewrite.shards.report import picks
from prewrite.shards.report.collect import OTHERS, SetReport, collect
from prewrite.shards.report.tallies import BINS, Paired, histogram
from prewrite.shards.report.words import overlap
from prewrite.shards.schema import Row
from tests.shards.edits import edited
from tests.shards.report import sets


def report(url: str) -> SetReport:
    return collect([ShardSet(url)])[0][0]


@pytest.fixture(scope="module")
def given() -> list[Row]:
    return sets.rows(600)


@pytest.fixture(scope="module")
def found(given: list[Row], tmp_path_factory: pytest.TempPathFactory) -> SetReport:
    return report(sets.write(tmp_path_factory.mktemp("set"), parts_of(given)))


def parts_of(given: list[Row]) -> list[list[Row]]:
    return [given[:100], given[100:101], given[101:]]


def test_rows_are_counted_by_source_and_status(given: list[Row], found: SetReport) -> None:
    frame = pandas.DataFrame(given)
    expected = frame.groupby(["source", "rewrite_status"]).size()
    counted = {
        (source, status): count
        for source, tally in found.sources.items()
        for status, count in tally.statuses.items()
    }
    assert counted == expected.to_dict()
    assert found.total.statuses.total() == len(given)
    sizes = [tally.rows for tally in found.sources.values()]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("criterion", [*sets.CRITERIA, "score"])
def test_means_are_those_of_rows_with_both_scores(
    given: list[Row], found: SetReport, criterion: str
) -> None:
    frame = pandas.DataFrame(given)[[f"original_{criterion}", f"rewrite_{criterion}"]].dropna()
    change = frame[f"rewrite_{criterion}"] - frame[f"original_{criterion}"]
    paired = found.total.paired[criterion]
    assert paired.rows == len(frame) > 300
    assert paired.change == pytest.approx(change.mean(), abs=1e-6)
    assert paired.margin == pytest.approx(1.96 * change.std() / len(frame) ** 0.5, rel=1e-4)
    assert (paired.better, paired.worse) == ((change > 0).sum(), (change < 0).sum())


def test_histograms_are_those_of_all_scores(given: list[Row], found: SetReport) -> None:
    frame = pandas.DataFrame(given)
    for name, high in (("original_quality", 1), ("rewrite_safety", 1), ("original_score", 2)):
        expected = np.histogram(frame[name].dropna(), BINS, (0, high))[0]
        assert np.array_equal(found.total.histograms[name], expected)


def test_length_and_overlap_are_those_of_changed_rewrites(
    given: list[Row], found: SetReport
) -> None:
    changed = [row for row in given if row["rewrite_status"] in ("ok", "truncated")]
    overlaps = np.array([overlap(row["original"], row["rewrite"]) for row in changed])
    assert np.array_equal(found.total.histograms["overlap"], histogram(overlaps, 0, 1))
    assert found.total.histograms["length"].sum() == len(changed)


def test_measures_are_means_over_the_rows_that_have_one(given: list[Row], found: SetReport) -> None:
    expected = pandas.DataFrame(given)["quality_consistency"].mean()
    assert found.total.mean("quality_consistency") == pytest.approx(expected)


def test_verdicts_show_the_place_that_wins(given: list[Row], found: SetReport) -> None:
    asked = [verdict for part in parts_of(given) for verdict in sets.verdicts(part)]
    (one,) = found.verdicts
    assert (one.judge, one.criterion, one.asked) == ("main", "quality", len(asked))
    assert one.read == sum(verdict["status"] == "ok" for verdict in asked) < one.asked
    assert one.mass == pytest.approx(sum(v["mass"] for v in asked) / len(asked))
    assert one.first == pytest.approx(0.75)


def changes(rows: list[Any]) -> list[float]:
    return [row["rewrite_score"] - row["original_score"] for row in rows]


def test_best_and_worst_are_the_extremes_of_set_and_sources(
    given: list[Row], found: SetReport
) -> None:
    judged = sorted(
        (row for row in given if row["rewrite"] is not None),
        key=lambda row: row["rewrite_score"] - row["original_score"],
    )
    best = [row for row, kinds in found.rows if "best" in kinds]
    worst = [row for row, kinds in found.rows if "worst" in kinds]
    assert {row["id"] for row in judged[-picks.EXTREMES :]} <= {row["id"] for row in best}
    assert {row["id"] for row in judged[: picks.EXTREMES]} <= {row["id"] for row in worst}
    falling = changes([row for row, _ in found.rows[: picks.EXTREMES]])
    assert all(a >= b for a, b in pairwise(falling)) and falling[-1] > 0
    for source in found.sources:
        assert sum(row["source"] == source for row in best) >= picks.OF_SOURCE


def test_rows_without_a_rewrite_are_shown_with_their_status(found: SetReport) -> None:
    shown = [row for row, kinds in found.rows if "unusable" in kinds]
    assert {row["rewrite_status"] for row in shown} == {
        *("refused", "failed", "empty", "unasked", "skipped")
    }
    assert all(row["rewrite"] is None for row in shown)


@pytest.mark.parametrize("tied", [False, True])
def test_shown_rows_do_not_depend_on_the_order_of_rows(
    given: list[Row], tmp_path: Path, tied: bool
) -> None:
    rows = [row | {"rewrite_score": 2.0, "original_score": 1.0} if tied and row["rewrite"] else row
            for row in given]  # fmt: skip
    one = report(sets.write(tmp_path / "one", [rows]))
    other = report(sets.write(tmp_path / "other", [rows[300:], rows[:300][::-1]]))
    ids = [{row["id"] for row, kinds in each.rows} for each in (one, other)]
    assert ids[0] == ids[1]


def test_long_texts_are_cut(tmp_path: Path, given: list[Row]) -> None:
    row = given[0] | {"original": "long " * 5000, "rewrite_status": "failed", "rewrite": None}
    ((shown, _),) = report(sets.write(tmp_path, [[row]])).rows
    assert len(shown["original"]) < picks.LONGEST + 100
    assert shown["original"].endswith("(cut here, of 25000 characters)")


def test_too_many_sources_are_counted_together(
    tmp_path: Path, given: list[Row], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_SOURCES", 3)
    rows = [row | {"source": f"s{number % 5}"} for number, row in enumerate(given[:50])]
    found = report(sets.write(tmp_path, [rows[:25], rows[25:]]))
    assert list(found.sources) == ["s0", "s1", "s2", OTHERS]
    assert found.sources[OTHERS].rows == 20 and found.total.rows == 50


def test_bins_of_several_sets_are_the_same(tmp_path: Path, given: list[Row]) -> None:
    high = [row | {"original_score": 5.5} for row in given[:9]]
    urls = [sets.write(tmp_path / "a", [given[:9]]), sets.write(tmp_path / "b", [high])]
    (first, second), bounds = collect([ShardSet(url) for url in urls])
    assert bounds["original_score"] == (0, 6)
    assert first.total.histograms["original_score"][-2:].sum() == 0
    assert second.total.histograms["original_score"][-2] == 9


def test_a_set_that_is_not_judged_has_no_scores(tmp_path: Path, given: list[Row]) -> None:
    found = report(sets.write(tmp_path, [given], judged=False))
    assert found.criteria == [] and found.verdicts == []
    assert {kind for _, kinds in found.rows for kind in kinds} == {"chance", "unusable"}


def test_a_part_without_a_column_is_named(tmp_path: Path, given: list[Row]) -> None:
    url = sets.write(tmp_path, [given[:5]], judged=False)
    with edited(tmp_path) as manifest:
        manifest["criteria"] = ["quality"]
    with pytest.raises(ShardError, match=r"data/.*\.parquet: found no column 'original_score'"):
        report(url)


def test_one_row_has_no_interval() -> None:
    assert Paired.of(np.array([0.25]), np.array([0.5])).margin is None
