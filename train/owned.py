"""What lies in `train.output` already: a run's, or somebody else's.

`run.json` says that a folder is a run's. It is written before anything else, so a name that a run
writes and that is there without it is another's, unless a whole checkpoint lies there, which says
the same. Whatever has another name is left alone.
"""

import json
import re
from pathlib import Path
from typing import Any

from prewrite.base.cli import console
from prewrite.base.errors import ConfigError, ShardError
from prewrite.base.files import Folder
from prewrite.judge.provenance import NAME as PROVENANCE
from prewrite.train.names import CACHE, CHECKPOINTS, MODEL, NAMES, RECORD
from prewrite.train.saved import any_whole

FORMAT = 2
_INDEX = re.compile(r"index-[0-9a-f]{32}\.json")


def claim(root: Path, folder: Folder) -> None:
    """Make the folder `root` a run's; raises as `refuse_foreign` does. folder: the same."""
    refuse_foreign(root)
    if not _is_recorded(root):
        file = root / RECORD
        if file.exists():
            console.print(f"{file}: damaged; written anew, for a whole checkpoint is there")
        folder.write(RECORD, (json.dumps(run_record()) + "\n").encode())


def run_record() -> dict[str, Any]:
    """What `run.json` says of each run."""
    return {"format": FORMAT, "made_by": "prewrite train"}


def refuse_foreign(root: Path) -> None:
    """ConfigError where a name that a run writes is taken by something that no run left; ShardError
    where the run is one of version 0.1, or its record is damaged.
    """
    for name in NAMES:
        path, kind = root / name, "file" if "." in name else "folder"
        there = _kind(path)
        if there not in (kind, None):
            raise ConfigError(
                f"train.output: found the {there} {path}; accepted: a {kind} of its own "
                "(train.output as a whole may be a link)"
            )
    model = root / MODEL
    if _is_taken(model) and not (model / PROVENANCE).exists():
        raise ConfigError(
            f"train.output: found {model} without {PROVENANCE}, so no run has left it; accepted: "
            "another folder"
        )
    if any_whole(root / CHECKPOINTS) or _is_recorded(root):
        return
    found = [name for name in NAMES if _is_taken(root / name)]
    if found:
        raise ConfigError(
            f"train.output: found {', '.join(found)} in {root} without {RECORD}, so no run has "
            "left them (version 0.1 of Prewrite wrote none); accepted: another folder"
        )


def _kind(path: Path) -> str | None:
    """What lies at `path`; None: nothing."""
    if path.is_symlink():
        return "link"
    if path.exists() and not (path.is_file() or path.is_dir()):
        return "pipe, socket or device"
    return ("folder" if path.is_dir() else "file") if path.exists() else None


def _is_recorded(root: Path) -> bool:
    """Whether `run.json` is there and whole; ShardError where it is not, and nothing else says that
    the folder is a run's.
    """
    data = Folder(str(root)).read(RECORD)
    if data is None:
        return False
    try:
        known = bool(json.loads(data)["format"] == FORMAT)
    except (ValueError, KeyError, TypeError, RecursionError):
        known = False
    if not known and not any_whole(root / CHECKPOINTS):
        raise ShardError(
            f"{root / RECORD}: found something else than what a run of this version leaves; "
            "accepted: that, or another train.output"
        )
    return known


def _is_taken(path: Path) -> bool:
    """Whether something is there; an empty folder is nothing, nor is what a dry run leaves."""
    if not path.is_dir():
        return path.exists()
    names = [inner.name for inner in path.iterdir()]
    if path.name == CACHE:
        return not all(map(_INDEX.fullmatch, names))
    return bool(names)
