"""`verify` finds every kind of damage, and `show` survives hostile text."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from base.errors import ShardError
from base.text import printable
from shards.__main__ import main
from shards.executor import RunConfig
from shards.run import run_pass
from shards.schema import footer_digest
from shards.verify import verify
from tests.shards.fake import InstantPass


@pytest.fixture
def good(corpus: Path, tmp_path: Path) -> Path:
    """A finished set."""
    run_pass(
        InstantPass((f"{corpus}/*.jsonl",)), str(tmp_path / "set"), RunConfig(rows_per_part=40)
    )
    return tmp_path / "set"


def _first(folder: Path) -> Path:
    return sorted(folder.glob("part-*.parquet"))[0]


def _flip(folder: Path) -> None:
    data = bytearray(_first(folder).read_bytes())
    data[len(data) // 2] ^= 1
    _first(folder).write_bytes(bytes(data))


def _edit(folder: Path, **changes: object) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.update(changes)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _change(folder: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """A part with other rows whose digest was 'corrected' too."""
    part = _first(folder)
    table = change(pq.read_table(part))
    pq.write_table(table, part)
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = next(p for p in manifest["parts"] if p["name"] == part.name)
    entry["sha256"] = hashlib.sha256(part.read_bytes()).hexdigest()
    entry["rows"] = table.num_rows
    entry["bytes"], entry["footer"] = part.stat().st_size, footer_digest(part.read_bytes())
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _excused(table: pa.Table) -> pa.Table:
    """Good rows that name a reason."""
    place = table.column_names.index("rewrite_reason")
    given = pa.array(["too_long"] * table.num_rows).dictionary_encode()
    return table.set_column(place, table.schema.field(place), given)


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (_flip, "SHA-256"),
    (lambda folder: _first(folder).unlink(), "not there"),
    (lambda folder: _change(folder, lambda t: t.slice(0, t.num_rows - 1)), "lacks chunks"),
    (lambda folder: _change(folder, _excused), "status 'ok' and rewrite_reason do not fit"),
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


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('{"format_version": 99}', "format version 99; this Prewrite reads 1 and 2"),
        ("{}", "format version None"),
        ("[1]", "format version None"),
        ("nonsense", "not JSON"),
        ('{"format_version": 2}', "damaged: passes"),
    ],
)
def test_a_wrong_manifest_is_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
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
