"""A run that sleeps while another one takes its output over does it no harm, wherever it slept; and
what lies in an output is a run's or is refused.
"""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from prewrite.base.errors import ConfigError, PrewriteError, ShardError
from prewrite.base.files import Folder
from prewrite.shards.lock import OutputLock
from prewrite.train import output as held_output
from prewrite.train.messages import RolloutGroup
from prewrite.train.names import LOCK, NAMES, RECORD
from prewrite.train.online.store import RolloutStore, RolloutStoreWriter, adopt, store_of
from prewrite.train.output import Output
from prewrite.train.owned import claim, refuse_foreign

OURS, THEIRS = "a" * 32, "b" * 32
Tree = dict[str, bytes]


def taken(root: Path, token: str) -> Output:
    """What the run with this token holds: the scratch folders of those before it are gone."""
    for old in root.glob(".run-*"):
        shutil.rmtree(old)
    scratch = root / f".run-{token}"
    scratch.mkdir()
    (root / "lock.json").write_text(json.dumps({"token": token}))
    return Output(root, scratch, token)


def tree(root: Path) -> Tree:
    """Every file there, but for what runs have under way."""
    found = (path for path in root.rglob("*") if path.is_file() and ".run-" not in str(path))
    return {str(path.relative_to(root)): path.read_bytes() for path in found}


# What a run does to its output.


def _writes(output: Output) -> None:
    output.folder("rollouts/pools").write("step-1.md", b"late")


def _appends(output: Output) -> None:
    with output.append("metrics.jsonl", b"kept\n") as stream:
        stream.write(b"late\n")
        stream.flush()


def _publishes(output: Output) -> None:
    part = output.scratch / "part"
    with output.told(part):
        part.mkdir()
        (part / "mine-1").write_bytes(b"late")
    output.publish(part, "checkpoints/step-1", lambda name: name.startswith("mine"))
    output.folder("checkpoints").write("latest", b"step-1")


def _discards(output: Output) -> None:
    output.discard("checkpoints/step-1", lambda name: name.startswith("mine"))
    output.discard("continuations.md")


def _adopts(output: Output) -> None:
    adopt(output)
    RolloutStore(output.folder(store_of(output)), "about").claim()


WORK: list[Callable[[Output], None]] = [_writes, _appends, _publishes, _discards, _adopts]


def begun(root: Path, others: bool) -> None:
    """An output with something at every name that the work touches."""
    step = root / "checkpoints/step-1"
    step.mkdir(parents=True)
    (step / "mine-0").write_bytes(b"early")
    if others:
        (step / "notes.txt").write_bytes(b"a person's")
    for name in ("metrics.jsonl", "continuations.md", "checkpoints/latest"):
        (root / name).write_bytes(b"early")
    store = root / "rollouts/store" / ("c" * 32)
    store.mkdir(parents=True)
    RolloutStore(Folder(str(store)), "about").claim()
    RolloutStoreWriter(store, 0).append(
        1, [RolloutGroup(sample=1, id="a", version=0, rollouts=(), scores={})]
    )


def other_run(root: Path) -> Tree:
    """Another run takes over and does all of it; what it leaves."""
    output = taken(root, THEIRS)
    for work in WORK:
        if work is not _discards:
            work(output)
    (root / "continuations.md").write_bytes(b"theirs")
    return tree(root)


class Sleeper:
    """At the file-system step number `at` of this process something else happens first."""

    def __init__(self) -> None:
        self.at, self.seen = -1, 0
        self.wakes: Callable[[], object] = tuple

    def __call__(self, event: str, arguments: Any) -> None:
        if self.at < 0 or event not in _STEPS:
            return
        self.seen += 1
        if self.seen > self.at:
            self.at = -1
            self.wakes()


_STEPS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.listdir", "os.scandir")
SLEEPER = Sleeper()
sys.addaudithook(SLEEPER)


@pytest.fixture(autouse=True)
def _awake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(held_output, "_AGAIN", 0.0)
    yield
    SLEEPER.at = -1


@pytest.mark.parametrize("others", [False, True])
@pytest.mark.parametrize("work", WORK)
def test_a_late_run_changes_nothing(
    tmp_path: Path, work: Callable[[Output], None], others: bool
) -> None:
    """It sleeps before each step of what it does, one after the other."""
    for at in range(1000):
        root, left = tmp_path / str(at), Tree()
        root.mkdir()
        begun(root, others)
        mine = taken(root, OURS)
        SLEEPER.seen, SLEEPER.at = 0, at
        SLEEPER.wakes = lambda: left.update(other_run(root))  # noqa: B023
        with suppress(PrewriteError):
            work(mine)
        slept, SLEEPER.at = SLEEPER.at < 0, -1
        if not slept:
            break
        assert tree(root) == left, f"step {at}"
        with pytest.raises(ShardError, match=r"this run has lost lock\.json"):
            mine.check()
    assert at >= 4, "there were steps to sleep at"
    if others:
        assert (root / "checkpoints/step-1/notes.txt").read_bytes() == b"a person's"


def test_a_lock_that_is_gone_is_lost(tmp_path: Path) -> None:
    output = taken(tmp_path, OURS)
    output.check()
    (tmp_path / "lock.json").unlink()
    with pytest.raises(ShardError, match="it was removed; what was not saved before is left out"):
        output.check()


def test_a_disk_that_refuses_is_said_in_a_sentence(tmp_path: Path) -> None:
    output = taken(tmp_path, OURS)
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(ShardError, match=r"cache/index: cannot write: (File exists|Not a dir)"):
        output.folder("cache").write("index", b"")


def test_groups_that_were_kept_go_on_with_the_run(tmp_path: Path) -> None:
    """And what the run before adds later is not among them."""
    begun(tmp_path, others=False)
    late = RolloutStoreWriter(tmp_path / "rollouts/store" / ("c" * 32), 0)
    for token in (OURS, THEIRS):
        output = taken(tmp_path, token)
        adopt(output)
        store = RolloutStore(output.folder(store_of(output)), "about")
        store.claim()
        assert [sample for sample, _ in store.read(0)[0]] == [1]
        with pytest.raises(FileNotFoundError):
            late.append(1, [RolloutGroup(sample=2, id="a", version=0, rollouts=(), scores={})])


# Names that are taken.


def occupied(root: Path, name: str) -> None:
    if "." in name:
        (root / name).write_bytes(b"somebody's")
    else:
        (root / name).mkdir()
        (root / name / "config.json").write_bytes(b"somebody's")


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_is_taken_is_refused(tmp_path: Path, name: str) -> None:
    occupied(tmp_path, name)
    before = tree(tmp_path)
    with pytest.raises(ConfigError, match=rf"train.output: found .*{name}.*accepted: another"):
        claim(tmp_path, Folder(str(tmp_path)))
    assert tree(tmp_path) == before


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("report.html", "slurm-12.out", ".DS_Store", "notes.txt"):
        (tmp_path / name).write_bytes(b"somebody's")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"index-{'0' * 32}.json").write_bytes(b"of a dry run")
    before = tree(tmp_path)
    claim(tmp_path, Folder(str(tmp_path)))
    assert {name: data for name, data in tree(tmp_path).items() if name != RECORD} == before
    occupied(tmp_path, "metrics.jsonl")
    refuse_foreign(tmp_path)  # by now it is the run's


@pytest.mark.parametrize("name", ["model", "checkpoints", "metrics.jsonl"])
def test_a_link_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigError, match=f"found the link .*{name}; accepted: "):
        refuse_foreign(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_in_place_of_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    """And a folder in place of a file; also in a run's own output."""
    claim(tmp_path, Folder(str(tmp_path)))
    (tmp_path / name).mkdir() if "." in name else (tmp_path / name).touch()
    kind = "folder" if "." in name else "file"
    with pytest.raises(ConfigError, match=f"found the {kind} .*{name}; accepted: "):
        refuse_foreign(tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_is_refused(tmp_path: Path, name: str) -> None:
    claim(tmp_path, Folder(str(tmp_path)))
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    with pytest.raises(ConfigError, match=f"found the pipe, socket or device .*{name}; accepted"):
        refuse_foreign(tmp_path)


def test_what_runs_before_had_under_way_goes(tmp_path: Path) -> None:
    """Also where one of them still writes; what has another name is left alone."""
    before = tmp_path / f".run-{OURS}/step-1.partial"
    before.mkdir(parents=True)
    (tmp_path / ".run-notes").mkdir()
    with open(before / "tensors", "wb") as late, OutputLock(Folder(str(tmp_path)), LOCK) as lock:
        late.write(b"late")
        assert lock.scratch and lock.scratch.is_dir()
        names = {path.name for path in tmp_path.iterdir()}
        assert names == {lock.scratch.name, ".run-notes", LOCK}
        with pytest.raises(FileNotFoundError):
            before.rename(tmp_path / "step-1")
    assert [path.name for path in tmp_path.iterdir()] == [".run-notes"]


def test_a_model_that_no_run_left_is_refused_later_too(tmp_path: Path) -> None:
    claim(tmp_path, Folder(str(tmp_path)))
    occupied(tmp_path, "model")
    with pytest.raises(ConfigError, match=r"model without prewrite\.json, so no run has left it"):
        refuse_foreign(tmp_path)
    (tmp_path / "model/prewrite.json").write_text("{}")
    refuse_foreign(tmp_path)


@pytest.mark.parametrize(
    "record", [b"", b"{", b"[2]", b'{"format": 3}', bytes(30), b'"format"', b"[" * 100_000]
)
def test_a_damaged_record_is_refused(tmp_path: Path, record: bytes) -> None:
    (tmp_path / RECORD).write_bytes(record)
    with pytest.raises(ShardError, match=r"run\.json: found something else than what a run of th"):
        refuse_foreign(tmp_path)


def test_a_run_of_the_first_version_is_named(tmp_path: Path) -> None:
    state = tmp_path / "checkpoints/step-00000002/state.json"
    state.parent.mkdir(parents=True)
    state.write_text('{"step": 2, "samples": 8, "settings": {}, "data": {}}')
    (state.parents[1] / "latest").write_text("step-00000002\n")
    with pytest.raises(
        ShardError, match=r"a checkpoint of version 0\.1 of Prewrite, which has no "
    ):
        refuse_foreign(tmp_path)
