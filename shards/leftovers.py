"""What killed and late runs leave in the folder of a complete set, and its removal.

Removed is only what names prove to be this set's: commit records and marks, files with rows,
verdicts or log that a run in the manifest's `owners` wrote but the set does not list, and the
folder of a generation that is published. One that is still being made stays. All other files stay,
too.
"""

import os

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.shards import log
from prewrite.shards.commit_log import CommitLog
from prewrite.shards.generation import below, is_ready, remove_made
from prewrite.shards.manifest import Manifest
from prewrite.shards.names import (
    DATA,
    JUDGEMENTS,
    LOG,
    RECORDS,
    is_passing,
    is_scratch,
    owner_of,
)


def is_clean(folder: Folder, manifest: Manifest) -> bool:
    """Whether a set has no records of a run, no folder of a killed owner, and no generation that is
    half published. Late files come with one of these, so they are found by them.
    """
    scratch = folder.is_local and any(map(is_scratch, _entries(folder)))
    if scratch or any(map(is_passing, folder.names(RECORDS))):
        return False
    return not is_published(folder, manifest) and not is_ready(folder, manifest)


def is_published(folder: Folder, manifest: Manifest) -> bool:
    """Whether the folder of a generation is there that is the set by now."""
    try:
        found = Manifest.find(below(folder))
    except ShardError:
        return False  # it only matters to who makes it
    return found is not None and found.generation <= manifest.generation


def _entries(folder: Folder) -> list[str]:
    """What lies right in a local folder."""
    return os.listdir(folder.root) if os.path.isdir(folder.root) else []


def clean(folder: Folder, manifest: Manifest) -> None:
    """Remove what is left over beside a complete set; the records last."""
    if manifest.flat is not None:
        return
    for name in strays(folder, manifest):
        folder.remove(name)
    CommitLog(folder, manifest).clear()
    if is_published(folder, manifest):
        remove_made(folder)


def strays(folder: Folder, manifest: Manifest) -> list[str]:
    """The files that runs of this set wrote and that it does not list."""
    if manifest.flat is not None:
        return []
    listed = log.files(folder, manifest) | {file.name for file in manifest.log}
    owners = set(manifest.owners)
    found = (name for place in (DATA, JUDGEMENTS, LOG) for name in folder.names(place))
    return [name for name in found if name not in listed and owner_of(name) in owners]
