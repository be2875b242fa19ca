"""What version 0.1 has finished is read everywhere; what it left unfinished is refused by name."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pandas
import polars
import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from prewrite.base.errors import ConfigError, ShardError
from prewrite.base.files import Folder
from prewrite.evaluation.config import PrefixesConfig
from prewrite.evaluation.cut_points import cut_points_of
from prewrite.shards import flat, names
from prewrite.shards.listed import check_listed, check_there
from prewrite.shards.reader import ShardSet
from prewrite.shards.repair import repair
from prewrite.shards.schema import FORMAT_VERSION
from prewrite.shards.stats import Stats
from prewrite.shards.verify import verify
from prewrite.train.data.source import TrainingSet
from tests.commands import judge, rewrite, shards
from tests.engine.fault_server import Fault, FaultServer
from tests.pipeline.runs import assert_whole, corpus_lines, recipe
from tests.shards.format1 import downgrade
from tests.train.data.sets import config as train_config

DOCUMENTS = 6
FAILED = "Document 2 of file 0."


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    with FaultServer(lambda call: Fault(400) if FAILED in call.text else None) as running:
        yield running


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, server: FaultServer) -> Path:
    """A folder with a recipe and its judged set, of this format and of the old one."""
    root = tmp_path_factory.mktemp("formats")
    (root / "corpus.jsonl").write_bytes(corpus_lines(0, DOCUMENTS))
    text = recipe(f"{root}/corpus.jsonl", f"{root}/set", server.url, judge=True, rows_per_part=10)
    (root / "recipe.yaml").write_text(text)
    assert rewrite(["--config", str(root / "recipe.yaml")]) == 0
    shutil.copytree(root / "set", root / "new")
    downgrade(root / "set")
    return root


@pytest.fixture
def old(made: Path, tmp_path: Path) -> Path:
    """A copy of the old set that a test may change."""
    return Path(shutil.copytree(made / "set", tmp_path / "set"))


def test_the_old_set_is_one(made: Path) -> None:
    manifest = json.loads((made / "set/manifest.json").read_text())
    assert manifest["format_version"] == 1 and "asked" not in manifest["passes"][0]
    for part in (made / "set").rglob("part-*.parquet"):
        assert "rewrite_reason" not in pq.read_schema(part).names
    new = json.loads((made / "new" / names.MANIFEST).read_text())
    assert new["format_version"] == FORMAT_VERSION


def test_every_reader_reads_it(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = str(made / "set"), str(made / "new")
    for inner, of_new in (("", ""), ("/rewrites", f"/{names.REWRITES}")):
        assert verify(old + inner)["problems"] == []
        for left, right in zip(
            ShardSet(old + inner).rows(), ShardSet(new + of_new).rows(), strict=True
        ):
            assert {**left, "rewrite_reason": right["rewrite_reason"]} == right
        assert shards(["show", old + inner]) == 0
    assert "(failed)" in capsys.readouterr().out
    today = Stats(new).report()  # the old format kept no reasons
    assert Stats(old).report() | {"set": new, "failures": today["failures"]} == today
    for command in ("report", "stats"):
        assert (
            shards([command, old, *(["--to", f"{tmp_path}/r.html"] if command == "report" else [])])
            == 0
        )
    assert shards(["report", old, new, "--to", f"{tmp_path}/both.html"]) == 0
    for name in (old, new):
        assert shards(["export", name, "--to", f"{tmp_path}/{name[-3:]}.jsonl"]) == 0
    assert (tmp_path / "set.jsonl").read_text() == (tmp_path / "new.jsonl").read_text()


def test_the_trainer_and_the_evaluation_read_it(made: Path, tmp_path: Path) -> None:
    found = []
    for name in ("set", "new"):
        source = TrainingSet(0, train_config({"set": str(made / name), "filter": "chunk >= 0"}))
        counts = source.counts(Folder(str(tmp_path / name)))
        held = PrefixesConfig(set=str(made / name), cut_points=5)
        cut_points = cut_points_of({"a": held}, 100, 0)["a"]
        found.append(
            (counts, len(source.load(0, None)), [cut_point.id for cut_point in cut_points])
        )
    assert found[0] == found[1] and sum(found[0][0]) > 0


def test_a_filter_on_reasons_takes_a_set_that_has_them(made: Path, tmp_path: Path) -> None:
    """A filter reads a null reason as false, as of every column."""
    texts = {"set": str(made / "new"), "filter": "rewrite_reason is None"}
    source = TrainingSet(0, train_config(texts))
    assert sum(source.counts(Folder(str(tmp_path)))) > 0
    for part in range(len(source.files)):
        source.load(part, None)
    with pytest.raises(ConfigError, match="found the name 'rewrite_reason'"):
        TrainingSet(0, train_config(texts | {"set": str(made / "set")}))


def test_the_command_that_made_it_finds_it_complete(
    made: Path, server: FaultServer, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = len(server.calls)
    assert rewrite(["--config", str(made / "recipe.yaml")]) == 0
    assert "the set is complete; nothing to do" in capsys.readouterr().out
    assert len(server.calls) == asked


def test_a_judge_pass_over_it_makes_a_set_of_this_format(made: Path, tmp_path: Path) -> None:
    """What is not known stays null: why the rows of the old set failed."""
    change = [f"judge.input={made}/set", f"output={tmp_path}/again", "judge.criteria=[safety]"]
    assert judge(["--config", str(made / "recipe.yaml"), *change]) == 0
    assert_whole(str(tmp_path / "again"))
    manifest = ShardSet(str(tmp_path / "again")).manifest
    assert manifest.format_version == FORMAT_VERSION
    rows = list(ShardSet(str(tmp_path / "again")).rows())
    assert {row["rewrite_reason"] for row in rows} == {None}
    assert {row["rewrite_status"] for row in rows} == {"ok", "failed"}
    assert manifest.passes[-1].failed == 0


def test_an_unfinished_run_of_it_is_refused(
    old: Path, made: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its manifest names another format than the parts that would be added."""
    downgraded = json.loads((old / "manifest.json").read_text()) | {"status": "interrupted"}
    (old / "manifest.json").write_text(json.dumps(downgraded))
    rewrites = Path(shutil.copytree(made / "set/rewrites", old.parent / "corpus-rewrites"))
    kept = json.loads((rewrites / "manifest.json").read_text()) | {"status": "running"}
    (rewrites / "manifest.json").write_text(json.dumps(kept))
    before = {path: path.read_bytes() for path in rewrites.rglob("*") if path.is_file()}
    arguments = ["--config", str(made / "recipe.yaml"), f"output={rewrites}", "judge=null"]
    assert rewrite(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "found an unfinished run of " in line and "; finish it with the version" in line
    assert before == {path: path.read_bytes() for path in rewrites.rglob("*") if path.is_file()}
    assert shards(["show", str(old)]) == 0, "but it can be looked at"


def test_it_is_not_repaired(old: Path) -> None:
    before = {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}
    said = f"found a set of {flat.WHAT}; accepted with --repair: .* prewrite shards upgrade {old}"
    with pytest.raises(ShardError, match=said):
        repair(str(old))
    assert before == {path: path.read_bytes() for path in old.rglob("*") if path.is_file()}


def test_a_later_format_is_refused_by_its_number(old: Path) -> None:
    for version in (99, 0, "2", None, [1]):
        manifest = json.loads((old / "manifest.json").read_text()) | {"format_version": version}
        (old / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(ShardError, match="format version .*; a newer set needs a newer"):
            ShardSet(str(old))


def test_a_part_listed_twice_or_outside_of_it_is_refused(old: Path) -> None:
    whole = json.loads((old / "manifest.json").read_text())
    first, *others = whole["parts"]
    for parts, said in (
        ([first, first, *others], "2 times; accepted: every file once"),
        ([first | {"name": "../a.parquet"}, *others], "accepted: a path inside the set's folder"),
        ([first | {"name": "a\n.parquet"}, *others], "accepted: printable names of at most 255"),
    ):
        (old / "manifest.json").write_text(json.dumps(whole | {"parts": parts}))
        with pytest.raises(ShardError, match=said):
            ShardSet(str(old))


def test_other_readers_see_the_reasons(made: Path, tmp_path: Path) -> None:
    parts = sorted(map(str, (made / "new").glob("**/*.parquet")))
    assert {Path(part).parent for part in parts} == {made / "new" / names.DATA}
    (tmp_path / "cache").mkdir()
    loaded = load_dataset(str(made / "new"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == ShardSet(made / "new").manifest.rows
    pattern = f"{made}/new/**/*.parquet"
    query = f"SELECT DISTINCT rewrite_reason FROM '{pattern}' ORDER BY ALL"
    found = [
        {row["rewrite_reason"] for row in loaded},
        {reason for (reason,) in duckdb.connect().execute(query).fetchall()},
        set(polars.read_parquet(pattern)["rewrite_reason"].cast(str).to_list()),
        {r if isinstance(r, str) else None for r in pandas.read_parquet(parts)["rewrite_reason"]},
    ]
    assert found == [{None, "engine: HTTP 400: scripted 400"}] * 4


@pytest.mark.parametrize("more", [[], ["--dry-run"]], ids=["asked", "planned"])
def test_what_failed_in_it_is_not_asked_again(
    made: Path, server: FaultServer, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    asked = len(server.calls)
    assert rewrite(["--config", str(made / "recipe.yaml"), "--retry-failed", *more]) == 1
    assert (
        f"error: {made}/set/rewrites: found a set of {flat.WHAT}; accepted with --retry-failed: "
        f"format {FORMAT_VERSION}; run prewrite shards upgrade {made}/set first\n"
        in capsys.readouterr().err
    )
    assert len(server.calls) == asked


def test_judgements_that_were_moved_and_linked_are_there(made: Path, tmp_path: Path) -> None:
    """What reads through a link within the set is what is looked at."""
    folder = Path(shutil.copytree(made / "new", tmp_path / "set"))
    shutil.move(folder / names.JUDGEMENTS, folder / "moved")
    (folder / names.JUDGEMENTS).symlink_to("moved")
    check_there(Folder(str(folder)), ShardSet(str(folder)).verdicts)
    check_listed(Folder(str(folder)), ShardSet(str(folder)).verdicts)
    part = next((folder / "moved").iterdir())
    part.write_bytes(part.read_bytes() + b"x")
    for look, found in ((check_there, "found [0-9]+ bytes; acc"), (check_listed, "[0-9]+ bytes")):
        with pytest.raises(ShardError, match=found):
            look(Folder(str(folder)), ShardSet(str(folder)).verdicts)


def test_judgements_behind_a_link_out_of_the_set_are_refused(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made / "new", tmp_path / "set"))
    shutil.move(folder / names.JUDGEMENTS, tmp_path / "moved")
    (folder / names.JUDGEMENTS).symlink_to(tmp_path / "moved")
    for look in (check_there, check_listed):
        with pytest.raises(ShardError, match="_judgements/.* found a link to .* out of the folder"):
            look(Folder(str(folder)), ShardSet(str(folder)).verdicts)
    assert shards(["verify", str(folder)]) == 1
