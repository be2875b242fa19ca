"""`state.json` of a checkpoint: the state of the run, and the digests of the files beside it.

Its own text is digested, too (`check`). Version 0.1 of this project wrote neither; its checkpoints
are refused.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from prewrite.base.errors import ShardError
from prewrite.base.files import leads_out, opened
from prewrite.base.fingerprint import fingerprint
from prewrite.train.state import FileDigest, State

STATE = "state.json"
FORMAT: Literal[2] = 2
LATEST = "latest"
ALWAYS = (".metadata", "common.pt", "metadata.json")
"""Files of every checkpoint, which the main process writes; beside them lie those of tensors."""

_TENSORS = re.compile(r"__\d+_\d+\.distcp")
_FOLDER = re.compile(r"step-(\d{8,})")


class Damaged(Exception):
    """What is wrong with a checkpoint, in words."""


class Saved(State):
    """The content of the file."""

    format: Literal[2] = FORMAT
    files: dict[str, FileDigest]


def name_of(step: int) -> str:
    """What the checkpoint of a step is called."""
    return f"step-{step:08d}"


def step_of(name: str) -> int | None:
    """The step of the checkpoint called `name`; None: that is no name of one."""
    match = _FOLDER.fullmatch(name)
    return int(match[1]) if match and name_of(int(match[1])) == name else None


def steps(root: Path) -> list[int]:
    """The steps of which a folder lies in `root`, the newest first."""
    found = [step_of(path.name) for path in root.glob("step-*") if path.is_dir()]
    return sorted((step for step in found if step is not None), reverse=True)


def is_ours(name: str) -> bool:
    """Whether a file in a checkpoint's folder is called as one of its own."""
    return name in (*ALWAYS, STATE) or bool(_TENSORS.fullmatch(name))


def text_of(state: State, files: Mapping[str, FileDigest]) -> str:
    """The text of the file."""
    saved = Saved(files=dict(files), **state.model_dump(include=set(State.model_fields)))
    values = saved.model_dump(mode="json")
    return _written(values | {"check": fingerprint(values)})


def _written(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=1) + "\n"


def read(folder: Path) -> Saved:
    """What the checkpoint in `folder` says; Damaged where it cannot be right, ShardError for one of
    version 0.1.
    """
    path = folder / STATE
    if real := leads_out(path, folder.parent):
        raise Damaged(f"{STATE}: found a link to {real}, out of the checkpoints")
    try:
        with opened(path) as stream:
            text = stream.read()
        values = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError
    except OSError as error:
        raise Damaged(f"{STATE}: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise Damaged(f"{STATE}: not a JSON object") from None
    if not {"format", "check"} & values.keys() and "settings" in values:
        raise ShardError(
            f"{path}: found a checkpoint of version 0.1 of Prewrite, which has no digests; "
            "accepted: one of this version; choose another train.output"
        )
    with suppress(UnicodeError):  # of half a character, which no run writes
        if text == _written(values).encode() and values.pop("check", None) == fingerprint(values):
            return _understood(folder, values)
    raise Damaged(f"{STATE}: found another text than was written")


def _understood(folder: Path, values: dict[str, Any]) -> Saved:
    try:
        saved = Saved.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        raise Damaged(f"{STATE}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if folder.name != name_of(saved.step):
        raise Damaged(f"{STATE}: found that of {name_of(saved.step)}")
    for name in saved.files:
        if not is_ours(name) or name == STATE:
            raise Damaged(f"{STATE}: lists '{name}', which is no file of a checkpoint")
    for name in ALWAYS:
        if name not in saved.files:
            raise Damaged(f"{STATE}: does not list {name}")
    return saved


def any_whole(root: Path) -> bool:
    """Whether a checkpoint in `root` has a state that is as it was written; ShardError where there
    is none, but one of version 0.1.
    """
    return any(_states(root))


def _states(root: Path) -> Iterator[bool]:
    for step in steps(root):
        try:
            read(root / name_of(step))
            yield True
        except Damaged:
            yield False
