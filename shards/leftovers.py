"""What killed and late runs leave in the folder of a complete set, and its removal.

Removed is only what names prove to be this set's: commit records and marks, and parts that a run
in the manifest's `owners` wrote but the manifest does not list. All other files stay.
"""

from base.files import Folder
from shards.journal import Journal
from shards.manifest import Manifest
from shards.names import RECORDS, SCRATCH, is_passing, owner_of


def is_clean(folder: Folder) -> bool:
    """Whether a set has no records of a run and no folder of a killed owner. Late parts come with
    records, so they are found by them.
    """
    scratch = folder.is_local and folder.fs.glob(folder.path(f"{SCRATCH}*"))
    return not scratch and not any(map(is_passing, folder.names(RECORDS)))


def clean(folder: Folder, manifest: Manifest) -> None:
    """Remove what is left over beside a complete set; the records last."""
    for name in strays(folder, manifest):
        folder.remove(name)
    Journal(folder, manifest.columns, "", "").clear()


def strays(folder: Folder, manifest: Manifest) -> list[str]:
    """The parts that runs of this set wrote and that it does not list."""
    listed = {file.name for file in (*manifest.parts, *manifest.judgements)}
    owners = set(manifest.owners)
    return [n for n in folder.names() if n not in listed and owner_of(n) in owners]
