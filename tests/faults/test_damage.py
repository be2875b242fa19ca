"""No damage to a file of a set, of a checkpoint or of what a run keeps passes in silence."""

from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from tests.faults import damaged_runs, damaged_sets, damaged_stores
from tests.faults.apart import scratch
from tests.faults.damage import CHANGES, Extent, Verdict, worst

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BAD = ("silent", "traceback")
SETS = list(damaged_sets.KINDS)
CHECKED = ("manifest", "part", "judgements", "commits.jsonl", "skipped.jsonl")
"""The kinds of file of which `verify` says whether they are what was written."""

FEW = ("cut in half", "any bit flipped")
"""What is done to the files of a run, each of which costs a step of training; all in benchmarks."""


@pytest.fixture(scope="module")
def sets() -> Iterator[list[Verdict]]:
    with scratch() as folder:
        yield damaged_sets.verdicts(Path(folder), SETS, Extent())


@pytest.fixture(scope="module")
def runs() -> Iterator[list[Verdict]]:
    with scratch() as folder:
        yield damaged_runs.verdicts(Path(folder), Extent(names=FEW))


@pytest.mark.parametrize("state", SETS)
def test_no_damage_to_a_set_is_silent(sets: list[Verdict], state: str) -> None:
    mine = [one for one in sets if one.of == damaged_sets.told(state)]
    assert {one.kind for one in mine} >= damaged_sets.KINDS[state]
    assert {one.damage for one in mine} >= {
        *CHANGES,
        "deleted",
        "exchanged with that of an older run",
    }
    assert not (found := worst(mine, BAD)), "\n".join(found)


def test_verify_calls_nothing_good_that_is_not_what_was_written(sets: list[Verdict]) -> None:
    mine = [one for one in sets if one.use == "verify" and one.kind in CHECKED]
    assert {one.kind for one in mine} == set(CHECKED)
    assert not (found := worst(mine, ("unnoticed",))), "\n".join(found)


def test_no_damage_to_a_run_is_silent(runs: list[Verdict]) -> None:
    mine = [one for one in runs if one.of == "run"]
    assert {one.kind for one in mine} >= damaged_runs.KINDS
    assert {one.damage for one in mine} >= {*FEW, "deleted", "exchanged with that of an older run"}
    assert not (found := worst(mine, BAD)), "\n".join(found)


@pytest.mark.parametrize("store", damaged_stores.KINDS)
def test_no_damage_to_a_store_is_silent(runs: list[Verdict], store: str) -> None:
    mine = [one for one in runs if one.of == store]
    assert {one.kind for one in mine} == damaged_stores.KINDS[store]
    assert not (found := worst(mine, BAD)), "\n".join(found)


def test_what_damage_does(tmp_path: Path) -> None:
    """Each is another content; the same seed does the same."""
    data = bytes(range(1, 101))
    for name, change in CHANGES.items():
        changed = change(data, Random(3))
        assert changed != data == bytes(range(1, 101)) and changed == change(data, Random(3)), name
        assert (len(changed) < len(data)) == name.startswith("cut")
    file, other = tmp_path / "file", tmp_path / "other"
    file.write_bytes(data)
    other.write_bytes(b"other")
    done = list(Extent(times=2).damages(file, {"another": other, "itself": file}, "seed"))
    assert [name for name, _ in done].count("random bytes") == 2
    assert done[-2:] == [("exchanged with another", b"other"), ("deleted", None)]
    assert done == list(Extent(times=2).damages(file, {"another": other}, "seed"))
