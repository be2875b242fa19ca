"""A commit log is input: whatever it holds, a set is opened, or refused in one sentence. The
digests fit in all of these, as with a log that a bug or an attacker wrote.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from prewrite.base.errors import ShardError
from prewrite.shards import names
from prewrite.shards.reader import ShardSet
from prewrite.shards.repair import repair
from prewrite.shards.verify import verify
from tests.shards.edits import edited
from tests.shards.hostile import Change, forged, judged_set, log_of, used, value, with_column


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = judged_set(tmp_path_factory.mktemp("hostile") / "set")
    assert verify(folder)["problems"] == []
    return folder


@pytest.fixture
def good(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "set"))


def refused(folder: Path, by: Callable[[Path], object] = used) -> str:
    """The one sentence with which a set cannot be opened."""
    with pytest.raises(ShardError) as error:
        by(folder)
    sentence = str(error.value)
    assert str(folder / names.LOG) in sentence and sentence.isprintable() and len(sentence) < 600
    return sentence


@pytest.mark.parametrize("data", [b"", b"nonsense", b"PAR1" + b"\xff" * 40 + b"\x10\0\0\0PAR1"])
def test_a_log_that_is_no_parquet_file(good: Path, data: bytes) -> None:
    forged(good, data)
    assert "damaged: " in refused(good)


COLUMNS = ("split", "name", "file", "file_bytes", "group", "sha256", "verdicts_start", "record")


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_that_is_missing_or_doubled(good: Path, column: str) -> None:
    twice = shutil.copytree(good, good.with_name("twice"))
    forged(good, lambda table: table.drop_columns([column]))
    assert f"found 0 columns '{column}'; accepted: one" in refused(good)
    forged(twice, lambda table: table.append_column(column, table[column]))
    assert f"found 2 columns '{column}'; accepted: one" in refused(twice)


TYPES: list[tuple[pa.DataType, Any]] = [
    (pa.float64(), 1.5),
    (pa.int16(), 1),
    (pa.uint64(), 2**64 - 1),
    (pa.list_(pa.int64()), [1]),
    (pa.binary(), b"\xff"),
]


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_of_another_type(good: Path, column: str) -> None:
    for kind, one in TYPES:
        folder = shutil.copytree(good, good.with_name(str(kind)[:5]))
        forged(folder, lambda t: with_column(t, column, pa.array([one] * 3, kind)))  # noqa: B023
        assert f"found the column '{column}' as " in refused(folder)


def test_a_column_that_no_log_has(good: Path) -> None:
    forged(good, lambda table: table.append_column("more\x1b", pa.array([1] * 3)))
    assert "found the column 'more\N{REPLACEMENT CHARACTER}'; accepted: those of" in refused(good)


HUGE = 2**63 - 1
VALUES: list[tuple[str, Any, str]] = [
    ("name", None, "row 2, name: found null; accepted: a value, or a row without a part"),
    ("file_bytes", None, "row 2, file_bytes: found null"),
    ("verdicts_sha256", None, "row 2, verdicts_sha256: found null"),
    ("file_bytes", -1, "row 2, file_bytes: found -1; accepted: 1 to"),
    ("file_bytes", HUGE, "'00001-00000', file_bytes: found another one than with an earlier part"),
    ("groups", 9, "groups: found another one than with an earlier part of data/"),
    ("groups", -(2**31), "row 2, groups: found -2147483648; accepted: 1 to"),
    ("group", 3, "row 2, group: found 3; accepted: 0 to 2"),
    ("group", -1, "row 2, group: found -1; accepted: 0 to 2"),
    ("group", 0, "a second time; accepted: once"),
    ("start", -(2**63), f"row 2, start: found {-(2**63)}; accepted: 0 to"),
    ("start", HUGE, f"row 2, start: found {HUGE}; accepted: 0 to"),
    ("bytes", 0, "row 2, bytes: found 0; accepted: 1 to"),
    ("bytes", HUGE, f"row 2, bytes: found {HUGE}; accepted: 1 to"),
    ("rows", -1, "row 2, rows: found -1; accepted: 1 to"),
    ("verdicts_rows", 0, "row 2, verdicts_rows: found 0; accepted: 1 to"),
    ("file", "../x", "row 2, file: found '../x'; accepted: a path inside the set's folder"),
    ("file", "/etc/passwd", "row 2, file: found '/etc/passwd'; accepted: a path inside"),
    ("file", "a\nb", "accepted: printable names"),
    ("verdicts_file", "", "row 2, verdicts_file: found ''; accepted: a path inside"),
    ("footer", "0" * 64, "footer: found another one than with an earlier part of data/"),
    ("footer", "0" * 63, "footer: found '000"),
    ("sha256", "A" * 64, "row 2, sha256: found 'AAA"),
    ("known_as", "0" * 64 + "\n", "row 2, known_as: found '000"),
    ("name", "00000-00000", "found part '00000-00000', row group 1 of data/"),
]


@pytest.mark.parametrize(("column", "other", "sentence"), VALUES, ids=range(len(VALUES)))
def test_a_value_that_no_part_can_have(good: Path, column: str, other: Any, sentence: str) -> None:
    forged(good, value(column, other))
    assert sentence in refused(good) and sentence in refused(good, verify)


@pytest.mark.parametrize("column", ["split", "record"])
def test_a_row_without_a_record(good: Path, column: str) -> None:
    """Rows can be read without it."""
    forged(good, value(column, None))
    used(good)
    (problem,) = verify(good)["problems"]
    assert f"row 2, {column}: found null; accepted: a value; restore" in problem
    assert problem in refused(good, lambda folder: repair(str(folder)))


def test_texts_that_are_no_utf_8(good: Path) -> None:
    bad = pa.Array.from_buffers(
        pa.string(),
        3,
        [None, pa.array([0, 1, 2, 3], pa.int32()).buffers()[1], pa.py_buffer(b"\xff" * 3)],
    )
    forged(good, lambda table: with_column(table, "name", bad))
    assert "damaged: " in refused(good)


def test_other_records_than_the_manifest_counts(good: Path) -> None:
    for name, change in (
        ("fewer", lambda table: table.slice(0, 2)),
        ("none", lambda table: table.slice(0, 0)),
        ("more", lambda table: pa.concat_tables([table, table.slice(0, 1)])),
    ):
        folder = shutil.copytree(good, good.with_name(name))
        forged(folder, change)
        assert "accepted: 3 in" in refused(folder)
    with edited(folder) as manifest:
        manifest["log"][0]["records"] = 4
        manifest["parts"] = 4
    assert "found part '00000-00000', row group 0 of data/" in refused(folder)


RECORDS = ["nonsense", "[]", "{}", "null", "3", "[" * 100_000, '{"split":' * 100_000, "\ud7ff"]


@pytest.mark.parametrize("text", RECORDS, ids=range(len(RECORDS)))
def test_a_record_that_is_none(good: Path, text: str) -> None:
    """Rows can be read without it; whoever needs it names file and row."""
    forged(good, value("record", text))
    used(good)
    (problem,) = verify(good)["problems"]
    assert f"{log_of(good).name}: row 2: damaged: " in problem
    with pytest.raises(ShardError, match="row 2: damaged: "):
        repair(str(good))


def _part(**change: Any) -> Change:
    """Another part in the second record alone."""

    def other(text: str) -> str:
        record = json.loads(text)
        record["part"] |= change
        return json.dumps(record)

    return value("record", other)


PARTS: list[tuple[dict[str, Any], str]] = [
    ({"group": None}, "group: found None; accepted: 0 to 2"),
    ({"start": 2**70}, "start: found 1180591620717411303424; accepted: 0 to"),
    ({"bytes": -1}, "bytes: found -1; accepted: 1 to"),
    ({"sha256": "x"}, "sha256: found 'x'; accepted: a SHA-256"),
    ({"file": "/etc/passwd"}, "found '/etc/passwd'; accepted: a path inside"),
]


@pytest.mark.parametrize(("change", "sentence"), PARTS)
def test_a_record_of_a_part_that_cannot_be(
    good: Path, change: dict[str, Any], sentence: str
) -> None:
    forged(good, _part(**change))
    (problem,) = verify(good)["problems"]
    assert "row 2: damaged: part: " in problem and sentence in problem


OTHER: list[tuple[Change, str]] = [
    (_part(known_as="0" * 64), "known_as: found "),
    (_part(rows=3), "rows: found 4; accepted: 3, as its record says"),
    (_part(start=5), "start: found "),
    (_part(name="other"), "name: found 00001-00000; accepted: other, as its record says"),
    (value("known_as", "0" * 64), "known_as: found 000"),
    (value("name", "other"), "name: found other; accepted: 00001-00000, as its record says"),
    (value("split", "other"), "split: found other; accepted: 00001, as its record says"),
    (value("verdicts_known_as", "0" * 64), "verdicts_known_as: found 000"),
]


@pytest.mark.parametrize(("change", "sentence"), OTHER, ids=range(len(OTHER)))
def test_columns_that_say_other_than_their_record(
    good: Path, change: Change, sentence: str
) -> None:
    """Each reader goes by one of them, so both have to say the same."""
    forged(good, change)
    used(good)
    problems = verify(good)["problems"]
    assert any(f"{log_of(good).name}: row 2, {sentence}" in problem for problem in problems)
    before = log_of(good).read_bytes()
    with pytest.raises(ShardError, match=r"row 2, .*; restore the file from a copy"):
        repair(str(good))
    assert log_of(good).read_bytes() == before


def test_a_part_that_is_said_to_lie_elsewhere_is_not_read_past_the_end(good: Path) -> None:
    """Columns and records agree; the file is of another size than both say."""

    def longer(table: Any) -> Any:
        for column, size in (("file_bytes", 1 << 62), ("bytes", 1 << 61), ("start", 4)):
            table = with_column(table, column, pa.array([size] * 3, pa.int64()))
        return table

    forged(good, longer)
    assert any("SHA-256" in problem for problem in verify(good)["problems"])
    with pytest.raises(ShardError, match="found .* bytes; accepted: 4611686018427387904, as"):
        list(ShardSet(str(good)).rows())
