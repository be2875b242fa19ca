"""What a resume and a first start refuse: damaged parts, another corpus, files of others."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from prewrite.base.errors import ConfigError, EngineError, InputError, PrewriteError, ShardError
from prewrite.base.files import Folder
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Document
from prewrite.pipeline.run import run_pass
from prewrite.pipeline.steps import unfinished
from prewrite.rewrite.corpus import Corpus
from prewrite.shards.manifest import Manifest
from prewrite.shards.names import LOCK
from prewrite.shards.reader import ShardSet
from prewrite.shards.repair import repair
from prewrite.shards.verify import verify
from tests.pipeline.fake import Before, InstantPass

LINES, SPARE = 60, "configs/sample/c4.jsonl"


def write(folder: Path, tag: str = "FIRST-", files: int = 2) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(files):
        texts = [f"{tag} number {number} {i:03d} about a mill." for i in range(LINES)]
        lines = [json.dumps({"text": text}) for text in texts]
        (folder / f"{number}.jsonl").write_text("\n".join(lines) + "\n")


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    write(tmp_path / "corpus")
    return tmp_path / "corpus"


def run(paths: str, out: Path, before: Before | None = None, **settings: object) -> Manifest:
    job = InstantPass((paths,), before=before, window=8, **settings)  # type: ignore[arg-type]
    return run_pass(job, str(out), RunConfig(rows_per_part=8))


def killed(corpus: Path, out: Path, after: int) -> None:
    """A run that ended, without a word, after so many documents."""
    seen = [0]

    class Killed(BaseException):
        pass

    async def kill(document: Document) -> None:
        seen[0] += 1
        if seen[0] > after:
            raise Killed

    with pytest.raises(Killed):
        run(f"{corpus}/*.jsonl", out, kill)
    assert list((out / "commits").glob("*.json"))


def exchange(part: Path) -> None:
    shutil.copy(next(p for p in part.parent.glob("part-*") if p != part), part)


def rewrite_reversed(part: Path) -> None:
    table = pq.read_table(part)
    pq.write_table(table.take(list(range(len(table)))[::-1]), part)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "deleted": Path.unlink,
    "cut": lambda part: part.write_bytes(part.read_bytes()[:-100]),
    "exchanged": exchange,
    "reversed": rewrite_reversed,
    "empty": lambda part: part.write_bytes(b""),
    "end zeroed": lambda part: part.write_bytes(part.read_bytes()[:-64] + bytes(64)),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_resume_over_a_damaged_part_is_refused_and_repaired(
    texts: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    out, paths = tmp_path / "set", f"{texts}/*.jsonl"
    killed(texts, out, 70)
    part = sorted(out.glob("part-*"))[2]
    damage(part)
    with pytest.raises(ShardError, match=f"{part.name}: .*verify --repair"):
        run(paths, out)
    assert Manifest.load(ShardSet(str(out)).folder).status != "complete"
    assert any(part.name in line for line in repair(str(out)))
    assert run(paths, out).rows == 2 * LINES
    assert verify(str(out))["problems"] == []
    assert len({row["id"] for row in ShardSet(str(out)).rows(["id"])}) == 2 * LINES


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_part_is_not_read(
    texts: Path, tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    out = tmp_path / "set"
    run(f"{texts}/*.jsonl", out)
    part = sorted(out.glob("part-*"))[2]
    damage(part)
    with pytest.raises(ShardError, match=part.name):
        list(ShardSet(str(out)).rows())


def test_a_flipped_bit_in_the_rows_is_found_by_reading(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(f"{texts}/*.jsonl", out)
    part = sorted(out.glob("part-*"))[2]
    data = bytearray(part.read_bytes())
    data[200] ^= 1
    part.write_bytes(data)
    with pytest.raises(ShardError, match=part.name):
        list(ShardSet(str(out)).rows())


def _touch(corpus: Path) -> None:
    for path in corpus.iterdir():
        os.utime(path, (1, 1))


def _other(number: int) -> Callable[[Path], None]:
    def change(corpus: Path) -> None:
        path = corpus / f"{number}.jsonl"
        path.write_text(path.read_text().replace("FIRST-", "SECOND"))

    return change


def _other_with_old_time(corpus: Path) -> None:
    path = corpus / "1.jsonl"
    stat = path.stat()
    path.write_text(path.read_text().replace("FIRST-", "SECOND"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


REFUSED: dict[str, Callable[[Path], object]] = {
    "the file that was read to its end": _other(0),
    "the file that was being read": _other(1),
    "with its old time": _other_with_old_time,
    "one line fewer": lambda c: (c / "1.jsonl").write_text("".join(_lines(c / "1.jsonl")[:-1])),
    "a file more": lambda c: shutil.copy(SPARE, c / "2.jsonl"),
    "a file fewer": lambda c: (c / "1.jsonl").unlink(),
}


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_a_corpus_that_changed_refuses_a_resume(
    texts: Path, tmp_path: Path, change: Callable[[Path], object]
) -> None:
    out = tmp_path / "set"
    killed(texts, out, 90)
    change(texts)
    with pytest.raises(PrewriteError, match=str(texts)):
        run(f"{texts}/*.jsonl", out)


def test_another_time_alone_refuses_nothing(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    killed(texts, out, 90)
    _touch(texts)
    assert run(f"{texts}/*.jsonl", out).rows == 2 * LINES


def test_the_same_content_in_parquet(tmp_path: Path) -> None:
    """Of the same size, in the rows that were read."""
    corpus, out = tmp_path / "corpus", tmp_path / "set"
    corpus.mkdir()

    def table(tag: str) -> pa.Table:
        return pa.table({"text": [f"{tag} {i:03d} about a mill." for i in range(2 * LINES)]})

    pq.write_table(table("FIRST"), corpus / "a.parquet", compression="none")
    job = InstantPass((f"{corpus}/*.parquet",))
    assert job.source.splits()
    seen = [0]

    class Killed(BaseException):
        pass

    async def kill(document: Document) -> None:
        seen[0] += 1
        if seen[0] > 60:
            raise Killed

    with pytest.raises(Killed):
        run(f"{corpus}/*.parquet", out, kill)
    size = (corpus / "a.parquet").stat().st_size
    pq.write_table(table("OTHER"), corpus / "a.parquet", compression="none")
    assert (corpus / "a.parquet").stat().st_size == size
    with pytest.raises(InputError, match=r"a\.parquet: its records are not those"):
        run(f"{corpus}/*.parquet", out)


FOREIGN = ["manifest.json", "README.md", "commits.jsonl", "skipped.jsonl", "commits/mine.txt"]


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_others_are_neither_removed_nor_written_over(
    texts: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "set"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    with pytest.raises(ShardError, match=name.split("/")[0]):
        run(f"{texts}/*.jsonl", out)
    assert [p.name for p in out.rglob("*") if p.is_file()] == [Path(name).name]
    assert (out / name).read_text() == "mine"


@pytest.mark.parametrize("name", [*FOREIGN[:4], "lock.json"])
def test_links_that_lead_nowhere_are_not_replaced(texts: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "set"
    out.mkdir()
    (out / name).symlink_to(tmp_path / "gone")
    with pytest.raises(ShardError, match=rf"{name}.*; accepted: ") as one:
        run(f"{texts}/*.jsonl", out)
    assert "another run" not in str(one.value) and "is gone" not in str(one.value)
    assert [path.name for path in out.iterdir()] == [name] and (out / name).is_symlink()
    assert not (tmp_path / "gone").exists()


def test_files_of_others_stay_beside_a_set(texts: Path, tmp_path: Path) -> None:
    """Parts, verdicts, notes, hidden files: before, meanwhile, and after a repair."""
    out = tmp_path / "set"
    mine = [
        "part-00000.parquet",
        "part-00000-00000.parquet",
        "part-00000-00000-0123456789ab.parquet",
        "judgements/part-0.parquet",
        "notes.txt",
        "report.html",
        ".DS_Store",
        ".x.tmp-1",
        "slurm/1.out",
    ]
    for name in mine:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")

    async def meanwhile(document: Document) -> None:
        (out / "commits/notes.txt").write_text("mine")

    run(f"{texts}/*.jsonl", out, meanwhile)
    run(f"{texts}/*.jsonl", out)
    sorted(p for p in out.glob("part-*") if p.read_bytes() != b"mine")[0].unlink()
    repair(str(out))
    run(f"{texts}/*.jsonl", out)
    for name in [*mine, "commits/notes.txt"]:
        assert (out / name).read_text() == "mine"


def test_the_input_is_never_the_output(texts: Path, tmp_path: Path) -> None:
    """By resolved path, before anything is written."""
    link = tmp_path / "link"
    link.symlink_to(texts)
    before = {path.name: path.read_bytes() for path in texts.iterdir()}
    for out in (texts, link, tmp_path / "x" / ".." / "corpus", tmp_path):
        with pytest.raises(InputError, match="output: found .*, where the input .* is; accepted"):
            run(f"{texts}/*.jsonl", out)
    assert {path.name: path.read_bytes() for path in texts.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["corpus", "link"]


def test_another_configuration_leaves_a_killed_run_as_it_is(texts: Path, tmp_path: Path) -> None:
    """Also where the first splits have committed nothing."""
    out = tmp_path / "set"
    killed(texts, out, 90)
    for record in (out / "commits").glob("00000-*.json"):
        record.unlink()
    before = sorted(path.name for path in out.rglob("*.json*") if path.name != "lock.json")
    (texts / "0.jsonl").unlink()
    with pytest.raises(ConfigError, match="another configuration"):
        run(f"{texts}/*.jsonl", out, seed=3)
    assert sorted(path.name for path in out.rglob("*.json*") if path.name != "lock.json") == before


@pytest.mark.parametrize("older_is", ["killed", "under repair"])
def test_the_manifest_of_an_older_run_is_refused(
    texts: Path, tmp_path: Path, older_is: str
) -> None:
    """Over that of a killed run, and of a set under repair; by the run, by another configuration,
    by a repair and by a plan of what is left.
    """
    older, out = tmp_path / "older", tmp_path / "set"
    killed(texts, older, 40)
    if older_is == "under repair":
        run(f"{texts}/*.jsonl", older)
        next(older.glob("part-*")).unlink()
        repair(str(older))
    killed(texts, out, 90)
    for found in ("commits/", "commits.jsonl"):
        mine = (out / "manifest.json").read_bytes()
        shutil.copy(older / "manifest.json", out)
        before = {p: p.read_bytes() for p in out.rglob("*.*") if p.is_file() and p.name != LOCK}
        job = InstantPass((f"{texts}/*.jsonl",))
        for action in (
            lambda: run(f"{texts}/*.jsonl", out),
            lambda: run(f"{texts}/*.jsonl", out, seed=3),
            lambda: repair(str(out)),
            lambda job=job: unfinished(job, job.source.splits(), str(out), 1),
        ):
            sentence = rf"{found}.*: found a commit of the run \w{{8}},|under another configuration"
            with pytest.raises(PrewriteError, match=sentence):
                action()
        after = {p: p.read_bytes() for p in out.rglob("*.*") if p.is_file() and p.name != LOCK}
        assert after == before
        (out / "manifest.json").write_bytes(mine)
        assert run(f"{texts}/*.jsonl", out).rows == 2 * LINES
        assert verify(str(out))["problems"] == []
        next(out.glob("part-*")).unlink()
        repair(str(out))


def test_one_unreadable_last_record_counts_as_absent(texts: Path, tmp_path: Path) -> None:
    for data in (b"", b"\0" * 300, b"{"):
        out = tmp_path / f"set-{len(data)}"
        killed(texts, out, 90)
        sorted((out / "commits").glob("00001-*.json"))[-1].write_bytes(data)
        assert run(f"{texts}/*.jsonl", out).rows == 2 * LINES
        assert verify(str(out))["problems"] == []


def test_a_part_listed_twice_is_refused(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(f"{texts}/*.jsonl", out)
    raw = json.loads((out / "manifest.json").read_text())
    raw["parts"].append(raw["parts"][0])
    (out / "manifest.json").write_text(json.dumps(raw))
    with pytest.raises(ShardError, match="2 times; accepted: every file once"):
        ShardSet(str(out))


@pytest.mark.parametrize("name", ["../a.parquet", "/a.parquet", "http://h/a.parquet", "a/../../b"])
def test_a_part_outside_of_the_set_is_refused(texts: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "set"
    run(f"{texts}/*.jsonl", out)
    raw = json.loads((out / "manifest.json").read_text())
    raw["parts"][0]["name"] = name
    (out / "manifest.json").write_text(json.dumps(raw))
    with pytest.raises(ShardError, match="accepted: a path inside the set's folder"):
        ShardSet(str(out))


@pytest.mark.parametrize("name", ["a\0.parquet", "\x1b[31m.parquet", "a\n.parquet", "x" * 256])
def test_a_part_that_cannot_be_named_is_refused(texts: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "set"
    run(f"{texts}/*.jsonl", out)
    raw = json.loads((out / "manifest.json").read_text())
    raw["parts"][0]["name"] = name
    (out / "manifest.json").write_text(json.dumps(raw))
    with pytest.raises(ShardError, match="accepted: printable names of at most 255 bytes") as found:
        ShardSet(str(out))
    assert str(found.value).isprintable()


@dataclass
class InRanges(InstantPass):
    """Reads each file in ranges of about 2 KB."""

    @property
    def source(self) -> Corpus:
        whole = super().source
        return replace(whole, input=whole.input.model_copy(update={"split_bytes": 2048}))


def ranged(texts: Path, out: Path, before: Before) -> Manifest:
    job = InRanges((f"{texts}/*.jsonl",), before=before, window=8)
    return run_pass(job, str(out), RunConfig(rows_per_part=8))


def test_a_file_exchanged_between_two_of_its_ranges_is_refused(texts: Path, tmp_path: Path) -> None:
    seen = [0]

    async def exchanged(document: Document) -> None:
        seen[0] += 1
        if seen[0] == 10:
            write(texts, "OTHER-")

    with pytest.raises(InputError, match="its content is not what this run has read"):
        ranged(texts, tmp_path / "set", exchanged)
    assert Manifest.load(Folder(str(tmp_path / "set"))).status == "running"


def test_a_range_that_was_read_to_its_end_is_looked_at_by_a_resume(
    texts: Path, tmp_path: Path
) -> None:
    seen = [0]

    async def fail(document: Document) -> None:
        seen[0] += 1
        if seen[0] > 45:
            raise EngineError("gone")

    async def nothing(document: Document) -> None: ...

    with pytest.raises(EngineError):
        ranged(texts, tmp_path / "set", fail)
    write(texts, "OTHER-")
    with pytest.raises(InputError, match="not what this run has read|not those that this run has"):
        ranged(texts, tmp_path / "set", nothing)
    write(texts)
    assert ranged(texts, tmp_path / "set", nothing).rows == 2 * LINES
