"""`--retry-failed` as a mechanism: one step after the other, and killed at each of them."""

import json
import random
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from prewrite.base.errors import ConfigError, Interrupted, ShardError
from prewrite.base.files import Folder
from prewrite.base.owned import OwnedFolder
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Document, DocumentResult
from prewrite.pipeline.retry import check, planned, refuse_elsewhere, retry, told
from prewrite.pipeline.run import run_pass
from prewrite.rewrite.retry import RewriteAgain
from prewrite.shards import log, merge, names
from prewrite.shards.lock import OutputLock
from prewrite.shards.manifest import Manifest, Record
from prewrite.shards.names import LOCK
from prewrite.shards.parts import Part, files_of
from prewrite.shards.reader import ShardSet
from prewrite.shards.repair import repair
from prewrite.shards.schema import Row
from prewrite.shards.verify import verify
from tests.pipeline.fake import InstantPass, InstantWork
from tests.shards.edits import files_with_rows, flip, logged, replaced

RUN = RunConfig(rows_per_part=8)


class Killed(BaseException):
    """The process is gone."""


@dataclass
class FlakyWork(InstantWork):
    """Rewrites all but the texts for which `fails` holds. asked: the texts of all rows."""

    fails: Callable[[str], bool] = bool
    asked: list[str] | None = None

    async def __call__(self, document: Document) -> DocumentResult:
        mine = [row for row in document.rows if row["rewrite_status"] in (None, "failed")]
        for row in mine:
            row["rewrite"] = row["rewrite_status"] = None
            if self.asked is not None:
                self.asked.append(row["original"])
        outcome = await super().__call__(document)
        for row in mine:
            if self.fails(row["original"]):
                row["rewrite"], row["rewrite_status"] = None, "failed"
        outcome.counts.clear()
        outcome.counts.update(f"status:{row['rewrite_status']}" for row in document.rows)
        outcome.usage.requests = len(mine)
        return outcome


@dataclass
class FlakyPass(InstantPass):
    fails: Callable[[str], bool] = bool

    @asynccontextmanager
    async def open(self) -> AsyncIterator[FlakyWork]:
        yield FlakyWork(before=self.before, fails=self.fails)


@dataclass(frozen=True)
class FlakyAgain(RewriteAgain):
    """Asks again with an engine that costs nothing."""

    fails: Callable[[str], bool] = lambda text: False
    asked: list[str] | None = None
    before: Any = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[FlakyWork]:
        yield FlakyWork(
            versions={"instant": "2"}, before=self.before, fails=self.fails, asked=self.asked
        )


def fails_first(text: str) -> bool:
    """Some rows in some parts."""
    return any(f" {number:03d} " in text for number in (3, 17, 18, 40))


def job_of(corpus: Path) -> FlakyPass:
    return FlakyPass((f"{corpus}/*.jsonl",), window=8, fails=fails_first)


def again(corpus: Path, out: Path, **settings: Any) -> FlakyAgain:
    return FlakyAgain(job_of(corpus), str(out), **settings)  # type: ignore[arg-type]


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """One file of fifty documents of a row; one line is no record, one has no text."""
    folder = tmp_path / "corpus"
    folder.mkdir()
    lines = [json.dumps({"text": f"Number {n:03d} is about a mill.", "n": n}) for n in range(50)]
    lines[20:20] = ['{"text": "broken', '{"text": 7}']
    (folder / "a.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture
def good(texts: Path, tmp_path: Path) -> Path:
    """A complete set, four rows of which failed."""
    out = tmp_path / "set"
    assert run_pass(job_of(texts), str(out), RUN).statuses == {"failed": 4, "ok": 46}
    return out


def rows_of(out: Path) -> list[Row]:
    return list(ShardSet(str(out)).rows())


def contents(out: Path) -> dict[str, bytes]:
    """All files but the log of who wrote what."""
    return {str(p.relative_to(out)): p.read_bytes() for p in out.rglob("*") if p.is_file()}


def assert_alone(out: Path) -> None:
    """It verifies, and nothing lies beside what it lists."""
    assert verify(str(out))["problems"] == []
    shards = ShardSet(str(out))
    parts = files_of([*shards.parts, *shards.verdicts])
    assert all(len(mine) == mine[0].groups for mine in parts.values())
    listed = {*parts, *(file.name for file in shards.manifest.log)}
    beside = {names.MANIFEST, names.CARD, names.SKIPPED}
    assert set(shards.folder.names()) == listed | beside
    assert not list(out.glob(".run-*"))


def records_of(out: Path) -> list[Record]:
    """The records of a set, but for the places of their parts."""
    folder = Folder(str(out))
    found = [*log.records(folder, Manifest.load(folder))]
    return [r.model_copy(update={"part": r.part and shape(r.part)}) for r in found]


def shape(part: Part) -> Part:
    """What does not change where a part comes into another file."""
    return replace(part, file="a", file_bytes=0, footer="", groups=1, group=0, start=0)


@pytest.mark.parametrize("file_bytes", [1, merge.FILE_BYTES])
def test_good_rows_parts_and_records_stay(
    texts: Path, tmp_path: Path, file_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files in which nothing failed, too: where each part has its own, these do."""
    monkeypatch.setattr(merge, "FILE_BYTES", file_bytes)
    good = tmp_path / "set"
    run_pass(job_of(texts), str(good), RUN)
    before, rows, files = ShardSet(str(good)).manifest, rows_of(good), contents(good)
    parts, records = ShardSet(good).parts, records_of(good)
    assert len({part.file for part in parts}) == (1 if file_bytes > 1 else len(parts))
    asked: list[str] = []
    assert told(planned(again(texts, good))) == "4 failed rows"
    made = retry(again(texts, good, asked=asked), RUN)
    assert made == ShardSet(str(good)).manifest
    assert_alone(good)
    assert sorted(asked) == [row["original"] for row in rows if fails_first(row["original"])]

    now = rows_of(good)
    assert [row["rewrite_status"] for row in now] == ["ok"] * 50
    assert [a == b for a, b in zip(rows, now, strict=True)].count(False) == 4
    touched = (0, 2, 5)
    for number, (old, new) in enumerate(zip(parts, ShardSet(good).parts, strict=True)):
        assert (shape(old) == shape(new)) == (number not in touched)
        assert (old == new) == (number not in touched and file_bytes == 1)
        assert not good.joinpath(old.file).exists() or files[old.file] == contents(good)[old.file]
    kept = records_of(good)
    assert [a == b for a, b in zip(records, kept, strict=True)].count(False) == len(touched)

    assert (made.generation, made.before) == (2, before.content)
    assert made.statuses == {"ok": 50}
    assert made.passes[-1].counts == {"status:ok": 50}
    assert made.passes[-1].usage.requests == before.passes[-1].usage.requests + 4
    assert made.passes[-1].versions == {"instant": "1 | 2"}
    assert (made.skipped, made.inputs) == (before.skipped, before.inputs)
    assert made.passes[-1].config == before.passes[-1].config
    assert made.owners[:-1] == before.owners
    assert run_pass(job_of(texts), str(good), RUN) == made
    assert retry(again(texts, good), RUN) is None
    assert ShardSet(str(good)).manifest == made


def test_what_fails_again_is_asked_in_the_next_round(texts: Path, good: Path) -> None:
    first = retry(again(texts, good, fails=lambda text: " 017 " in text), RUN)
    assert first and first.statuses == {"failed": 1, "ok": 49}
    asked: list[str] = []
    second = retry(again(texts, good, asked=asked), RUN)
    assert second and (second.generation, second.statuses) == (3, {"ok": 50})
    assert len(asked) == 1
    assert second.passes[-1].usage.requests == 50 + 4 + 1
    assert second.passes[-1].versions == {"instant": "1 | 2"}
    assert_alone(good)


def test_a_round_in_vain_changes_nothing(texts: Path, good: Path) -> None:
    before, rows = ShardSet(str(good)).manifest, rows_of(good)
    parts = {path: path.read_bytes() for path in files_with_rows(good)}
    made = retry(again(texts, good, fails=fails_first), RUN)
    assert made == ShardSet(str(good)).manifest
    assert made.model_copy(update={"owners": before.owners}) == before
    assert {path: path.read_bytes() for path in files_with_rows(good)} == parts
    assert rows_of(good) == rows
    assert_alone(good)


def test_nothing_failed_changes_nothing(texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    run_pass(InstantPass((f"{texts}/*.jsonl",), window=8), str(out), RUN)
    before = contents(out)
    assert retry(again(texts, out), RUN) is None
    assert contents(out) == before


def killing(monkeypatch: pytest.MonkeyPatch, step: int) -> list[str]:
    """From now on this process dies before the file-system step of this number; names of steps."""
    steps: list[str] = []
    for name in ("write", "writing", "remove"):
        real = getattr(OwnedFolder, name)

        def dying(self: OwnedFolder, file: str, *data: bytes, real: Any = real) -> Any:
            if file == LOCK or file.startswith(".run-"):
                return real(self, file, *data)
            if len(steps) >= step:
                raise Killed
            steps.append(f"{Path(self.url).name}/{file}")
            return real(self, file, *data)

        monkeypatch.setattr(OwnedFolder, name, dying)
    return steps


def retried(corpus: Path, out: Path, step: int) -> list[str]:
    """Names of the steps of a retry that is killed before the one of this number."""
    with pytest.MonkeyPatch.context() as patch:
        steps = killing(patch, step)
        try:
            assert retry(again(corpus, out), RUN)
        except Killed:
            return steps
    return [*steps, "done"]


def restore(out: Path, files: dict[str, bytes]) -> None:
    """The folder as it was."""
    for path in [path for path in out.rglob("*") if path.is_file()]:
        path.unlink()
    for name, data in files.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    for path in sorted(out.rglob("*"), reverse=True):
        if path.is_dir() and not list(path.iterdir()):
            path.rmdir()


@dataclass
class States:
    """The set before the retry and after it."""

    files: dict[str, bytes]
    old: list[Row]
    new: list[Row]
    steps: int

    def assert_one(self, out: Path) -> None:
        """The old set or the new one is there for who reads by the manifest, whole."""
        found = ShardSet(str(out)).finished()
        assert list(found.rows()) == (self.old if found.manifest.generation == 1 else self.new)
        for problem in verify(str(out))["problems"]:
            assert "not in the manifest: a run that had ended" in problem


@pytest.fixture
def states(texts: Path, good: Path) -> Iterator[States]:
    files, old = contents(good), rows_of(good)
    steps = retried(texts, good, 1000)
    assert steps[-1] == "done" and len(steps) > 20
    yield States(files, old, rows_of(good), len(steps) - 1)


def test_killed_at_every_step(texts: Path, good: Path, states: States) -> None:
    """The old set stays readable, the ordinary command and a repair do no harm, and the retry goes
    on: it asks again for what was open only.
    """
    for step in range(states.steps):
        restore(good, states.files)
        assert retried(texts, good, step)[-1:] != ["done"]
        states.assert_one(good)
        if step % 3 == 1:
            assert run_pass(job_of(texts), str(good), RUN).status == "complete"
        elif step % 3 == 2:
            repair(str(good))
        if step % 3:
            assert verify(str(good))["problems"] == [], "strays are still there"
        left, asked = planned(again(texts, good)).total(), list[str]()
        assert left == 4 - rows_committed(good)
        retry(again(texts, good, asked=asked), RUN)
        assert len(asked) == left
        assert rows_of(good) == states.new
        run_pass(job_of(texts), str(good), RUN)
        assert_alone(good)


def rows_committed(out: Path) -> int:
    """Failed rows that a killed retry has asked for, by its records."""
    if ShardSet(str(out)).manifest.generation == 2:
        return 4
    records = len(list((out / names.NEXT / names.RECORDS).glob("*.json")))
    return {0: 0, 1: 1, 2: 3, 3: 4}[records]


def test_killed_twice(texts: Path, good: Path, states: States) -> None:
    draw = random.Random(7)
    for _ in range(8):
        restore(good, states.files)
        for _ in range(2):
            retried_or_done(texts, good, draw.randrange(states.steps))
            states.assert_one(good)
        retry(again(texts, good), RUN)
        assert rows_of(good) == states.new
        run_pass(job_of(texts), str(good), RUN)
        assert_alone(good)


def retried_or_done(corpus: Path, out: Path, step: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        killing(patch, step)
        with suppress(Killed):
            retry(again(corpus, out), RUN)


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """SIGINT is heeded. A background job of a shell, and what it starts, ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_commits_what_is_under_way(texts: Path, good: Path) -> None:
    seen: list[str] = []

    async def interrupt(document: Document) -> None:
        seen.append(document.rows[0]["original"])
        if len(seen) == 9:  # in the second part
            signal.raise_signal(signal.SIGINT)

    before = rows_of(good)
    with pytest.raises(Interrupted):
        retry(again(texts, good, before=interrupt), RUN)
    assert rows_of(good) == before
    assert told(planned(again(texts, good))) == "3 failed rows"
    asked: list[str] = []
    retry(again(texts, good, asked=asked), RUN)
    assert len(asked) == 3
    assert_alone(good)


@pytest.mark.parametrize("fails", [fails_first, lambda text: " 017 " in text])
def test_a_set_that_was_repaired_meanwhile(
    texts: Path, good: Path, fails: Callable[[str], bool], capsys: pytest.CaptureFixture[str]
) -> None:
    """With the same rows the retry goes on, wherever these lie now; with others it begins anew."""
    retried_or_done(texts, good, 6)
    assert (good / names.NEXT).exists()
    files_with_rows(good)[0].unlink()
    with pytest.raises(ShardError, match="verify --repair"):
        retry(again(texts, good), RUN)
    repair(str(good))
    with pytest.raises(ShardError, match="found a set that is interrupted; accepted with --retry"):
        retry(again(texts, good), RUN)
    run_pass(replace(job_of(texts), fails=fails), str(good), RUN)
    asked: list[str] = []
    assert retry(again(texts, good, asked=asked), RUN)
    dropped = "what that one had asked is dropped" in " ".join(capsys.readouterr().err.split())
    assert (dropped, len(asked)) == ((False, 3) if fails is fails_first else (True, 1))
    assert ShardSet(str(good)).manifest.statuses == {"ok": 50}
    assert_alone(good)


def test_a_folder_of_somebody_else_is_left_alone(texts: Path, good: Path) -> None:
    (good / names.NEXT).mkdir()
    (good / names.NEXT / "notes.txt").write_text("mine")
    before = contents(good)
    with pytest.raises(ShardError, match="_next: found a folder that no retry of this set"):
        retry(again(texts, good), RUN)
    assert contents(good) == before
    run_pass(job_of(texts), str(good), RUN)
    assert contents(good) == before


def test_killed_before_the_first_file_of_a_generation(texts: Path, good: Path) -> None:
    (good / names.NEXT).mkdir()
    made = retry(again(texts, good), RUN)
    assert made and made.statuses == {"ok": 50}
    assert_alone(good)
    assert not (good / names.NEXT).exists()


@pytest.mark.parametrize(
    "change", [lambda data: data[::-1], lambda data: data[:100] + b"X" + data[101:], lambda _: b""]
)
def test_a_part_that_was_damaged_before_it_was_published(
    texts: Path, good: Path, change: Callable[[bytes], bytes]
) -> None:
    before = rows_of(good)
    retried_or_done(texts, good, 9)
    part = files_with_rows(good / names.NEXT)[0]
    part.write_bytes(change(part.read_bytes()))
    with pytest.raises(ShardError, match=f"{part.name}: it is not what was committed there"):
        retry(again(texts, good), RUN)
    assert rows_of(good) == before
    assert run_pass(job_of(texts), str(good), RUN).generation == 1
    assert verify(str(good))["problems"] == []
    with pytest.raises(ShardError, match=f"{part.name}: .*accepted: remove .*{names.NEXT}, and"):
        repair(str(good))
    shutil.rmtree(good / names.NEXT)
    assert retry(again(texts, good), RUN)
    assert_alone(good)


def test_rows_that_were_damaged_before_a_generation_was_published(texts: Path, good: Path) -> None:
    """The set is repaired; then the generation is published, or what was asked is asked again."""
    flip(good, ShardSet(good).parts[1])
    with pytest.raises(ShardError, match="row group 1 is not what was committed; run .*--repair"):
        retry(again(texts, good), RUN)
    assert ShardSet(good).manifest.generation == 1
    assert any("row group 1: SHA-256" in line for line in repair(str(good)))
    run_pass(job_of(texts), str(good), RUN)
    assert verify(str(good))["problems"] == []
    assert retry(again(texts, good), RUN)
    assert ShardSet(str(good)).manifest.statuses == {"ok": 50}
    assert_alone(good)


REFUSED = {
    "absent": lambda out: (out / names.MANIFEST).unlink(),
    "running": lambda out: replaced(out, '"complete"', '"running"'),
    "without a log": lambda out: shutil.rmtree(out / names.LOG),
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_retried(texts: Path, good: Path, change: Callable[[Path], object]) -> None:
    change(good)
    before = contents(good)
    with pytest.raises(ShardError, match=r"no set|is running|commit log of the set, but not"):
        retry(again(texts, good), RUN)
    assert contents(good) == before


def test_another_configuration_is_refused(texts: Path, good: Path) -> None:
    other = FlakyPass((f"{texts}/*.jsonl",), window=8, seed=1)
    with pytest.raises(ConfigError, match="another configuration"):
        check(FlakyAgain(other, str(good)))  # type: ignore[arg-type]


@pytest.mark.parametrize("run", [RunConfig(executor="slurm"), RunConfig(step="rewrite:0")])
def test_it_runs_in_one_command(run: RunConfig) -> None:
    with pytest.raises(ConfigError, match=r"run\.\w+: found '.*'; accepted with --retry-failed: "):
        refuse_elsewhere(run)


def test_documents_that_killed_their_workers_are_not_opened(texts: Path, good: Path) -> None:
    bad = next(row["doc_id"] for row in rows_of(good) if " 017 " in row["original"])
    logged(good, lambda records: setattr(records[2], "abandoned", [bad]))
    assert told(planned(again(texts, good))) == "3 failed rows"
    asked: list[str] = []
    made = retry(again(texts, good, asked=asked), RUN)
    assert made and made.statuses == {"failed": 1, "ok": 49}
    assert len(asked) == 3
    assert made.passes[-1].counts["document:abandoned"] == 1
    assert made.passes[-1].abandoned == [bad]
    assert retry(again(texts, good), RUN) is None


def test_a_reader_of_the_old_generation_is_told(texts: Path, good: Path) -> None:
    opened = ShardSet(str(good))
    retry(again(texts, good), RUN)
    with pytest.raises(ShardError, match="gone: the set has generation 2 now, 1 when it was open"):
        list(opened.rows())


def test_a_retry_that_lost_its_folder_writes_nothing(good: Path) -> None:
    first = OutputLock(Folder(str(good)))
    first.__enter__()
    below = first.below(names.NEXT)
    below.write("a", b"1")
    (good / LOCK).unlink()
    with OutputLock(Folder(str(good))):
        with pytest.raises(ShardError, match="another run is writing here"):
            below.write("b", b"2")
        with pytest.raises(ShardError, match="another run is writing here"):
            below.remove("a")
    with pytest.raises(ShardError):
        first.__exit__(None, None, None)
    assert [path.name for path in (good / names.NEXT).iterdir()] == ["a"]


def test_files_of_others_in_the_folder_of_a_generation_stay(texts: Path, good: Path) -> None:
    seen = [0]

    async def kill(document: Document) -> None:
        seen[0] += 1
        if seen[0] > 2:
            raise Killed

    with pytest.raises(Killed):
        retry(again(texts, good, before=kill), RUN)
    (good / names.NEXT / "notes.txt").write_text("text")
    assert retry(again(texts, good), RUN)
    left = [path.name for path in (good / names.NEXT).rglob("*") if path.is_file()]
    assert left == ["notes.txt"]
    assert verify(str(good))["problems"] == []


def test_a_log_of_an_older_generation_is_refused(texts: Path, good: Path) -> None:
    data = next((good / names.LOG).iterdir()).read_bytes()
    retry(again(texts, good), RUN)
    (file,) = (good / names.LOG).iterdir()
    file.write_bytes(data)
    for call in (lambda: planned(again(texts, good)), lambda: repair(str(good))):
        with pytest.raises(ShardError, match="or the log of another set; restore it"):
            call()
