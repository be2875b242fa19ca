"""What killed and late runs leave in the folder of a complete set, and its removal.

Removed is only what names prove to be this set's: commit records and marks, parts that a run in the
manifest's `owners` wrote but the manifest does not list, and the folder of a generation that is
published. One that is still being made stays. All other files stay, too.
"""

import os

from prewrite.base.files import Folder
from prewrite.shards.commit_log import CommitLog
from prewrite.shards.generation import is_ready, remove_made
from prewrite.shards.manifest import Manifest
from prewrite.shards.names import MANIFEST, RECORDS, is_passing, is_scratch, owner_of, retry


def is_clean(folder: Folder, manifest: Manifest) -> bool:
    """Whether a set has no records of a run, no folder of a killed owner, and no generation that is
    half published. Late parts come with one of these, so they are found by them.
    """
    scratch = folder.is_local and any(map(is_scratch, _entries(folder)))
    if scratch or any(map(is_passing, folder.names(RECORDS))):
        return False
    published = manifest.generation > 1 and folder.exists(
        f"{retry(manifest.generation)}/{MANIFEST}"
    )
    return not published and not is_ready(folder, manifest)


def _entries(folder: Folder) -> list[str]:
    """What lies right in a local folder."""
    return os.listdir(folder.root) if os.path.isdir(folder.root) else []


def clean(folder: Folder, manifest: Manifest) -> None:
    """Remove what is left over beside a complete set; the records last."""
    for name in strays(folder, manifest):
        folder.remove(name)
    CommitLog(folder, manifest.columns, "", "").clear()
    if manifest.generation > 1:
        remove_made(folder, manifest.generation)


def strays(folder: Folder, manifest: Manifest) -> list[str]:
    """The parts that runs of this set wrote and that it does not list."""
    listed = {file.name for file in manifest.files}
    owners = set(manifest.owners)
    return [n for n in folder.names() if n not in listed and owner_of(n) in owners]
