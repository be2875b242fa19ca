"""No damage to a file of a set, of a checkpoint or of what a run keeps passes in silence."""

import io
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest

from prewrite.shards.reader import ShardSet
from tests.faults import damaged_runs, damaged_sets, damaged_stores, tiny
from tests.faults.apart import scratch
from tests.faults.damage import CHANGES, Extent, Verdict, worst
from tests.faults.kill_states import SET, STATES, WHOLE, lay_out
from tests.faults.outcomes import attempt

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

BAD = ("silent", "traceback")
SETS = list(damaged_sets.KINDS)
CHECKED = ("manifest", "part", "judgements", "log", "skipped.jsonl")
"""The kinds of file of which `verify` says whether they are what was written."""

FEW = ("cut in half", "any bit flipped")
"""What is done to the files of a run, and a fourth of all that to each, for it costs a step of
training; all in benchmarks.
"""


@pytest.fixture(scope="module")
def sets() -> Iterator[list[Verdict]]:
    with scratch() as folder:
        yield damaged_sets.verdicts(Path(folder), SETS, Extent())


@pytest.fixture(scope="module")
def runs() -> Iterator[list[Verdict]]:
    with scratch() as folder:
        yield damaged_runs.verdicts(Path(folder), Extent(every=4, names=FEW))


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


def _page_headers(data: bytes) -> Iterator[int]:
    """Where the headers of a file's pages are, which no checksum covers."""
    for group in range((metadata := pq.ParquetFile(io.BytesIO(data)).metadata).num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            for start in (column.dictionary_page_offset, column.data_page_offset):
                yield from range(start, start + 40) if start is not None else ()


def test_no_bit_of_a_page_header_passes_in_silence(tmp_path: Path) -> None:
    """All values are read, or a sentence says that the file is damaged. A bit of one in four bytes,
    drawn.
    """
    lay_out(tmp_path, [state for state in STATES if state.name == WHOLE])
    url = str(tmp_path / WHOLE / SET)
    shards = ShardSet(url)
    good, said, draw = tiny.exactly(url), 0, Random(5)
    for file in (shards.parts[0], shards.verdicts[0]):
        path = Path(url, file.file)
        data = path.read_bytes()
        places = sorted({*_page_headers(data)})
        for at in sorted(draw.sample(places, len(places) // 4)):
            changed = data[at] ^ 1 << draw.randrange(8)
            path.write_bytes(data[:at] + bytes([changed]) + data[at + 1 :])
            found, ended = attempt(lambda: tiny.exactly(url))
            assert ended or found == good, f"{file.name}: byte {at} is {changed}"
            assert not ended or ended.outcome == "told", f"{file.name}: {at}: {ended}"
            said += bool(ended)
        path.write_bytes(data)
    assert said > 25


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
