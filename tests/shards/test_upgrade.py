"""A set of 0.1 becomes one of today's: the same rows, whatever kills the upgrade, and whatever was
said of the set stays true of it.
"""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.judge.passes import SetSource
from prewrite.judge.provenance import TrainedOn
from prewrite.shards import flat, names
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import FORMAT_VERSION
from prewrite.shards.upgrade import upgrade
from prewrite.shards.verify import verify
from prewrite.train.data.source import TrainingSet
from tests.commands import shards
from tests.faults.apart import results, scratch
from tests.faults.kill_changes import MADE, rows, said
from tests.shards.format1 import flatten
from tests.shards.making import row, write_set
from tests.train.data.sets import config as train_config


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return Path(shutil.copytree(MADE, tmp_path / "set"))


def is_upgraded(url: Path) -> None:
    """Whole, with all rows and verdicts, and nothing of the old format beside them."""
    for inner, place in ((MADE, url), (MADE / flat.REWRITES, url / names.REWRITES)):
        assert verify(str(place))["problems"] == []
        assert rows(place) == rows(inner) and said(place) == said(inner)
        assert ShardSet(str(place)).manifest.format_version == FORMAT_VERSION
    assert sorted(path.name for path in url.iterdir()) == [
        names.JUDGEMENTS, "_prewrite", names.REWRITES, names.DATA,
    ]  # fmt: skip


def test_all_rows_and_verdicts_are_there(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shards(["upgrade", str(old)]) == 0
    assert f"{old}: format {FORMAT_VERSION}; 8 rows in 2 row groups" in capsys.readouterr().out
    is_upgraded(old)
    before, after = (ShardSet(str(url)).manifest for url in (MADE, old))
    kept = {"rows", "documents", "statuses", "skipped", "left_out", "inputs", "criteria"}
    assert after.model_dump(include=kept) == before.model_dump(include=kept)
    assert [one.usage for one in after.passes] == [one.usage for one in before.passes]
    assert shards(["upgrade", str(old)]) == 0
    assert "nothing to do" in capsys.readouterr().out


def test_passes_and_runs_over_it_go_on(old: Path, tmp_path: Path) -> None:
    """What a judge pass, a training run and an exported model say of their input stays true."""

    def known(url: str, rewrites: str) -> list[Any]:
        made = ShardSet(url).manifest
        trained = TrainingSet(0, train_config({"set": url})).identity()
        return [
            made.passes[-1].config["input"]["parts"] == ShardSet(rewrites).manifest.known_as,
            trained,
            TrainedOn.of("", made, None),
        ]

    before = known(str(old), f"{old}/{flat.REWRITES}")
    upgrade(str(old))
    assert known(str(old), f"{old}/{names.REWRITES}") == before
    assert before[0]


def test_a_part_can_be_read_again_as_input(old: Path) -> None:
    """A judged set names the digests of the row groups that it was made of."""
    upgrade(str(old))
    inner = ShardSet(f"{old}/{names.REWRITES}")
    source = SetSource(inner.folder.url)
    for split in source.splits():
        (part,) = [part for part in inner.parts if part.name == split.name]
        assert {item.before for item in source.read(split, 0)} == {part.known_as}


def test_a_report_moves_references_go_and_other_files_stay(old: Path) -> None:
    (old / "report.html").write_text("page")
    (old / "notes.txt").write_text("mine")
    (old / "reference/0123456789abcdef").mkdir(parents=True)
    (old / "reference/0123456789abcdef/manifest.json").write_text("{}")
    (old / "reference/0123456789abcdef/part-00000-00000-00000.parquet").write_text("")
    upgrade(str(old))
    assert (old / names.REPORT).read_text() == "page"
    assert (old / "notes.txt").read_text() == "mine"
    assert not (old / "report.html").exists() and not (old / "reference").exists()


@pytest.mark.slow
@pytest.mark.parametrize("command", ["upgrade", "remove"])
def test_killed_at_any_step_nothing_is_lost(command: str) -> None:
    """Readers find all rows, old or new, after any kill, and the same command ends what it began.
    Every fifth step; `python -m benchmarks faults` does all.
    """
    with scratch() as folder:
        found = results("kill_changes", [command, folder, 1 + len(command) % 5, 5])
    assert len(found) > 20 and [one for one in found if one[1]] == []


def _log(folder: Path) -> Path:
    return folder / flat.LOG


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda old: _log(old).unlink(), "found no log; accepted: the log of this set"),
        (lambda old: _log(old).write_text("{"), "commits.jsonl: line 1: damaged: "),
        (
            lambda old: _log(old).write_text(_log(old).read_text().splitlines()[0]),
            "found files that are not those of the manifest",
        ),
        (
            lambda old: (old / flat.MANIFEST).write_text(
                (old / flat.MANIFEST).read_text().replace('"complete"', '"interrupted"')
            ),
            "found a set that is interrupted; accepted: a complete one; finish it with the",
        ),
        (
            lambda old: next(old.glob("part-*")).write_bytes(b"PAR1"),
            "its SHA-256 is not the one that the manifest lists",
        ),
    ],
)
def test_what_cannot_be_upgraded_stays_as_it_is(
    old: Path, change: Any, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    change(old)
    assert shards(["upgrade", str(old)]) == 1
    assert sentence in capsys.readouterr().err
    assert ShardSet(str(old)).manifest.flat


def test_a_half_upgraded_set_is_named(old: Path) -> None:
    """Before its manifest is written the set is the old one, afterwards the new one."""
    kept = (old / flat.MANIFEST).read_bytes()
    upgrade(str(old))
    (old / flat.MANIFEST).write_bytes(kept)
    (problem,) = verify(str(old))["problems"]
    assert problem == f"an upgrade was not finished; run prewrite shards upgrade {old}"
    upgrade(str(old))
    is_upgraded(old)


@pytest.mark.parametrize("version", [1, 3, 99, "2", None, True])
def test_a_set_of_another_format_is_one_sentence(old: Path, version: Any) -> None:
    upgrade(str(old))
    path = old / names.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": version}))
    with pytest.raises(ShardError, match=r"found format version .*; accepted: 2; a newer set"):
        ShardSet(str(old))


def test_with_old_files_a_command_names_the_upgrade(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["verify", "--repair", str(old)], ["remove", str(old), "--doc-id", "a"]):
        assert shards(words) == 1
        told = capsys.readouterr().err
        assert f"found a set of {flat.WHAT}; accepted with" in told
        assert f"run prewrite shards upgrade {old} first" in told


def test_the_folder_takes_a_lock(old: Path) -> None:
    folder = Folder(str(old))
    folder.write(names.LOCK, b"{}")
    with pytest.raises(ShardError, match=r"lock.json: damaged; remove it"):
        upgrade(str(old))


def _set_of_others(old: Path) -> None:
    """Where the new manifest will be, that of another set."""
    other = Path(shutil.copytree(MADE / flat.REWRITES, old.parent / "other"))
    upgrade(str(other))
    shutil.copytree(other / "_prewrite", old / "_prewrite")


def _linked(old: Path) -> None:
    (old / flat.REWRITES).rename(old.parent / "elsewhere")
    (old / flat.REWRITES).symlink_to(old.parent / "elsewhere")


def _unfinished(old: Path) -> None:
    path = old / flat.MANIFEST
    path.write_text(path.read_text().replace('"complete"', '"interrupted"'))


def _put(name: str, old: Path) -> None:
    (old / name).parent.mkdir(parents=True, exist_ok=True)
    (old / name).write_text("mine")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_set_of_others, "found another set than in .*; accepted: one set; move one of them"),
        (_linked, f"{flat.REWRITES}: found a link to .*, out of the folder"),
        (_unfinished, "found a set that is interrupted; accepted: a complete one"),
        (partial(_put, names.CARD), f"found {names.CARD}, which no shard set here has written"),
        (partial(_put, f"{names.RECORDS}/a"), f"found {names.RECORDS}/, which no shard set here"),
        (
            partial(_put, f"{names.REWRITES}/{names.SKIPPED}"),
            f"{names.REWRITES}: found {names.SKIPPED}, which no shard set here has written",
        ),
    ],
)
def test_both_sets_are_looked_at_before_one_is_written(
    old: Path, change: Callable[[Path], None], sentence: str
) -> None:
    change(old)
    before = tree(old)
    with pytest.raises(ShardError, match=sentence):
        upgrade(str(old))
    assert tree(old) == before


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("end", ["", "/"])
def test_the_rewrites_of_a_set_are_upgraded_with_it(old: Path, end: str) -> None:
    """Where they are alone they would lie in a folder that is read with the rows of the set."""
    upgrade(f"{old}/{flat.REWRITES}{end}")
    is_upgraded(old)


def test_a_half_upgraded_set_is_not_changed(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The old files, which still hold all documents, would stay."""
    kept = (old / flat.MANIFEST).read_bytes()
    upgrade(str(old))
    (old / flat.MANIFEST).write_bytes(kept)
    for words in (["verify", "--repair", str(old)], ["remove", str(old), "--doc-id", "a"]):
        assert shards(words) == 1
        said = capsys.readouterr().err
        assert "found an upgrade that was not finished; accepted with" in said
        assert f"run prewrite shards upgrade {old} first" in said


def _of_two_templates(url: Path) -> list[dict[str, Any]]:
    more = {"rewrite_faq": "FAQ", "rewrite_faq_status": "ok", "rewrite_faq_reason": None}
    write_set(str(url), [[row("a") | more, row("b") | more]], rewrites=["plain", "faq"])
    return rows(url)


def test_a_flat_set_keeps_all_its_rewrites(tmp_path: Path) -> None:
    url = tmp_path / "set"
    before = _of_two_templates(url)
    flatten(url)
    assert ShardSet(url).manifest.flat and rows(url) == before
    upgrade(str(url))
    assert verify(str(url))["problems"] == [] and rows(url) == before
    assert before[0]["rewrite_faq"] == "FAQ"


def test_a_column_that_would_be_lost_is_refused(tmp_path: Path) -> None:
    url = tmp_path / "set"
    _of_two_templates(url)
    flatten(url, lambda table: table.append_column("mine", pa.array(["x"] * table.num_rows)))
    before = tree(url)
    with pytest.raises(ShardError, match=r"parquet: found the column 'mine'; accepted: those that"):
        upgrade(str(url))
    assert {name: data for name, data in tree(url).items() if name in before} == before
