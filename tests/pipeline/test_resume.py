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
from prewrite.shards import flat, names
from prewrite.shards.manifest import Manifest, Record
from prewrite.shards.reader import ShardSet
from prewrite.shards.repair import repair
from prewrite.shards.verify import verify
from tests.pipeline.fake import Before, InstantPass
from tests.shards.edits import files_with_rows, flip, logged

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
    assert list((out / names.RECORDS).glob("*.json"))


def exchange(file: Path) -> None:
    """Of a run that is killed another file of the set, else one of another set."""
    others = [path for path in file.parent.iterdir() if path != file]
    if others:
        shutil.copy(others[0], file)
    else:
        write(file.parents[2] / "other", "OTHER-")
        run(f"{file.parents[2]}/other/*.jsonl", file.parents[2] / "other-set")
        shutil.copy(files_with_rows(file.parents[2] / "other-set")[0], file)


def rewrite_reversed(file: Path) -> None:
    table = pq.read_table(file)
    pq.write_table(table.take(list(range(len(table)))[::-1]), file)


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
    part = files_with_rows(out)[2]
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
    (file,) = files_with_rows(out)
    damage(file)
    with pytest.raises(ShardError, match=file.name):
        list(ShardSet(str(out)).rows())


def test_a_flipped_bit_in_the_rows_is_found_by_reading(texts: Path, tmp_path: Path) -> None:
    """The rows of other row groups are read."""
    out = tmp_path / "set"
    run(f"{texts}/*.jsonl", out)
    shards = ShardSet(str(out))
    before = [list(shards.documents(part)) for part in shards.parts]
    flip(out, shards.parts[2], 200)
    with pytest.raises(ShardError, match=shards.parts[2].file):
        list(ShardSet(str(out)).rows())
    for number, part in enumerate(shards.parts):
        if number != 2:
            assert list(ShardSet(str(out)).documents(part)) == before[number]


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


FOREIGN = {
    name: name
    for name in (names.MANIFEST, names.CARD, names.SKIPPED, names.SPLITS, *flat.FILES, names.DATA)
} | {f"{names.RECORDS}/mine.txt": f"{names.RECORDS}/"}
"""Files of others whose names a set needs, or another set has; and what is said of each."""


@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_others_are_neither_removed_nor_written_over(
    texts: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "set"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("mine")
    said = f"found .*{name}: found content|{name}: damaged|found {FOREIGN[name]}"
    with pytest.raises(ShardError, match=said):
        run(f"{texts}/*.jsonl", out)
    assert [p.name for p in out.rglob("*") if p.is_file()] == [Path(name).name]
    assert (out / name).read_text() == "mine"


@pytest.mark.parametrize(
    "name", [*(name for name in FOREIGN if name != f"{names.RECORDS}/mine.txt"), names.LOCK]
)
def test_links_that_lead_nowhere_are_not_replaced(texts: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "set"
    (out / name).parent.mkdir(parents=True)
    (out / name).symlink_to(tmp_path / "gone")
    with pytest.raises(ShardError, match=rf"{name}.*; accepted: ") as one:
        run(f"{texts}/*.jsonl", out)
    assert "another run" not in str(one.value) and "is gone" not in str(one.value)
    left = [path for path in out.rglob("*") if path.is_symlink() or not path.is_dir()]
    assert left == [out / name] and (out / name).is_symlink()
    assert not (tmp_path / "gone").exists()


def test_files_of_others_stay_beside_a_set(texts: Path, tmp_path: Path) -> None:
    """Parts, verdicts, notes, hidden files: before, meanwhile, and after a repair."""
    out = tmp_path / "set"
    mine = [
        "data/train-00000-00000.parquet",
        "data/train-00000-00000-0123456789ab.parquet",
        "data/notes.txt",
        "_judgements/train-0.pq",
        "_prewrite/notes.txt",
        "part-00000-00000-0123456789ab.parquet",
        "notes.txt",
        "report.html",
        "README.md.txt",
        ".DS_Store",
        ".x.tmp-1",
        "slurm/1.out",
    ]
    for name in mine:
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_text("mine")

    async def meanwhile(document: Document) -> None:
        (out / names.RECORDS / "notes.txt").write_text("mine")

    run(f"{texts}/*.jsonl", out, meanwhile)
    run(f"{texts}/*.jsonl", out)
    (file,) = {part.file for part in ShardSet(out).parts}
    (out / file).unlink()
    repair(str(out))
    run(f"{texts}/*.jsonl", out)
    for name in [*mine, f"{names.RECORDS}/notes.txt"]:
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
    for record in (out / names.RECORDS).glob("00000-*.json"):
        record.unlink()
    before = sorted(path for path in out.rglob("*.json*") if path != out / names.LOCK)
    (texts / "0.jsonl").unlink()
    with pytest.raises(ConfigError, match="another configuration"):
        run(f"{texts}/*.jsonl", out, seed=3)
    assert sorted(path for path in out.rglob("*.json*") if path != out / names.LOCK) == before


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
        files_with_rows(older)[0].unlink()
        repair(str(older))
    killed(texts, out, 90)
    for found in (f"{names.RECORDS}/", names.LOG):
        mine = (out / names.MANIFEST).read_bytes()
        shutil.copy(older / names.MANIFEST, out / names.MANIFEST)
        before = contents(out)
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
        assert contents(out) == before
        (out / names.MANIFEST).write_bytes(mine)
        assert run(f"{texts}/*.jsonl", out).rows == 2 * LINES
        assert verify(str(out))["problems"] == []
        files_with_rows(out)[0].unlink()
        repair(str(out))


def contents(out: Path) -> dict[Path, bytes]:
    """All files but the lock that a kill has left."""
    found = (path for path in out.rglob("*") if path.is_file())
    return {path: path.read_bytes() for path in found if path != out / names.LOCK}


def test_one_unreadable_last_record_counts_as_absent(texts: Path, tmp_path: Path) -> None:
    for data in (b"", b"\0" * 300, b"{"):
        out = tmp_path / f"set-{len(data)}"
        killed(texts, out, 90)
        sorted((out / names.RECORDS).glob("00001-*.json"))[-1].write_bytes(data)
        assert run(f"{texts}/*.jsonl", out).rows == 2 * LINES
        assert verify(str(out))["problems"] == []


def test_a_part_listed_twice_is_refused(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run(f"{texts}/*.jsonl", out)
    logged(out, lambda records: records.insert(1, records[0]))
    for look in (verify, repair):
        with pytest.raises(ShardError, match=r", a second time; accepted: on|do not fit toge"):
            look(str(out))


LOGS: dict[str, tuple[Callable[[Path], object], str]] = {
    "gone": (Path.unlink, "the commit log of the set, but not there; restore it"),
    "cut": (lambda log: log.write_bytes(log.read_bytes()[:-100]), "found the SHA-256 .*; restore"),
    "empty": (lambda log: log.write_bytes(b""), "found the SHA-256 .*; restore it"),
    "of another set": (
        lambda log: shutil.copy(
            next((log.parents[2].parent / "other").glob(f"{names.LOG}/*")), log
        ),
        ".*, or the log of another set; restore it",
    ),
}


@pytest.mark.parametrize("damage", LOGS.values(), ids=LOGS)
def test_a_set_without_its_log_is_refused(
    texts: Path, tmp_path: Path, damage: tuple[Callable[[Path], object], str]
) -> None:
    """By readers, by verify, by the same command and by a repair; nothing is changed."""
    out, paths = tmp_path / "set", f"{texts}/*.jsonl"
    run(paths, out)
    run(paths, tmp_path / "other")
    (log,) = (out / names.LOG).iterdir()
    change, sentence = damage
    change(log)
    before = contents(out)
    calls: list[Callable[[], object]] = [
        lambda: list(ShardSet(out).rows()),
        lambda: verify(out),
        lambda: run(paths, out),
        lambda: repair(str(out)),
    ]
    for call in calls:
        with pytest.raises(ShardError, match=f"{log.name}: {sentence}"):
            call()
    assert contents(out) == before


def elsewhere(out: Path, name: str) -> None:
    """The first part of the log of a set lies in another file."""

    def change(records: list[Record]) -> None:
        assert records[0].part
        object.__setattr__(records[0].part, "file", name)

    logged(out, change)


@pytest.mark.parametrize("name", ["../a.parquet", "/a.parquet", "http://h/a.parquet", "a/../../b"])
def test_a_part_outside_of_the_set_is_refused(texts: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "set"
    run(f"{texts}/*.jsonl", out)
    elsewhere(out, name)
    with pytest.raises(ShardError, match="accepted: a path inside the set's folder"):
        print(ShardSet(str(out)).parts)


@pytest.mark.parametrize("name", ["a\0.parquet", "\x1b[31m.parquet", "a\n.parquet", "x" * 256])
def test_a_part_that_cannot_be_named_is_refused(texts: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / "set"
    run(f"{texts}/*.jsonl", out)
    elsewhere(out, name)
    with pytest.raises(ShardError, match="accepted: printable names of at most 255 bytes") as found:
        print(ShardSet(str(out)).parts)
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
