"""`verify` finds every kind of damage, and `show` survives hostile text."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prewrite.base.errors import ShardError
from prewrite.base.text import printable
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.run import run_pass
from prewrite.shards import names
from prewrite.shards.commit_log import part_of
from prewrite.shards.manifest import Record
from prewrite.shards.reader import ShardSet
from prewrite.shards.repair import repair
from prewrite.shards.schema import FORMAT_VERSION, written
from prewrite.shards.verify import verify
from tests.commands import shards as main
from tests.pipeline.fake import InstantPass
from tests.shards.edits import edited, flip, logged
from tests.shards.making import row, write_set


@pytest.fixture
def good(corpus: Path, tmp_path: Path) -> Path:
    """A finished set."""
    run_pass(
        InstantPass((f"{corpus}/*.jsonl",)), str(tmp_path / "set"), RunConfig(rows_per_part=40)
    )
    return tmp_path / "set"


def _first(folder: Path) -> Path:
    return sorted(folder.glob("data/*.parquet"))[0]


def _footer(folder: Path) -> None:
    data = bytearray(_first(folder).read_bytes())
    data[-40] ^= 1
    _first(folder).write_bytes(data)


def _edit(folder: Path, **changes: object) -> None:
    with edited(folder) as manifest:
        manifest.update(changes)


def _change(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """A part with other rows, in a file of its own, whose digest was 'corrected' too."""
    part = ShardSet(folder).parts[0]
    table = change(pq.ParquetFile(folder / part.file).read_row_group(part.group or 0))
    made, file = written(table), f"{names.DATA}/train-00000-00000-000000000000.parquet"
    (folder / file).write_bytes(made.data)
    other = part_of(part.name, file, made, table.num_rows)
    logged(folder, lambda records: setattr(records[0], "part", other))


def _excused(table: pa.Table) -> pa.Table:
    """Good rows that name a reason."""
    place = table.column_names.index("rewrite_reason")
    given = pa.array(["too_long"] * table.num_rows).dictionary_encode()
    return table.set_column(place, table.schema.field(place), given)


def _doubled(table: pa.Table) -> pa.Table:
    """All rows have one id."""
    return table.set_column(0, "id", pa.array(["the same"] * table.num_rows))


def _of_another(table: pa.Table) -> pa.Table:
    """Each row has a `doc_id` of its own."""
    place = table.column_names.index("doc_id")
    return table.set_column(place, "doc_id", pa.array([f"d{n}" for n in range(table.num_rows)]))


def _first_byte(folder: Path) -> None:
    data = _first(folder).read_bytes()
    _first(folder).write_bytes(b"Q" + data[1:])


def _copied(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(exist_ok=True)
    shutil.copy(_first(folder), folder / name)


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (lambda folder: flip(folder, ShardSet(folder).parts[2]), "row group 2: SHA-256"),
    (_first_byte, "it does not begin as a Parquet file does"),
    (_footer, "its footer is not the one that is listed"),
    (lambda folder: _first(folder).unlink(), "not there"),
    (
        lambda folder: logged(folder, lambda some: some[1].__setattr__("part", None)),
        "row groups, of",
    ),
    (lambda folder: _change(folder, lambda t: t.slice(0, t.num_rows - 1)), "lacks chunks"),
    (lambda folder: _change(folder, _excused), "status 'ok' and rewrite_reason do not fit"),
    (lambda folder: _change(folder, _doubled), "stands there twice"),
    (lambda folder: _change(folder, _of_another), "has rows of another"),
    (lambda folder: _copied(folder, "data/more.parquet"), "data/more.parquet: not in the manifest"),
    (lambda folder: _copied(folder, "old/data.parquet"), "but tools that read the whole folder"),
    (lambda folder: _edit(folder, rows=1), "the manifest says 1"),
    (lambda folder: _edit(folder, statuses={"ok": 1}), "statuses"),
    (lambda folder: _edit(folder, status="interrupted"), "the set is interrupted"),
]


@pytest.mark.parametrize(("damage", "sentence"), DAMAGE, ids=range(len(DAMAGE)))
def test_damage_is_named(good: Path, damage: Callable[[Path], None], sentence: str) -> None:
    assert verify(str(good))["problems"] == []
    damage(good)
    problems = verify(str(good))["problems"]
    assert any(sentence in problem for problem in problems), problems
    assert main(["verify", str(good)]) == 1


def test_any_other_value_of_a_manifest_is_one_sentence(good: Path) -> None:
    """Each value that may be another one without being damaged, and each that is left out."""
    path = good / names.MANIFEST
    written = json.loads(path.read_text())
    numbers = ("rows", "documents", "generation", "parts")
    edits: list[dict[str, Any]] = [{key: written[key] + 1} for key in numbers]
    edits += [{"before": "0" * 64}, {"owners": []}, {"criteria": ["x"]}, {"inputs": []}]
    edits += [{"status": "running"}, {"digest": "\x1b" * 999}, {"digest": None}, {"digest": 7}]
    edits += [{"rows_digest": "0"}, {"verdicts_digest": "0"}, {"known_as": "0" * 64}, {"log": []}]
    for part, key, value in (("log", "sha256", "0" * 64), ("inputs", "path", "x")):
        edits.append({part: [written[part][0] | {key: value}, *written[part][1:]]})
    made: list[dict[str, Any]] = [{"seconds": 9.5}, {"config": {}}, {"counts": {"status:ok": 1}}]
    edits += [{"passes": [written["passes"][0] | one]} for one in made]
    for changed in edits:
        path.write_text(json.dumps(written | changed))
        with pytest.raises(ShardError, match=r"manifest.json: found content of the digest") as one:
            verify(str(good))
        assert "\x1b" not in str(one.value) and len(str(one.value)) < 900
    for key in ("rows", "owners", "digest"):
        path.write_text(json.dumps({k: v for k, v in written.items() if k != key}))
        assert main(["verify", str(good)]) == 1
    path.write_text(json.dumps(written, sort_keys=True, indent=7))
    assert verify(str(good))["problems"] == [], "how it is laid out does not matter"


def test_an_edit_on_purpose_takes_the_digest_that_the_sentence_names(good: Path) -> None:
    path = good / names.MANIFEST
    mine = json.loads(path.read_text())
    mine["inputs"][0]["path"] = "/elsewhere/a.jsonl"
    path.write_text(json.dumps(mine))
    with pytest.raises(ShardError) as one:
        verify(str(good))
    (found,) = re.findall(r"if you edited it on purpose, write (\w{64}) there", str(one.value))
    path.write_text(json.dumps(mine | {"digest": found}))
    assert verify(str(good))["problems"] == []


def _swap(folder: Path, contents: bool) -> None:
    """Exchange two parts in the log: as they are, or what is listed of them but their names."""

    def change(records: list[Record]) -> None:
        one, two = records[0].part, records[1].part
        assert one and two
        swapped = (replace(two, name=one.name), replace(one, name=two.name))
        records[0].part, records[1].part = swapped if contents else (two, one)

    logged(folder, change)


OTHER_THAN_LOGGED: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda m: m["passes"][-1].update(asked=3), "its counts are not those of _prewrite/log"),
    (lambda m: m.update(left_out={"sampled": 2}), "its counts are not those of _prewrite/log"),
    (lambda m: m["inputs"][0].update(records=99), "accepted: 142, as the "),
]


@pytest.mark.parametrize(("change", "sentence"), OTHER_THAN_LOGGED)
def test_a_manifest_that_says_other_than_its_log_is_not_good(
    good: Path, change: Callable[[dict[str, Any]], object], sentence: str
) -> None:
    with edited(good) as manifest:
        change(manifest)
    (problem,) = verify(str(good))["problems"]
    assert sentence in problem


@pytest.mark.parametrize(
    ("contents", "sentence"),
    [(True, "its counts are not those of _prewrite/log"), (False, "as its record says; restore")],
)
def test_two_parts_that_were_exchanged_are_not_good(
    good: Path, contents: bool, sentence: str
) -> None:
    _swap(good, contents)
    problems = verify(str(good))["problems"]
    assert problems and all(sentence in problem for problem in problems)


def test_other_skipped_records_are_named_and_written_anew(good: Path) -> None:
    path = good / names.SKIPPED
    before = path.read_bytes()
    for data in (b"", before[:-1], before.replace(b"line", b"Line"), None):
        path.unlink() if data is None else path.write_bytes(data)
        assert verify(str(good))["problems"] == [
            f"{names.SKIPPED}: its lines are not the skipped records of {names.LOG}; --repair "
            "writes it"
        ]
        assert repair(str(good)) == [f"{names.SKIPPED} was written anew"]
        assert path.read_bytes() == before and verify(str(good))["problems"] == []


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"format_version": 99}', "version 99; accepted: .*; a newer set needs a newer Prewrite"),
        ("{}", "format version None"),
        ("[1]", "found a list; accepted: a JSON object"),
        ("nonsense", "not JSON"),
        (f'{{"format_version": {FORMAT_VERSION}}}', "damaged: passes"),
    ],
)
def test_a_wrong_manifest_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / names.MANIFEST).parent.mkdir()
    (tmp_path / names.MANIFEST).write_text(text)
    with pytest.raises(ShardError, match=sentence):
        verify(str(tmp_path))


def test_no_set_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tmp_path)]) == 1
    assert "no shard set here" in capsys.readouterr().err


def test_show_and_verify_print_json(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(good), "--rows", "2", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["chunk"] for row in rows] == [0, 1]
    assert main(["verify", str(good), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []


def test_show_prints_rows_and_summary(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(good), "--rows", "1"]) == 0
    out = capsys.readouterr().out
    assert "chunk 1 of" in out
    assert "complete shard set" in out


def test_terminal_escapes_in_corpus_text_are_not_printed() -> None:
    assert printable("a\x1b[31mb\x07\n\tc\u202e") == "a\ufffd[31mb\ufffd\n\tc\ufffd"


def test_a_score_of_no_text_is_named(tmp_path: Path) -> None:
    url = str(tmp_path / "set")
    lost = {"rewrite": None, "rewrite_status": "refused", "rewrite_reason": "refusal"}
    scores = {"original_safety": 0.5, "original_score": 0.5, "rewrite_safety": 0.25}
    write_set(url, [[row("a") | lost | scores]], criteria=["safety"])
    (problem,) = verify(url)["problems"]
    assert problem.endswith("row a-0: a score of rewrite, which is null")
