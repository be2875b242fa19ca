"""A manifest, and every other small file of a set, is input: it is used, or refused in one
sentence. The digest of a manifest fits in all of these.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.shards import flat, names
from prewrite.shards.commit_log import commit_log_of
from prewrite.shards.leftovers import strays
from prewrite.shards.lock import OutputLock
from prewrite.shards.manifest import Manifest
from prewrite.shards.repair import repair
from prewrite.shards.upgrade import upgrade
from prewrite.shards.verify import verify
from tests.faults.kill_changes import MADE
from tests.shards.edits import edited
from tests.shards.hostile import judged_set, log_of, used


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judged_set(tmp_path_factory.mktemp("hostile") / "set")


@pytest.fixture
def good(base: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(base, tmp_path / "set"))


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MADE, tmp_path / "old"))


def refused(folder: Path) -> str:
    """The one sentence with which a set cannot be opened or verified."""
    said = set()
    for use in (used, verify):
        with pytest.raises(ShardError) as error:
            use(folder)
        said.add(str(error.value))
    (sentence,) = said
    assert sentence.isprintable() and len(sentence) < 600
    return sentence


OTHER: list[tuple[dict[str, Any], str]] = [
    ({"measures": ["quality_size"]}, "measures: found 'quality_size'; accepted: quality_consis"),
    ({"measures": ["other_consistency"]}, "measures: found 'other_consistency'; accepted: qual"),
    ({"measures": ["quality_consistency"] * 2}, "measures: found 'quality_consistency' twice"),
    ({"measures": [], "criteria": ["score"]}, "columns: found two columns 'original_score'"),
    ({"criteria": ["quality"] * 2}, "criteria: found 'quality' twice; accepted: each once"),
    ({"criteria": ["a\x1b[31m"]}, "criteria.0: String should match pattern"),
    ({"criteria": "quality"}, "criteria: Input should be a valid list"),
    ({"rewrites": ["a", "b", "a"]}, "rewrites: found 'a' twice; accepted: each once"),
    ({"rewrites": ["A"]}, "rewrites.0: String should match pattern"),
    ({"owners": "00000000"}, "owners: Input should be a valid list"),
    ({"owners": [7]}, "owners.0: Input should be a valid string"),
    ({"owners": [""]}, "owners.0: String should match pattern"),
    ({"owners": ["0000000"]}, "owners.0: String should match pattern"),
    ({"owners": ["00000000\n"]}, "owners.0: String should match pattern"),
    ({"owners": ["ABCDEF01"]}, "owners.0: String should match pattern"),
    ({"owners": ["........"]}, "owners.0: String should match pattern"),
    ({"known_as": 7}, "known_as: Input should be a valid string"),
    ({"known_as": "\x1b[31m"}, "known_as: String should match pattern"),
    ({"before": "x"}, "before: String should match pattern"),
    ({"removed": "a"}, "removed: Input should be a valid list"),
    ({"removed": [{}]}, "removed.0.doc_id: Field required"),
    ({"removed": [{"doc_id": "a", "rows": -1}]}, "removed.0.rows: Input should be greater"),
    ({"rows": "12"}, "rows: Input should be a valid integer"),
    ({"parts": True}, "parts: Input should be a valid integer"),
    ({"statuses": {"ok": -1}}, "statuses.ok: Input should be greater"),
    ({"inputs": [{"path": "a", "bytes": -1}]}, "inputs.0.bytes: Input should be greater"),
    ({"more\n\x1b": 1}, "more \N{REPLACEMENT CHARACTER}: Extra inputs are not permitted"),
]


@pytest.mark.parametrize(("change", "sentence"), OTHER, ids=range(len(OTHER)))
def test_a_value_that_no_set_can_have(good: Path, change: dict[str, Any], sentence: str) -> None:
    with edited(good) as manifest:
        manifest.update(change)
    assert f"{names.MANIFEST}: damaged: {sentence}" in refused(good)


OTHER_LOGS: list[tuple[dict[str, Any], str]] = [
    ({"name": "../x.pq"}, "log.0.name: found '../x.pq'; accepted: a file in _prewrite/log/"),
    ({"name": "/etc/passwd"}, "log.0.name: found '/etc/passwd'; accepted: a file in"),
    ({"name": f"{names.LOG}/../00000-0000000000aa.pq"}, "log.0.name: found '_prewrite/log/../"),
    ({"name": names.MANIFEST}, "log.0.name: found '_prewrite/manifest.json'"),
    ({"name": "\x1b" * 999}, "log.0.name: found '"),
    ({"sha256": "\x1b"}, "log.0.sha256: String should match pattern"),
    ({"records": -1}, "log.0.records: Input should be greater"),
    ({"bytes": 2**70}, "found 3 records in "),
    ({"records": 2}, "found 3 records in "),
]


@pytest.mark.parametrize(("change", "sentence"), OTHER_LOGS, ids=range(len(OTHER_LOGS)))
def test_a_file_of_a_log_that_cannot_be(good: Path, change: dict[str, Any], sentence: str) -> None:
    with edited(good) as manifest:
        manifest["log"][0].update(change)
    assert sentence in refused(good)


def test_a_log_that_is_listed_twice_or_of_an_unknown_run(good: Path) -> None:
    with edited(good) as manifest:
        manifest["owners"] = ["ffffffff"]
    (problem,) = verify(good)["problems"]
    assert f"{log_of(good).name}: found the log of a run that {names.MANIFEST} does not" in problem
    with edited(good) as manifest:
        manifest["log"] *= 2
    assert "log: found a file twice" in refused(good)


def test_links_of_a_log_lead_nowhere_else(good: Path, tmp_path: Path) -> None:
    file = log_of(good)
    file.rename(tmp_path / "outside.pq")
    file.symlink_to(tmp_path / "outside.pq")
    assert "found a link to " in refused(good)


TEXTS = [
    ("[]", "found a list; accepted: a JSON object"),
    ("3", "found a single value; accepted: a JSON object"),
    ("null", "found null; accepted: a JSON object"),
    ('"text"', "found a text; accepted: a JSON object"),
    ("", "damaged: not JSON: "),
    ("[" * 100_000, "damaged: nested too deeply"),
    ('{"a":' * 100_000, "damaged: nested too deeply"),
    ('{"format_version": true}', "found format version True; accepted: 2"),
    ('{"format_version": 2.0}', "found format version 2.0; accepted: 2"),
    ('{"format_version": [2]}', "found format version [2]; accepted: 2"),
    (f'{{"format_version": {"9" * 5000}}}', "damaged: not JSON: "),
    ('{"format_version": 2, "owners": ["\\ud800"]}', "damaged: not JSON: "),
]


@pytest.mark.parametrize(("text", "sentence"), TEXTS, ids=range(len(TEXTS)))
def test_a_manifest_that_is_none(good: Path, text: str, sentence: str) -> None:
    (good / names.MANIFEST).write_text(text)
    assert f"{names.MANIFEST}: {sentence}" in refused(good)


def test_files_of_others_are_never_strays(good: Path) -> None:
    """An owner is part of the name of a file, so one of another form would name others' files."""
    for name in ("data/train-a-b.parquet", "data/mine-000000000000.parquet", "data/train-.parquet"):
        (good / name).write_text("mine")
    assert strays(Folder(str(good)), Manifest.load(Folder(str(good)))) == []
    repair(str(good))
    assert len([path for path in (good / "data").iterdir() if path.read_bytes() == b"mine"]) == 3


JUNK = ["", "[]", "null", "3", '"a"', "{}", '{"records": [{}]}', "[" * 99_999, "\ud7ff", "{"]


@pytest.mark.parametrize("text", JUNK, ids=range(len(JUNK)))
def test_junk_in_place_of_a_record_or_a_lock(good: Path, text: str) -> None:
    """A finished set is read all the same; whoever would need the file names it."""
    folder = Folder(str(good))
    merge, mark = (good / names.merge("00000000abcd"), good / names.mark("00000"))
    records = [good / names.RECORDS / f"00000-0000{n}-5-00000000abcd.json" for n in (0, 1)]
    merge.parent.mkdir(exist_ok=True)
    for file, fault in ((merge, "damaged record of a merge"), (records[0], "damaged commit rec")):
        for path in [file, *records[1:], mark]:
            path.write_text(text)
        used(good)
        commit_log = commit_log_of(Manifest.load(folder), folder)
        with pytest.raises(ShardError, match=f"{file.name}: {fault}"):
            commit_log.records("00000")
        assert commit_log.opened("00000") is None
        file.unlink()
    (good / names.LOCK).write_text(text)
    with pytest.raises(ShardError, match=r"lock.json: damaged; remove it"), OutputLock(folder):
        pass


@pytest.mark.parametrize("text", JUNK, ids=range(len(JUNK)))
def test_junk_in_place_of_an_upgrade(old: Path, text: str) -> None:
    (old / names.UPGRADE).parent.mkdir()
    (old / names.UPGRADE).write_text(text)
    with pytest.raises(ShardError, match=names.UPGRADE):
        upgrade(str(old))
    assert (old / flat.MANIFEST).exists()


def test_an_upgrade_that_was_changed_is_not_continued(old: Path) -> None:
    manifest = Manifest.load(Folder(str(old)))
    manifest.format_version = 2
    manifest.save(Folder(str(old)), names.UPGRADE)
    changed = json.loads((old / names.UPGRADE).read_text()) | {"rows": 7}
    (old / names.UPGRADE).write_text(json.dumps(changed))
    with pytest.raises(ShardError, match=r"upgrade.json: found content of the digest .*; restore"):
        upgrade(str(old))


def _listed(change: Callable[[dict[str, Any]], object]) -> Callable[[Path], object]:
    def damage(folder: Path) -> None:
        manifest = json.loads((folder / flat.MANIFEST).read_text())
        change(manifest)
        (folder / flat.MANIFEST).write_text(json.dumps(manifest))

    return damage


FLAT: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda m: m.update(parts=7), "parts: Input should be a valid list"),
    (lambda m: m.update(parts=None), "parts: Input should be a valid list"),
    (lambda m: m.update(judgements="x"), "judgements: Input should be a valid list"),
    (lambda m: m["parts"].append(3), "parts.2: Input should be a valid dictionary"),
    (lambda m: m["parts"][0].update(name="../part-0.parquet"), "parts.0.name: found '../part-0"),
    (lambda m: m["parts"][0].update(name="/etc/passwd"), "parts.0.name: found '/etc/passwd'"),
    (lambda m: m["parts"][0].update(name="notes.txt"), "parts.0.name: found 'notes.txt'; accepted"),
    (lambda m: m["parts"][0].update(sha256="x"), "parts.0.sha256: String should match pattern"),
    (lambda m: m["parts"][0].update(bytes=-1), "parts.0.bytes: Input should be greater"),
    (lambda m: m["parts"].append(m["parts"][0]), "2 times; accepted: every file once"),
]


@pytest.mark.parametrize(("change", "sentence"), FLAT, ids=range(len(FLAT)))
def test_an_old_manifest_of_files_that_cannot_be(
    old: Path, change: Callable[[dict[str, Any]], object], sentence: str
) -> None:
    _listed(change)(old)
    for use in (used, verify, lambda one: upgrade(str(one))):
        with pytest.raises(ShardError, match=r"manifest\.json: damaged: ") as error:
            use(old)
        assert sentence in str(error.value)


def test_an_old_part_that_is_said_to_be_huge_is_not_read(old: Path) -> None:
    _listed(lambda manifest: manifest["parts"][0].update(bytes=1 << 62))(old)
    assert verify(old)["problems"]


LINES = ["3", "[]", "null", '"split"', "{}", "[" * 100_000, '{"split": 3}']
LINES += ['{"split": "a", "part": 7}', '{"split": "a", "part": {"name": "../x"}}']


@pytest.mark.parametrize("text", LINES, ids=range(len(LINES)))
def test_a_line_of_an_old_log_that_is_no_record(old: Path, text: str) -> None:
    log = old / flat.LOG
    lines = log.read_text().splitlines()
    for place in (1, len(lines)):
        log.write_text("\n".join([*lines[:place], text, *lines[place:]]) + "\n")
        with pytest.raises(ShardError, match=rf"commits\.jsonl: line {place + 1}: damaged: "):
            upgrade(str(old))


def test_a_link_to_a_folder_outside_costs_no_file_there(old: Path, tmp_path: Path) -> None:
    upgrade(str(old))
    shutil.copy(MADE / flat.MANIFEST, old / flat.MANIFEST)
    outside = tmp_path / "outside"
    shutil.copytree(MADE / "judgements", outside)
    (old / "judgements").symlink_to(outside)
    with pytest.raises(ShardError, match="found a link to "):
        upgrade(str(old))
    assert len([*outside.iterdir()]) == 2
