"""`verify --repair` has just the damaged parts made again, byte for byte."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from base.errors import Interrupted, ShardError
from base.files import Folder
from shards.__main__ import main
from shards.executor import RunConfig
from shards.lease import Lease
from shards.passes import Document
from shards.repair import repair
from shards.run import run_pass
from shards.verify import verify
from tests.shards.fake import InstantPass


def make(corpus: Path, out: Path, **settings: object) -> None:
    job = InstantPass((f"{corpus}/*.jsonl",), **settings)  # type: ignore[arg-type]
    run_pass(job, str(out), RunConfig(rows_per_part=40))


@pytest.fixture
def good(corpus: Path, tmp_path: Path) -> Path:
    make(corpus, tmp_path / "set")
    return tmp_path / "set"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*.parquet"))}


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
    damage(good / first)
    damage(good / last)
    assert main(["verify", str(good), "--repair"]) == 0
    out = capsys.readouterr().out
    rows = sum(part["rows"] for part in manifest["parts"] if part["name"] in (first, last))
    assert f"{first}: " in out and f"{last}: " in out
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
        del one["passes"][-1]["seconds"]
    assert after == manifest
    assert verify(str(good))["problems"] == []


def test_a_repair_that_is_interrupted_goes_on(corpus: Path, good: Path) -> None:
    before = contents(good)
    flip(good / sorted(before)[1])
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
    for edited in (
        re.sub(r'"rows": \d+', '"rows": 1', text),
        re.sub(r'"sha256": "\w{64}"', f'"sha256": "{"0" * 64}"', text, count=6),
        text.replace('"ok"', '"failed"'),
    ):
        (good / "manifest.json").write_text(edited)
        assert verify(str(good))["problems"]
        before = contents(good)
        assert repair(str(good)) == ["the manifest was written anew"]
        assert contents(good) == before
        assert verify(str(good))["problems"] == []
    assert repair(str(good)) == []


def test_what_cannot_be_repaired_is_one_sentence(good: Path) -> None:
    text = (good / "manifest.json").read_text()
    (good / "manifest.json").write_text(text.replace('"seed": 0', '"seed": 7'))
    assert "not that of its fingerprint" in verify(str(good))["problems"][0]
    with pytest.raises(ShardError, match="pass 'rewrite' is not that of its fingerprint; restore"):
        repair(str(good))
    (good / "manifest.json").write_text(text.replace('"format_version": 2', '"format_version": 3'))
    with pytest.raises(ShardError, match="format version 3; this Prewrite reads 1 and 2"):
        repair(str(good))
    (good / "manifest.json").write_text(text)
    (good / "commits.jsonl").unlink()
    with pytest.raises(ShardError, match=r"no commits.jsonl to repair it by; make the set again"):
        repair(str(good))


def test_no_repair_while_a_run_is_writing(good: Path) -> None:
    with (
        Lease(Folder(str(good))),
        pytest.raises(ShardError, match="another run is writing here"),
    ):
        repair(str(good))
