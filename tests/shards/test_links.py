"""What lies in a set, or in a run, lies in its folder: no link leads whoever reads it elsewhere."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.run import run_pass
from prewrite.shards import names
from prewrite.shards.export import Export
from prewrite.shards.listed import check_there
from prewrite.shards.reader import ShardSet
from prewrite.shards.stats import Stats
from prewrite.shards.verify import verify
from tests.commands import shards as main
from tests.pipeline.fake import InstantPass, owned
from tests.shards.scored import scored_set

SAID = "found a link to .*, out of the folder; accepted: a file in it"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(scored_set(tmp_path_factory.mktemp("scored") / "set"))


@pytest.fixture
def made(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "set"))


def linked_out(folder: Path, file: Path) -> None:
    """The same bytes, outside of the set in `folder`."""
    outside = folder.parent / "elsewhere"
    outside.mkdir(exist_ok=True)
    shutil.move(file, outside / file.name)
    file.symlink_to(outside / file.name)


def part_of(folder: Path) -> Path:
    return sorted(folder.glob("data/*.parquet"))[0]


def _verified(url: str) -> None:
    problems = verify(url)["problems"]
    for problem in (one for one in problems if "link" in one):
        raise ShardError(f"{url}/{problem}")


READERS: dict[str, Callable[[str], object]] = {
    "rows": lambda url: list(ShardSet(url).finished().rows(["id"])),
    "documents": lambda url: list(Export(url, "document")),
    "stats": lambda url: Stats(url).report(),
    "verify": lambda url: _verified(url),
    "there": lambda url: check_there(Folder(url), ShardSet(url).parts),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("file", ["part", names.MANIFEST, names.LOG])
def test_a_link_out_of_a_set_is_refused(made: Path, reader: str, file: str) -> None:
    READERS[reader](str(made))
    linked_out(made, part_of(made) if file == "part" else _file(made / file))
    with pytest.raises(ShardError, match=f"^{made}/.*: {SAID}"):
        READERS[reader](str(made))


@pytest.mark.parametrize("command", ["show", "verify", "stats", "report"])
def test_a_command_says_so_in_one_sentence(
    made: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    linked_out(made, part_of(made))
    assert main([command, str(made)]) == 1
    err = capsys.readouterr().err
    assert "out of the folder" in err and "Traceback" not in err


def test_links_within_a_set_and_of_the_whole_set_are_fine(made: Path, tmp_path: Path) -> None:
    (made / "kept").mkdir()
    part = part_of(made)
    shutil.move(part, made / "kept" / part.name)
    part.symlink_to(f"../kept/{part.name}")
    (tmp_path / "latest").symlink_to("set")
    for read in READERS.values():
        read(str(tmp_path / "latest"))


def _file(path: Path) -> Path:
    """The file, or the one in this folder."""
    return next(path.iterdir()) if path.is_dir() else path


@pytest.mark.parametrize("file", [names.LOG, names.SKIPPED])
def test_the_log_and_the_skipped_records_of_a_set(corpus: Path, tmp_path: Path, file: str) -> None:
    (corpus / "z.jsonl").write_text("broken\n")
    out = tmp_path / "set"
    run_pass(InstantPass((f"{corpus}/*.jsonl",)), str(out), RunConfig())
    assert verify(str(out))["problems"] == []
    linked_out(out, _file(out / file))
    assert main(["verify", str(out)]) == 1


def test_nothing_is_written_or_removed_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/x").write_text("theirs")
    (tmp_path / "set/_judgements").symlink_to(tmp_path / "other")
    for folder in (Folder(str(tmp_path / "set")), owned(tmp_path / "set")):
        with pytest.raises(ShardError, match=SAID):
            folder.write("_judgements/x", b"ours")
    with pytest.raises(ShardError, match=SAID):
        owned(tmp_path / "set").remove("_judgements/x")
    assert (tmp_path / "other/x").read_text() == "theirs"
    (tmp_path / "set/y").symlink_to(tmp_path / "other/x")
    Folder(str(tmp_path / "set")).write("y", b"ours")  # in place of the link
    assert (tmp_path / "other/x").read_text() == "theirs"


def test_a_folder_in_a_folder_is_held_to_the_outer_one(tmp_path: Path) -> None:
    """References and generations of a set."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other/x").write_text("theirs")
    (tmp_path / "set").mkdir()
    (tmp_path / "set/_references").symlink_to(tmp_path / "other")
    assert Folder(str(tmp_path / "set/_references")).read("x") == b"theirs"
    with pytest.raises(ShardError, match=SAID):
        Folder(str(tmp_path / "set/_references"), str(tmp_path / "set")).read("x")
