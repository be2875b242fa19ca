"""Whatever happens to the files of a checkpoint: it is noticed before anything is loaded, said, and
the newest whole one before it is taken; and what is put there on purpose does not run.
"""

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from prewrite.base.errors import PrewriteError
from prewrite.train.config.sections import ParallelConfig, TrainConfig
from prewrite.train.state import FileDigest
from tests.train.launch import launch, started
from tests.train.small import Command, curve, metrics, settings, weights

pytestmark = pytest.mark.slow

NEWEST, OLDER = "step-00000008", "step-00000006"
TENSORS = ("__0_0.distcp", "__0_1.distcp")
FILES = (*TENSORS, ".metadata", "common.pt", "state.json")
"""Of a checkpoint; `metadata.json` is the same in all."""

Damage = Callable[[Path], None]
"""What is done to the folder `checkpoints`."""


# What happens to a file.


def put(file: Path, data: bytes) -> None:
    """Write a file anew: the one that was there is a link to the run's own."""
    file.unlink(missing_ok=True)
    file.write_bytes(data)


def removed(file: Path) -> None:
    file.unlink()


def emptied(file: Path) -> None:
    put(file, b"")


def truncated(file: Path) -> None:
    put(file, file.read_bytes()[:-1])


def lengthened(file: Path) -> None:
    put(file, file.read_bytes() + b"\0")


def zeroed(file: Path) -> None:
    put(file, bytes(file.stat().st_size))


def exchanged(file: Path) -> None:
    put(file, (file.parents[1] / OLDER / file.name).read_bytes())


def replaced_by_a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


def replaced_by_a_pipe(file: Path) -> None:
    """Which nothing is written to."""
    file.unlink()
    os.mkfifo(file)


def linked_out(file: Path) -> None:
    """The same bytes, outside of the run."""
    outside = file.parents[3] / "outside"
    put(outside, file.read_bytes())
    file.unlink()
    file.symlink_to(outside)


def flipped(file: Path, at: float = 0.5) -> None:
    data = bytearray(file.read_bytes())
    data[int(at * len(data))] ^= 1 << int(at * 1000) % 8
    put(file, bytes(data))


HAPPENS = (
    removed, emptied, truncated, lengthened, zeroed, exchanged, replaced_by_a_folder,
    replaced_by_a_pipe, linked_out, flipped,
)  # fmt: skip


def to_file(checkpoints: Path, happens: Callable[[Path], None], name: str) -> None:
    happens(checkpoints / NEWEST / name)


def anywhere(checkpoints: Path, seed: int) -> None:
    drawn = random.Random(seed)
    flipped(checkpoints / NEWEST / drawn.choice([*FILES, "metadata.json"]), drawn.random())


# What happens to a checkpoint, and to what names it.


def whole_folders_exchanged(checkpoints: Path) -> None:
    (checkpoints / NEWEST).rename(checkpoints / "between")
    (checkpoints / OLDER).rename(checkpoints / NEWEST)
    (checkpoints / "between").rename(checkpoints / OLDER)


def folder_removed(checkpoints: Path) -> None:
    shutil.rmtree(checkpoints / NEWEST)


def latest_is(checkpoints: Path, text: bytes | None) -> None:
    (checkpoints / "latest").unlink()
    if text is not None:
        put((checkpoints / "latest"), text)


def latest_is_a_folder(checkpoints: Path) -> None:
    replaced_by_a_folder(checkpoints / "latest")


def latest_is_a_pipe(checkpoints: Path) -> None:
    (checkpoints / "latest").unlink()
    os.mkfifo(checkpoints / "latest")


def latest_is_linked(checkpoints: Path) -> None:
    shutil.move(checkpoints / "latest", checkpoints.parent / "outside")
    (checkpoints / "latest").symlink_to(checkpoints.parent / "outside")


def more_lies_there(checkpoints: Path) -> None:
    for name in ("__9_0.distcp", "notes.txt"):
        put((checkpoints / NEWEST / name), b"more")


def both_damaged(checkpoints: Path) -> None:
    flipped(checkpoints / NEWEST / TENSORS[0])
    removed(checkpoints / OLDER / "common.pt")


def both_states_damaged(checkpoints: Path) -> None:
    zeroed(checkpoints / NEWEST / "state.json")
    emptied(checkpoints / OLDER / "state.json")


def none_is_there(checkpoints: Path) -> None:
    for name in (NEWEST, OLDER):
        shutil.rmtree(checkpoints / name)


def of_the_first_version(checkpoints: Path) -> None:
    state = checkpoints / NEWEST / "state.json"
    values = json.loads(state.read_text())
    for key in ("format", "files", "check", "log"):
        del values[key]
    put(state, (json.dumps(values)).encode())


def nothing(checkpoints: Path) -> None: ...


# What somebody who knows how digests are made puts there.


class Evil:
    """Unpickled it makes a file in the working folder."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("it-ran",)


def signed(checkpoint: Path) -> None:
    """Make the digests those of what lies there now."""
    from prewrite.train.saved import text_of
    from prewrite.train.state import State

    state = checkpoint / "state.json"
    values = json.loads(state.read_text())
    del values["format"], values["check"]
    files = {name: _file_of(checkpoint / name) for name in values.pop("files")}
    put(state, (text_of(State.model_validate(values), files)).encode())


def _file_of(path: Path) -> FileDigest:
    from prewrite.train.log import file_of

    return file_of(path.read_bytes())


def evil_metadata(checkpoint: Path) -> None:
    put((checkpoint / ".metadata"), pickle.dumps(Evil()))


def evil_inside_metadata(checkpoint: Path) -> None:
    known = pickle.loads((checkpoint / ".metadata").read_bytes())
    known.planner_data = Evil()
    put((checkpoint / ".metadata"), pickle.dumps(known))


def evil_common(checkpoint: Path) -> None:
    (checkpoint / "common.pt").unlink()
    torch.save({"optimizer": Evil()}, checkpoint / "common.pt")


def evil_legacy_common(checkpoint: Path) -> None:
    (checkpoint / "common.pt").unlink()
    torch.save(
        {"optimizer": Evil()}, checkpoint / "common.pt", _use_new_zipfile_serialization=False
    )


def evil_entry(checkpoint: Path, tensor: bool) -> None:
    """An object, or a tensor, between the tensors, as large as before or with its new length."""
    known = pickle.loads((checkpoint / ".metadata").read_bytes())
    kind = "TensorStorageMetadata" if tensor else "BytesStorageMetadata"
    index = next(
        index
        for index in known.storage_data
        if type(known.state_dict_metadata[index.fqn]).__name__ == kind
    )
    info = known.storage_data[index]
    file = checkpoint / info.relative_path
    info.offset = file.stat().st_size
    put(file, file.read_bytes())
    with open(file, "ab") as stream:
        torch.save(Evil() if tensor else [Evil()], stream)
        info.length = stream.tell() - info.offset
    put((checkpoint / ".metadata"), pickle.dumps(known))


def entry_outside(checkpoint: Path) -> None:
    known = pickle.loads((checkpoint / ".metadata").read_bytes())
    for info in known.storage_data.values():
        info.relative_path = f"../{OLDER}/{info.relative_path}"
    put((checkpoint / ".metadata"), pickle.dumps(known))


def another_backend(checkpoint: Path) -> None:
    put(checkpoint / "metadata.json", b'{"sharded_backend": "zarr"}')


def tensors_of_another_size(checkpoint: Path) -> None:
    known = pickle.loads((checkpoint / ".metadata").read_bytes())
    for one in known.state_dict_metadata.values():
        if hasattr(one, "size"):
            one.size = torch.Size([7, *one.size[1:]])
    put((checkpoint / ".metadata"), pickle.dumps(known))


def no_pickle(checkpoint: Path) -> None:
    put((checkpoint / ".metadata"), b"\x80\x04.")


def on_purpose(checkpoints: Path, done: Callable[[Path], None]) -> None:
    done(checkpoints / NEWEST)
    signed(checkpoints / NEWEST)


def fewer_are_listed(checkpoints: Path) -> None:
    """A file of tensors without a digest, and a state with a true one."""
    from prewrite.train.saved import read, text_of

    found = read(checkpoints / NEWEST)
    listed = {name: file for name, file in found.files.items() if name != TENSORS[1]}
    put(checkpoints / NEWEST / "state.json", text_of(found, listed).encode())


def files_outside(checkpoints: Path) -> None:
    """A state with a true digest that lists a file elsewhere."""
    from prewrite.base.fingerprint import fingerprint

    state = checkpoints / NEWEST / "state.json"
    values = json.loads(state.read_text())
    values["files"]["../../metrics.jsonl"] = values["files"]["common.pt"]
    del values["check"]
    text = json.dumps(values | {"check": fingerprint(values)}, indent=1)
    put(state, f"{text}\n".encode())


# Looking.


@dataclass
class Looked:
    """step: of the checkpoint that was loaded; said: on the console, or the error's sentence; same:
    whether the weights are those of that step; ran: whether something did.
    """

    step: int | None
    said: str
    same: bool
    ran: bool


def look(recipe: dict[str, Any], folder: Path, damages: Sequence[Damage]) -> list[Looked]:
    """What the trainer makes of each damage to a copy of the run's checkpoints."""
    from prewrite.train import checkpoint
    from prewrite.train.learner import Learner
    from prewrite.train.model.shape import load_shape

    config, found = TrainConfig.model_validate(recipe), []
    setattr(checkpoint, "console", Said())  # noqa: B010
    os.chdir(folder)
    with started(ParallelConfig()):
        learner = Learner(config, load_shape(config.model.path))
        expected: dict[int, bytes] = {}
        for damage in [nothing, folder_removed, *damages]:
            copied(Path(config.output), folder / "run", damage)
            one = _look(learner, config, folder / "run", expected)
            one.ran = Path("it-ran").exists()
            found.append(one)
    return found[2:]


def _look(learner: Any, config: TrainConfig, output: Path, expected: dict[int, bytes]) -> Looked:
    from prewrite.train import checkpoint
    from prewrite.train.output import Output

    said: Said = getattr(checkpoint, "console")  # noqa: B009
    said.lines = []
    for parameter in learner.model.parameters():
        parameter.data.fill_(0.5)
    try:
        checkpoints = checkpoint.Checkpoints(Output(output, output), config.checkpoint)
        state = checkpoints.whole(checkpoints.find())
        if state is None:
            return Looked(None, "", True, False)
        if ": damaged: " in "\n".join(said.lines) and state.step in expected:
            return Looked(state.step, "\n".join(said.lines), True, False)  # loaded before
        checkpoints.load(learner, state)
    except PrewriteError as error:
        untouched = all(bool((one == 0.5).all()) for one in learner.model.parameters())
        return Looked(None, str(error), untouched, False)
    now = b"".join(one.detach().numpy().tobytes() for one in learner.model.parameters())
    same = expected.setdefault(state.step, now) == now
    return Looked(state.step, "\n".join(said.lines), same, False)


class Said:
    """The console."""

    lines: list[str] = []

    def print(self, text: str, **_: Any) -> None:
        self.lines.append(text)


def copied(run: Path, to: Path, damage: Damage) -> None:
    """A copy of the run's checkpoints, damaged; no byte of the run's own changes."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(run / "checkpoints", to / "checkpoints", copy_function=os.link)
    damage(to / "checkpoints")


@pytest.fixture(scope="module")
def looked(
    whole: Command, small: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Sequence[Damage]], list[Looked]]:
    def run(damages: Sequence[Damage]) -> list[Looked]:
        folder = tmp_path_factory.mktemp("damaged")
        (found,) = launch(look, 1, settings(small, "whole"), folder, damages)
        return found

    return run


SINGLE: Mapping[str, Damage] = {
    f"{name} {happens.__name__}": partial(to_file, happens=happens, name=name)
    for name in FILES
    for happens in HAPPENS
} | {
    f"metadata.json {happens.__name__}": partial(to_file, happens=happens, name="metadata.json")
    for happens in HAPPENS
    if happens is not exchanged
}
"""One file of the newest checkpoint, which is named."""

BESIDE: dict[str, tuple[Damage, int, str]] = {
    "nothing": (nothing, 8, ""),
    "exchanged": (whole_folders_exchanged, 0, "step-00000008: damaged: state.json: found that of "),
    "gone": (folder_removed, 6, "latest: found 'step-00000008'; accepted: the name of a folder"),
    "dangling": (partial(latest_is, text=b"step-00000099\n"), 8, "latest: found 'step-00000099'"),
    "empty": (partial(latest_is, text=b""), 8, "latest: found ''; accepted"),
    "outside": (partial(latest_is, text=b"../../model\n"), 8, "latest: found '../../model'"),
    "within": (partial(latest_is, text=b"../checkpoints/step-00000006\n"), 8, "latest: found"),
    "zeroed": (partial(latest_is, text=bytes(14)), 8, r"latest: found '\x00"),
    "no text": (partial(latest_is, text=b"\xff\xfe\x00"), 8, "latest: found"),
    "missing": (partial(latest_is, text=None), 8, "latest: missing"),
    "a folder": (latest_is_a_folder, 8, "latest: Is a directory"),
    "a pipe": (latest_is_a_pipe, 8, "latest: found a pipe, a socket or a device; accepted: a file"),
    "linked": (latest_is_linked, 8, "latest: found a link to "),
    "chosen": (partial(latest_is, text=b"step-00000006"), 6, ""),
    "more": (more_lies_there, 8, "__9_0.distcp: not of this checkpoint; it is not read"),
    "outer": (files_outside, 6, "lists '../../metrics.jsonl', which is no file of a checkpoint"),
}
"""Damage, the step that is taken (0: none), and what is said."""

REFUSED: dict[str, tuple[Damage, str]] = {
    "both": (both_damaged, "; accepted: a whole one, and none is left"),
    "both states": (both_states_damaged, "; accepted: a whole one, and none is left"),
    "fewer": (
        fewer_are_listed,
        f"it names the file '{TENSORS[1]}'",
    ),
    "none": (none_is_there, "latest: found 'step-00000008'; accepted: "),
    "0.1": (
        of_the_first_version,
        "found a checkpoint of version 0.1 of Prewrite, which has no dig",
    ),
}

HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "metadata": (evil_metadata, "it names posix.mkdir, which no checkpoint does"),
    "inside": (evil_inside_metadata, "it names posix.mkdir, which no checkpoint does"),
    "common": (evil_common, "posix.mkdir"),
    "legacy common": (evil_legacy_common, ""),
    "object": (partial(evil_entry, tensor=False), "posix.mkdir"),
    "tensor": (partial(evil_entry, tensor=True), "posix.mkdir"),
    "outside": (entry_outside, "it names the file '../step-00000006/__0_"),
    "backend": (another_backend, ""),
    "sizes": (tensors_of_another_size, ""),
    "no pickle": (no_pickle, ""),
}


def test_damage_is_noticed_said_and_gone_around(
    looked: Callable[[Sequence[Damage]], list[Looked]],
) -> None:
    seeded = {f"seed {seed}": partial(anywhere, seed=seed) for seed in range(24)}
    purpose = {name: partial(on_purpose, done=done) for name, (done, _) in HOSTILE.items()}
    damages: list[Damage] = [
        *SINGLE.values(),
        *seeded.values(),
        *(damage for damage, *_ in BESIDE.values()),
        *(damage for damage, _ in REFUSED.values()),
        *purpose.values(),
    ]
    found = iter(looked(damages))
    for name in [*SINGLE, *seeded]:
        one = next(found)
        file = name.split()[0] if name in SINGLE else ""
        assert (one.step, one.same) == (6, True), (name, one)
        assert f"step-00000008: damaged: {file}" in one.said, (name, one)
        assert one.said.endswith("; going on from step-00000006, the newest that is whole"), name
        assert "\n" not in one.said
    for name, (_, step, sentence) in BESIDE.items():
        one = next(found)
        assert (one.step or 0, one.same) == (step, True), (name, one)
        assert sentence in one.said and (one.said or not sentence), (name, one)
    for name, (_, sentence) in REFUSED.items():
        one = next(found)
        assert one.step is None and (one.same or "cannot be loaded" in one.said), (name, one)
        assert sentence in one.said and "\n" not in one.said, (name, one)
    for name, (_, sentence) in HOSTILE.items():
        one = next(found)
        assert one.step is None and not one.ran, (name, one)
        assert "step-00000008: cannot be loaded: " in one.said and sentence in one.said, (name, one)
        assert "\n" not in one.said, (name, one)
    assert next(found, None) is None


def test_a_run_behind_damage_is_the_undisturbed_one(whole: Command, small: Path) -> None:
    """Losses, metrics and weights are the same to the last bit; damage is said once. A damaged line
    of metrics is left out and said, too.
    """
    train = settings(small, "around")
    output = Path(train["output"])
    shutil.copytree(whole.output, output)
    flipped(output / "checkpoints" / NEWEST / TENSORS[1])
    lines = (output / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    lines[2] = bytes(len(lines[2]) - 1) + b"\n"
    (output / "metrics.jsonl").write_bytes(b"".join(lines))
    (output / "loss.png").unlink()
    command = Command(train)
    assert command.end() == 0, command.text
    said = [line for line in command.text.splitlines() if "damaged" in line]
    assert said[0].startswith(
        f"{output}/checkpoints/{NEWEST}: damaged: {TENSORS[1]}: found other b"
    )
    assert said[0].endswith("; going on from step-00000006, the newest that is whole")
    where = f"{output}/metrics.jsonl"
    assert said[1:] == [f"{where}: 1 damaged line left out: 3 (line 3: found no JSON)"]
    assert f"{where}: found no line of step 3" in command.text.splitlines()
    assert [step["step"] for step in metrics(output)] == [1, 2, *range(4, 9)]
    assert curve(output) == [*curve(whole.output)[:2], *curve(whole.output)[3:]]
    expected = weights(whole.output)
    assert all(torch.equal(value, expected[name]) for name, value in weights(output).items())
    again = Command(settings(small, "around"))
    assert again.end() == 0 and again.text == f"{output}: the run is complete; nothing to do\n"


def test_two_ranks_agree_on_the_damage_that_one_of_them_finds(whole: Command, small: Path) -> None:
    """None is left: all end, and one sentence says it."""
    train = settings(small, "agreed", checkpoint={"every": 2, "keep": 2})
    output = Path(train["output"])
    shutil.copytree(whole.output, output)
    for name in (NEWEST, OLDER):
        flipped(output / "checkpoints" / name / TENSORS[0])
    (output / "loss.png").unlink()
    command = Command(train, ranks=2)
    assert command.end() == 1, command.text
    (line,) = command.text.splitlines()
    assert line.startswith("error: ") and line.count("found other bytes than were written") == 2
