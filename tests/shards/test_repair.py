"""`verify --repair` has just the damaged parts made again, byte for byte."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prewrite.base.errors import Interrupted, ShardError
from prewrite.base.files import Folder
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Document
from prewrite.pipeline.run import run_pass
from prewrite.shards import log, merge, names
from prewrite.shards.lock import OutputLock
from prewrite.shards.names import RecordName
from prewrite.shards.parts import files_of
from prewrite.shards.reader import ShardSet
from prewrite.shards.repair import repair
from prewrite.shards.schema import FORMAT_VERSION
from prewrite.shards.seal import opened, sealed
from prewrite.shards.verify import verify
from tests.commands import shards as main
from tests.pipeline.fake import InstantPass
from tests.shards.edits import edited, files_with_rows, flip, replaced


def make(corpus: Path, out: Path, **settings: object) -> None:
    job = InstantPass((f"{corpus}/*.jsonl",), **settings)  # type: ignore[arg-type]
    run_pass(job, str(out), RunConfig(rows_per_part=40))


@pytest.fixture
def good(corpus: Path, tmp_path: Path) -> Path:
    make(corpus, tmp_path / "set")
    return tmp_path / "set"


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of each part, by the name that stays wherever it lies."""
    return {
        part.name: (folder / part.file).read_bytes()[part.start :][: part.bytes]
        for part in ShardSet(folder).parts
    }


def without_its_end(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def other_footer(file: Path) -> None:
    """One byte of it is another one."""
    data = bytearray(file.read_bytes())
    data[-40] ^= 1
    file.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "cut": without_its_end,
    "another footer": other_footer,
}


@pytest.mark.parametrize("damage", ["flipped", *DAMAGE])
@pytest.mark.parametrize("file_bytes", [1, merge.FILE_BYTES])
def test_a_damaged_part_alone_is_made_again(
    corpus: Path,
    tmp_path: Path,
    damage: str,
    file_bytes: int,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A damaged row group, whatever else its file holds; of a damaged file all row groups."""
    monkeypatch.setattr(merge, "FILE_BYTES", file_bytes)
    good = tmp_path / "set"
    make(corpus, good)
    before, manifest = contents(good), json.loads((good / names.MANIFEST).read_text())
    parts = ShardSet(good).parts
    assert len({part.file for part in parts}) == (1 if file_bytes > 1 else len(parts))
    chosen = [parts[1], parts[-1]]
    for part in chosen if damage == "flipped" else ():
        flip(good, part)
    for file in {part.file for part in chosen} if damage != "flipped" else ():
        DAMAGE[damage](good / file)
    if damage != "flipped":
        chosen = [p for p in parts if p.file in {part.file for part in chosen}]
    assert main(["verify", str(good), "--repair"]) == 0
    out = capsys.readouterr().out
    rows = sum(part.rows for part in chosen)
    assert all(part.file in out for part in chosen)
    assert f"run the command that made it to recompute {rows} rows of {len(chosen)} parts" in out
    asked = 0

    async def count(document: Document) -> None:
        nonlocal asked
        asked += len(document.rows)

    make(corpus, good, before=count)
    assert contents(good) == before
    assert asked == rows
    after = json.loads((good / names.MANIFEST).read_text())
    for one in (manifest, after):
        del one["passes"][-1]["seconds"], one["owners"], one["digest"], one["log"]
    assert after == manifest
    assert verify(str(good))["problems"] == []
    files = files_of(ShardSet(good).parts)
    assert len(files) == (1 if file_bytes > 1 else len(parts))
    assert {str(path.relative_to(good)) for path in files_with_rows(good)} == set(files)


def test_a_set_of_which_every_part_is_lost_counts_no_rows(corpus: Path, good: Path) -> None:
    before = json.loads((good / names.MANIFEST).read_text())
    assert before["statuses"] and before["skipped"]
    for lost in files_with_rows(good):
        lost.unlink()
    repair(str(good))
    after = json.loads((good / names.MANIFEST).read_text())
    assert after["status"] == "interrupted" and not after["rows"]
    assert not after["statuses"] and not after["skipped"] and not after["skipped_records"]
    make(corpus, good)
    after = json.loads((good / names.MANIFEST).read_text())
    assert [after[k] for k in ("statuses", "skipped")] == [
        before[k] for k in ("statuses", "skipped")
    ]


def test_a_repair_that_is_interrupted_goes_on(corpus: Path, good: Path) -> None:
    before = contents(good)
    flip(good, ShardSet(good).parts[1])
    repair(str(good))

    async def interrupt(document: Document) -> None:
        import signal

        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        make(corpus, good, before=interrupt)
    make(corpus, good)
    assert contents(good) == before


def test_an_edited_manifest_is_written_anew(good: Path) -> None:
    text = (good / names.MANIFEST).read_text()
    for changed in (
        re.sub(r'"rows": \d+', '"rows": 1', text),
        re.sub(r'"parts": \d+', '"parts": 1', text),
        re.sub(r'"rows_digest": "\w{64}"', f'"rows_digest": "{"0" * 64}"', text),
        text.replace('"ok"', '"failed"'),
    ):
        assert changed != text
        for on_purpose in (False, True):
            content, _ = opened(json.loads(changed))
            (good / names.MANIFEST).write_bytes(sealed(content) if on_purpose else changed.encode())
            assert main(["verify", str(good)]) == 1
            before = {path: path.read_bytes() for path in files_with_rows(good)}
            assert repair(str(good)) == ["the manifest was written anew"]
            assert {path: path.read_bytes() for path in files_with_rows(good)} == before
            assert (good / names.MANIFEST).read_text() == text
            assert verify(str(good))["problems"] == []
    assert repair(str(good)) == []


def test_what_cannot_be_repaired_is_one_sentence(good: Path) -> None:
    text = (good / names.MANIFEST).read_text()
    for old, new in (('"seed": 0', '"seed": 7'), ('"seconds": ', '"seconds": 1')):
        (good / names.MANIFEST).write_text(text.replace(old, new))
        before = tree(good)
        with pytest.raises(ShardError, match="_prewrite/log does not hold what was changed"):
            repair(str(good))
        assert tree(good) == before
    (good / names.MANIFEST).write_text(text)
    replaced(good, '"seed": 0', '"seed": 7')
    assert "not that of its fingerprint" in verify(str(good))["problems"][0]
    with pytest.raises(ShardError, match="pass 'rewrite' is not that of its fingerprint; restore"):
        repair(str(good))
    mine, later = (f'"format_version": {n}' for n in (FORMAT_VERSION, FORMAT_VERSION + 1))
    assert mine in text
    (good / names.MANIFEST).write_text(text.replace(mine, later))
    with pytest.raises(ShardError, match="format version .*; a newer set needs a newer Prewrite"):
        repair(str(good))


def test_no_repair_while_a_run_is_writing(good: Path) -> None:
    with (
        OutputLock(Folder(str(good))),
        pytest.raises(ShardError, match="another run is writing here"),
    ):
        repair(str(good))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _records(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Other records, in a file that is whole."""
    return lambda log: pq.write_table(change(pq.read_table(log)), log)


LOGS: dict[str, Callable[[Path], object]] = {
    "a record more": _records(lambda table: pa.concat_tables([table, table[:1]])),
    "a record fewer": _records(lambda table: table[1:]),
    "edited": _records(lambda table: table.set_column(0, "split", table["split"][::-1])),
    "cut": lambda log: log.write_bytes(log.read_bytes()[:-40]),
    "a bit flipped": lambda log: log.write_bytes(
        bytes([log.read_bytes()[0] ^ 1, *log.read_bytes()[1:]])
    ),
    "empty": lambda log: log.write_bytes(b""),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("damage", LOGS.values(), ids=LOGS)
@pytest.mark.parametrize("part_damaged", [False, True])
def test_without_a_log_that_fits_nothing_is_changed(
    good: Path, damage: Callable[[Path], object], part_damaged: bool
) -> None:
    if part_damaged:
        flip(good, ShardSet(good).parts[0])
    damage(next((good / names.LOG).iterdir()))
    before = tree(good)
    with pytest.raises(ShardError, match=f"{names.LOG}/.*restore it"):
        repair(str(good))
    assert tree(good) == before


def test_the_log_wins_over_what_a_killed_removal_has_left(good: Path) -> None:
    """Some records of the run, as they were, and an unreadable one."""
    records = [*log.records(Folder(str(good)), ShardSet(good).manifest)][:3]
    folder = good / names.RECORDS
    folder.mkdir()
    for record in records:
        name = RecordName(record.split, record.block, record.turn, record.line)
        (good / str(name)).write_text(record.model_dump_json())
    (good / str(RecordName("00000", 9, 1, "0" * 12))).write_bytes(b"{")
    before = contents(good)
    assert repair(str(good)) == []
    assert contents(good) == before
    assert verify(str(good))["problems"] == []
    assert not folder.exists(), "it is not cleaned up"


def test_a_manifest_of_other_inputs_does_not_become_complete(good: Path) -> None:
    """Totals and inputs must agree with the log."""
    with edited(good) as raw:
        raw["inputs"][0]["records"] += 1
    before = tree(good)
    with pytest.raises(ShardError, match="as the .*says; nothing was changed"):
        repair(str(good))
    assert tree(good) == before


def test_the_command_after_nothing_to_do_cleans_up(corpus: Path, good: Path) -> None:
    (good / names.RECORDS).mkdir()
    (good / str(RecordName("00000", 0, 1, "0" * 12))).write_bytes(b"{}")
    (good / f".run-{'0' * 32}").mkdir()
    make(corpus, good)
    assert not list(good.glob(".run-*")) and not (good / names.RECORDS).exists()


def test_a_part_of_a_run_that_had_ended_is_named_and_removed(corpus: Path, good: Path) -> None:
    """As a late worker of this set leaves it; one of another set stays."""
    raw = json.loads((good / names.MANIFEST).read_text())
    tokens = [f"{owner}0000" for owner in (raw["owners"][0], "f" * 8)]
    mine, other = (
        [
            names.rows_file("00000-00009", token, str(good)),
            names.verdicts_file("00000-00009", token),
            names.log_file(7, token),
        ]
        for token in tokens
    )
    for name in [*mine, *other]:
        (good / name).parent.mkdir(exist_ok=True)
        (good / name).write_bytes(b"x")
    problems = verify(str(good))["problems"]
    assert [problem.partition(":")[0] for problem in problems] == [*mine, other[0]]
    assert all("not in the manifest" in problem for problem in problems)
    assert repair(str(good)) == []
    assert not any((good / name).exists() for name in mine)
    assert all((good / name).read_bytes() == b"x" for name in other)
    (problem,) = verify(str(good))["problems"]
    assert problem.startswith(f"{other[0]}: not in the manifest, but tools that read the")
    (good / other[0]).unlink()
    assert verify(str(good))["problems"] == []


def test_a_log_of_another_set_of_the_same_recipe_changes_nothing(
    corpus: Path, good: Path, tmp_path: Path
) -> None:
    """Its parts are not there, and those that are there are whole."""
    make(corpus, tmp_path / "other")
    (mine,), (other,) = ((out / names.LOG).iterdir() for out in (good, tmp_path / "other"))
    shutil.copy(other, mine)
    before = tree(good)
    for look in (verify, repair):
        with pytest.raises(ShardError, match="it is damaged, or the log of another set; restore"):
            look(str(good))
    assert tree(good) == before


def test_a_log_with_records_of_another_form_is_one_sentence(good: Path) -> None:
    (file,) = (good / names.LOG).iterdir()
    table = pq.read_table(file)
    said = pa.array(['{"split": 3}'] * len(table))
    pq.write_table(table.set_column(table.column_names.index("record"), "record", said), file)
    with edited(good) as manifest:
        data = file.read_bytes()
        manifest["log"][0] |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    with pytest.raises(ShardError, match=f"{names.LOG}/.*: row 1: damaged: "):
        repair(str(good))


def test_a_folder_with_brackets_in_its_name_is_cleaned_up(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "set[1]"
    make(corpus, out)
    owner = json.loads((out / names.MANIFEST).read_text())["owners"][0]
    (out / f".run-{'0' * 32}").mkdir()
    (out / f"data/train-00000-00009-{owner}0000.parquet").write_bytes(b"x")
    make(corpus, out)
    assert verify(str(out))["problems"] == []
    assert not (out / f".run-{'0' * 32}").exists()


def test_files_of_others_named_like_an_owner_s_stay(corpus: Path, good: Path) -> None:
    (good / ".run-notes").mkdir()
    (good / ".run-notes/mine").write_text("text")
    (good / ".run-file").write_text("text")
    (good / f".run-{'0' * 32}").mkdir()
    make(corpus, good)
    assert (good / ".run-notes/mine").exists() and (good / ".run-file").exists()
    assert not (good / f".run-{'0' * 32}").exists()


def test_a_manifest_of_other_columns_costs_no_part(good: Path) -> None:
    """The parts are those that were committed, so it is not they that are at fault."""
    with edited(good) as manifest:
        manifest["criteria"] = ["quality"]
    before = {path: path.read_bytes() for path in good.rglob("*") if path.is_file()}
    with pytest.raises(ShardError, match=r"its columns are not those of the set; restore .*json"):
        repair(str(good))
    assert before == {path: path.read_bytes() for path in good.rglob("*") if path.is_file()}
