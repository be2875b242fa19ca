"""`verify --repair` has just the damaged parts made again, byte for byte."""

import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from prewrite.base.errors import Interrupted, ShardError
from prewrite.base.files import Folder
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Document
from prewrite.pipeline.run import run_pass
from prewrite.shards.lock import OutputLock
from prewrite.shards.manifest import Record
from prewrite.shards.names import RecordName, block_of
from prewrite.shards.repair import repair
from prewrite.shards.seal import opened, sealed
from prewrite.shards.verify import verify
from tests.commands import shards as main
from tests.pipeline.fake import InstantPass
from tests.shards.edits import edited, replaced


def make(corpus: Path, out: Path, **settings: object) -> None:
    job = InstantPass((f"{corpus}/*.jsonl",), **settings)  # type: ignore[arg-type]
    run_pass(job, str(out), RunConfig(rows_per_part=40))


@pytest.fixture
def good(corpus: Path, tmp_path: Path) -> Path:
    make(corpus, tmp_path / "set")
    return tmp_path / "set"


def contents(folder: Path) -> dict[str, bytes]:
    """The bytes of each part, by what stays in its name when it is written again."""
    return {block_of(p.name): p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


def part(folder: Path, block: str) -> Path:
    return next(folder.glob(f"part-{block}-*"))


def flip(part: Path) -> None:
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(bytes(data))


DAMAGE: list[Callable[[Path], object]] = [flip, Path.unlink, lambda part: part.write_bytes(b"")]


@pytest.mark.parametrize("damage", DAMAGE, ids=["flipped", "missing", "empty"])
def test_a_damaged_part_alone_is_made_again(
    corpus: Path, good: Path, damage: Callable[[Path], object], capsys: pytest.CaptureFixture[str]
) -> None:
    before, manifest = contents(good), json.loads((good / "manifest.json").read_text())
    first, last = sorted(before)[1], sorted(before)[-1]
    names = [part(good, block).name for block in (first, last)]
    for name in names:
        damage(good / name)
    assert main(["verify", str(good), "--repair"]) == 0
    out = capsys.readouterr().out
    rows = sum(part["rows"] for part in manifest["parts"] if part["name"] in names)
    assert all(f"{name}: " in out for name in names)
    assert f"run the command that made it to recompute {rows} rows of 2 parts" in out
    asked = 0

    async def count(document: Document) -> None:
        nonlocal asked
        asked += len(document.rows)

    make(corpus, good, before=count)
    assert contents(good) == before
    assert asked == rows
    after = json.loads((good / "manifest.json").read_text())
    for one in (manifest, after):
        del one["passes"][-1]["seconds"], one["owners"], one["digest"]
        for file in one["parts"]:
            file["name"] = block_of(file["name"])
    assert after == manifest
    assert verify(str(good))["problems"] == []


def test_a_set_of_which_every_part_is_lost_counts_no_rows(corpus: Path, good: Path) -> None:
    before = json.loads((good / "manifest.json").read_text())
    assert before["statuses"] and before["skipped"]
    for lost in good.glob("part-*"):
        lost.unlink()
    repair(str(good))
    after = json.loads((good / "manifest.json").read_text())
    assert after["status"] == "interrupted" and not after["rows"]
    assert not after["statuses"] and not after["skipped"] and not after["skipped_records"]
    make(corpus, good)
    after = json.loads((good / "manifest.json").read_text())
    assert [after[k] for k in ("statuses", "skipped")] == [
        before[k] for k in ("statuses", "skipped")
    ]


def test_a_repair_that_is_interrupted_goes_on(corpus: Path, good: Path) -> None:
    before = contents(good)
    flip(part(good, sorted(before)[1]))
    repair(str(good))

    async def interrupt(document: Document) -> None:
        import signal

        signal.raise_signal(signal.SIGTERM)

    with pytest.raises(Interrupted):
        make(corpus, good, before=interrupt)
    make(corpus, good)
    assert contents(good) == before


def test_an_edited_manifest_is_written_anew(good: Path) -> None:
    text = (good / "manifest.json").read_text()
    *heads, parts = text.partition('"parts"')
    for changed in (
        re.sub(r'"rows": \d+', '"rows": 1', text),
        "".join(heads) + re.sub(r'"sha256": "\w{64}"', f'"sha256": "{"0" * 64}"', parts, count=6),
        text.replace('"ok"', '"failed"'),
    ):
        for on_purpose in (False, True):
            content, _ = opened(json.loads(changed))
            (good / "manifest.json").write_bytes(
                sealed(content) if on_purpose else changed.encode()
            )
            assert main(["verify", str(good)]) == 1
            before = contents(good)
            assert repair(str(good)) == ["the manifest was written anew"]
            assert contents(good) == before
            assert (good / "manifest.json").read_text() == text
            assert verify(str(good))["problems"] == []
    assert repair(str(good)) == []


def test_what_cannot_be_repaired_is_one_sentence(good: Path) -> None:
    text = (good / "manifest.json").read_text()
    for old, new in (('"seed": 0', '"seed": 7'), ('"seconds": ', '"seconds": 1')):
        (good / "manifest.json").write_text(text.replace(old, new))
        before = tree(good)
        with pytest.raises(ShardError, match=r"commits\.jsonl does not hold what was changed"):
            repair(str(good))
        assert tree(good) == before
    (good / "manifest.json").write_text(text)
    replaced(good, '"seed": 0', '"seed": 7')
    assert "not that of its fingerprint" in verify(str(good))["problems"][0]
    with pytest.raises(ShardError, match="pass 'rewrite' is not that of its fingerprint; restore"):
        repair(str(good))
    (good / "manifest.json").write_text(text.replace('"format_version": 2', '"format_version": 3'))
    with pytest.raises(ShardError, match="format version 3; this Prewrite reads 1 and 2"):
        repair(str(good))
    (good / "manifest.json").write_text(text)
    (good / "commits.jsonl").unlink()
    with pytest.raises(ShardError, match=r"no commits.jsonl to repair it by; nothing was changed"):
        repair(str(good))


def test_no_repair_while_a_run_is_writing(good: Path) -> None:
    with (
        OutputLock(Folder(str(good))),
        pytest.raises(ShardError, match="another run is writing here"),
    ):
        repair(str(good))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _append(log: Path) -> None:
    first = json.loads(log.read_text().splitlines()[0])
    log.write_text(log.read_text() + json.dumps(first | {"split": "../x", "block": 0}) + "\n")


LOGS: dict[str, Callable[[Path], object]] = {
    "a line more": _append,
    "a line fewer": lambda log: log.write_text("".join(log.read_text().splitlines(True)[1:])),
    "cut": lambda log: log.write_text(log.read_text()[:-40]),
    "without its end": lambda log: log.write_text("".join(log.read_text().splitlines(True)[:-1])),
    "edited": lambda log: log.write_text(log.read_text().replace('"stop":', '"stop":1')),
    "empty": lambda log: log.write_text(""),
    "gone": Path.unlink,
}


@pytest.mark.parametrize("damage", LOGS.values(), ids=LOGS)
@pytest.mark.parametrize("part_damaged", [False, True])
def test_without_a_log_that_fits_nothing_is_changed(
    good: Path, damage: Callable[[Path], object], part_damaged: bool
) -> None:
    damage(good / "commits.jsonl")
    if part_damaged:
        flip(next(good.glob("part-*")))
    before = tree(good)
    with pytest.raises(ShardError, match=r"commits\.jsonl"):
        repair(str(good))
    assert tree(good) == before


def test_the_log_wins_over_what_a_killed_removal_has_left(good: Path) -> None:
    """Some records of the run, as they were, and an unreadable one."""
    records = [Record.model_validate_json(x) for x in _lines(good)[:3]]
    folder = good / "commits"
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


def _lines(good: Path) -> list[str]:
    return (good / "commits.jsonl").read_text().splitlines()[:-1]


def test_a_manifest_of_other_inputs_does_not_become_complete(good: Path) -> None:
    """Totals and inputs must agree with the log."""
    with edited(good) as raw:
        raw["inputs"][0]["records"] += 1
    before = tree(good)
    with pytest.raises(ShardError, match="as the manifest says; nothing was changed"):
        repair(str(good))
    assert tree(good) == before


def test_the_command_after_nothing_to_do_cleans_up(corpus: Path, good: Path) -> None:
    (good / "commits").mkdir()
    (good / str(RecordName("00000", 0, 1, "0" * 12))).write_bytes(b"{}")
    (good / f".run-{'0' * 32}").mkdir()
    make(corpus, good)
    assert not list(good.glob(".run-*")) and not (good / "commits").exists()


def test_a_part_of_a_run_that_had_ended_is_named_and_removed(corpus: Path, good: Path) -> None:
    """As a late worker of this set leaves it; one of another set stays."""
    raw = json.loads((good / "manifest.json").read_text())
    mine, other = (f"part-00000-00009-{owner}0000.parquet" for owner in (raw["owners"][0], "f" * 8))
    for name in (mine, other):
        (good / name).write_bytes(b"x")
    (problem,) = verify(str(good))["problems"]
    assert problem.startswith(f"{mine}: not in the manifest")
    assert repair(str(good)) == []
    assert not (good / mine).exists() and (good / other).read_bytes() == b"x"
    assert verify(str(good))["problems"] == []


def test_a_log_of_another_set_of_the_same_recipe_changes_nothing(
    corpus: Path, good: Path, tmp_path: Path
) -> None:
    """Its parts are not there, and those that are there are whole."""
    make(corpus, tmp_path / "other")
    shutil.copy(tmp_path / "other/commits.jsonl", good)
    before = tree(good)
    (problem,) = verify(str(good))["problems"]
    assert "its files are not those of the manifest" in problem
    with pytest.raises(ShardError, match="which is whole and in the manifest"):
        repair(str(good))
    assert tree(good) == before


def test_a_log_with_records_of_another_form_is_one_sentence(good: Path) -> None:
    body = b'{"split": 3}\n'
    raw = json.loads((good / "commits.jsonl").read_text().splitlines()[-1])
    raw |= {"records": 1, "sha256": hashlib.sha256(body).hexdigest()}
    (good / "commits.jsonl").write_bytes(body + json.dumps(raw).encode() + b"\n")
    with pytest.raises(ShardError, match="commits.jsonl: damaged"):
        repair(str(good))


def test_a_folder_with_brackets_in_its_name_is_cleaned_up(corpus: Path, tmp_path: Path) -> None:
    out = tmp_path / "set[1]"
    make(corpus, out)
    owner = json.loads((out / "manifest.json").read_text())["owners"][0]
    (out / f".run-{'0' * 32}").mkdir()
    (out / f"part-00000-00009-{owner}0000.parquet").write_bytes(b"x")
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
