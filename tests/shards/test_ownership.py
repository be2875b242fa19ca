"""A run that was taken for dead and wakes: what it writes then changes nothing."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prewrite.base.errors import EngineError, ShardError
from prewrite.base.files import Folder
from prewrite.base.owned import OwnedFolder
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.passes import Document
from prewrite.pipeline.run import run_pass
from prewrite.shards import lock, log, merge, names
from prewrite.shards.commit_log import Block, CommitLog
from prewrite.shards.lock import OutputLock
from prewrite.shards.manifest import Manifest, PassInfo
from prewrite.shards.merge import merge as merge_records
from prewrite.shards.names import LOCK, MANIFEST
from prewrite.shards.parts import files_of
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import Row
from prewrite.shards.summary import fold
from prewrite.shards.verify import verify
from tests.pipeline.fake import Before, InstantPass
from tests.pipeline.object_store import CORPUS, OUTPUT

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("BEAT", 0.2), ("SILENT", 0.6), ("SETTLE", 0.1)):
        monkeypatch.setattr(lock, name, seconds)


@contextmanager
def asleep(pattern: str, corpus: str, output: str) -> Iterator["subprocess.Popen[str]"]:
    """A run of this pass that sleeps right before it writes a file whose name fits."""
    command = [sys.executable, "-m", "tests.pipeline.sleeper", pattern, corpus, output]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), process.stderr and process.stderr.read()
            yield process
        finally:
            process.kill()


def wake(process: "subprocess.Popen[str]") -> str:
    """Let it go on to its end, which is no success; what it says."""
    process.send_signal(signal.SIGCONT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    return err


def run(corpus: str, output: str, rows: int = 7, before: Before | None = None) -> None:
    run_pass(InstantPass((corpus,), before=before), output, RunConfig(rows_per_part=rows))


def assert_good(output: str, ids: list[str]) -> None:
    """It verifies, and a glob over its files finds each row once."""
    assert verify(output)["problems"] == []
    assert [row["id"] for row in ShardSet(output).rows(["id"])] == ids
    parts = files_of(ShardSet(output).parts)
    assert all(len(mine) == mine[0].groups for mine in parts.values())
    assert set(Folder(output).names(names.DATA)) == set(parts)


@pytest.fixture
def ids(corpus: Path, tmp_path: Path) -> list[str]:
    """Those of the undisturbed set."""
    run(f"{corpus}/*.jsonl", str(tmp_path / "undisturbed"))
    return [row["id"] for row in ShardSet(str(tmp_path / "undisturbed")).rows(["id"])]


MOMENTS = {
    "part": r"data/train-00001-00000",
    "record": r"commits/00001-00000",
    "merge": r"commits/merge-",
    "log": r"_prewrite/log/",
    "manifest": r"README\.md",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_it_wakes_after_another_run_has_finished(
    corpus: Path, tmp_path: Path, ids: list[str], moment: str
) -> None:
    paths, output = f"{corpus}/*.jsonl", str(tmp_path / "set")
    with asleep(MOMENTS[moment], paths, output) as sleeper:
        run(paths, output)
        assert_good(output, ids)
        said = wake(sleeper)
    assert f"error: {output}: " in said
    assert_good(output, ids)
    run(paths, output)
    assert_good(output, ids)
    assert not list(Path(output).glob(".run-*")), "a folder of an owner is left"


def test_it_wakes_while_another_run_works(corpus: Path, tmp_path: Path, ids: list[str]) -> None:
    """Both have committed by then; the second goes on."""
    paths, output, seen = f"{corpus}/*.jsonl", str(tmp_path / "set"), [0]
    with asleep(r"commits/00001-00001", paths, output) as sleeper:

        async def while_open(document: Document) -> None:
            seen[0] += 1
            if seen[0] == 12:
                wake(sleeper)

        run(paths, output, before=while_open)
    assert seen[0] >= 12
    assert_good(output, ids)


@pytest.mark.parametrize(
    "pattern", [r"out/data/train-00001-00000", r"out/_prewrite/manifest\.json", r"commits/merge-"]
)
def test_on_an_object_store(store: Any, pattern: str) -> None:
    with asleep(pattern, CORPUS, OUTPUT) as sleeper:
        run(CORPUS, OUTPUT)
        store.invalidate_cache()
        whole = [row["id"] for row in ShardSet(OUTPUT).rows(["id"])]
        manifest = store.cat_file(f"{OUTPUT}/{MANIFEST}")
        wake(sleeper)
    store.invalidate_cache()
    assert store.cat_file(f"{OUTPUT}/{MANIFEST}") == manifest
    run(CORPUS, OUTPUT)
    assert_good(OUTPUT, whole)


def test_a_run_without_its_lock_commits_nothing(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder was removed, or a person removed the lock."""
    monkeypatch.setattr(lock, "BEAT", 3600.0)  # a beat under way would write it anew
    out = tmp_path / "set"

    async def remove(document: Document) -> None:
        (out / LOCK).unlink(missing_ok=True)

    from prewrite.base.cli import ending

    assert ending(lambda: run(f"{corpus}/*.jsonl", str(out), before=remove)) == 1
    assert ShardSet(str(out)).manifest.status != "complete"


@pytest.mark.parametrize("looks", [True, False])
def test_writes_of_an_owner_fail_once_another_has_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: bool
) -> None:
    """Whether or not it looks at the lock before: it may sleep in between."""
    monkeypatch.setattr(lock, "BEAT", 3600.0)  # a beat ends the process that has lost its lock
    if not looks:
        monkeypatch.setattr(OwnedFolder, "_look", lambda self: None)
    said = "another run is writing here" if looks else "another run has taken this folder over"
    folder = Folder(str(tmp_path / "set"))
    first = OutputLock(folder)
    first.__enter__()
    first.folder.write("a", b"1")
    (tmp_path / "set" / LOCK).unlink()
    with OutputLock(folder):
        with pytest.raises(ShardError, match=said):
            first.folder.write("a", b"2")
        with pytest.raises(ShardError, match=said):
            first.folder.remove("a")
        with pytest.raises(ShardError, match="another run is writing here"):
            first.__exit__(None, None, None)
        assert folder.read("a") == b"1"
        assert folder.exists(LOCK), "the late one removed the lock of its successor"


def test_conditional_writes(store: Any) -> None:
    """An owner on S3 replaces only what it has seen."""
    plain = Folder("s3://sets/a")
    plain.write("x", b"1")
    early, late = (OwnedFolder("s3://sets/a", ".run-x", "0" * 8) for _ in range(2))
    for folder in (early, late):
        folder.watch(["x", "y"], lambda: None)
    late.write("x", b"2")
    late.write("y", b"2")
    for name in ("x", "y"):
        with pytest.raises(ShardError, match="another run has taken this folder over"):
            early.write(name, b"3")
        assert plain.read(name) == b"2"
    late.write("x", b"4")
    assert plain.read("x") == b"4"


RECORDS, SPLIT = 12, "00000"
Life = tuple[int, list[int]]
"""Of a run: how many of its blocks come late, and their sizes."""


@settings(max_examples=40)
@given(
    lives=st.lists(
        st.tuples(st.integers(0, 6), st.lists(st.integers(1, 5), max_size=6)), max_size=5
    ),
    order=st.randoms(use_true_random=False),
)
def test_late_records_of_earlier_runs_change_nothing(lives: list[Life], order: Random) -> None:
    """Runs take over from each other; each has written some blocks, others come at any time."""
    folder = OwnedFolder(f"memory://lives-{uuid4().hex}", ".run-test", "0" * 8)
    tries, late = Tries(folder), list[Callable[[], object]]()
    for delayed, sizes in lives:
        blocks = tries.take_over(sizes)
        late += [partial(tries.commit, b) for b in blocks[max(0, len(blocks) - delayed) :]]
        for block in blocks[: max(0, len(blocks) - delayed)]:
            tries.commit(block)
        late.append(tries.merging())
        order.shuffle(late)
        for _ in range(order.randint(0, len(late))):
            late.pop()()
    last = tries.take_over([1] * RECORDS)
    late += [partial(tries.commit, block) for block in last]
    order.shuffle(late)
    for write in late:
        write()
    tries.merging()()
    summary = fold(tries.commit_log(), [SPLIT])
    assert summary.documents == RECORDS and not summary.unfinished
    mine = summary.every[len(summary.every) - len(last) :]
    assert [record.line for record in mine] == [block.place.line for block in last]
    tries.manifest.log = log.write(tries.folder, summary.every, tries.manifest.owner + "ffff")
    tries.manifest.save(tries.folder)
    found = ShardSet(tries.folder.url)
    assert len({part.file for part in found.parts}) == 1
    assert [row["id"] for row in found.rows(["id"])] == [str(n) for n in range(RECORDS)]


class Tries:
    """Runs over one split of `RECORDS` documents of a row each."""

    def __init__(self, folder: OwnedFolder) -> None:
        self.folder = folder
        made = PassInfo(name="rewrite", fingerprint="", config={})
        self.manifest = Manifest(passes=[made], inputs=[], owners=["0" * 8])

    def commit_log(self) -> CommitLog:
        """The commits as the latest run sees them."""
        return CommitLog(self.folder, self.manifest.model_copy(deep=True))

    def take_over(self, sizes: list[int]) -> list[Block]:
        """The blocks that the next run makes, which begins now."""
        done = self.commit_log().records(SPLIT)
        owner = f"{len(self.manifest.owners):08x}"
        self.manifest.log = log.write(self.folder, done, f"{owner}eeee")
        self.manifest.owners.append(owner)
        place = self.commit_log().continued(done, SPLIT)
        position, blocks = done[-1].stop if done else 0, list[Block]()
        for index, size in enumerate(sizes, start=len(done)):
            stop = min(position + size, RECORDS)
            if position == stop:
                break
            rows = [_row(number) for number in range(position, stop)]
            block = Block(SPLIT, index, position, stop, stop - position, rows, place=place)
            block.last = stop == RECORDS
            blocks.append(block)
            position, place = stop, replace(place, after=place.line)
        return blocks

    def commit(self, block: Block) -> None:
        """Write a block, whoever made it."""
        self.commit_log().commit(block)

    def merging(self) -> Callable[[], None]:
        """What brings into one file all that the latest run has, whenever it comes."""
        manifest = self.manifest.model_copy(deep=True)

        def merging() -> None:
            commit_log = CommitLog(self.folder, manifest)
            with suppress(ShardError):  # a late one finds that its files are gone
                for some in merge.to_merge(commit_log.records(SPLIT)):
                    merge_records(commit_log, self.folder, some)

        return merging


def _row(number: int) -> Row:
    values = {"id": str(number), "doc_id": str(number), "source": "a", "original": "text"}
    return {**values, "chunk": 0, "chunks": 1, "original_tokens": 1, "rewrite_status": "failed"}


def test_a_dead_engine_keeps_the_lock_for_nobody(corpus: Path, tmp_path: Path) -> None:
    async def dead(document: Document) -> None:
        raise EngineError("the engine is dead")

    with pytest.raises(EngineError):
        run(f"{corpus}/*.jsonl", str(tmp_path / "set"), before=dead)
    assert not (tmp_path / "set").exists()
