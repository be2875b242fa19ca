"""How the next generation of a finished set is published: at one moment, or not at all.

`retry-<n>/` holds generation n while it is made (`pipeline.retry`): its manifest, its commit log
and the parts that are new in it. They lie apart, so that a glob over `part-*` finds every row once
for as long as the engine is asked. Once that manifest is `complete`, publishing is all that is
left: the new parts are copied, the card, the log and last the manifest of the set are replaced;
then the old parts go. Every step can be repeated, so a kill leaves the old set or the new one.

Cost: the new parts are read and written once more. While they are copied, and until the old parts
are removed, a glob finds rows twice; a reader that goes by the manifest never does.
"""

import hashlib

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.owned import OwnedFolder
from prewrite.shards import finished_log, names
from prewrite.shards.card import card
from prewrite.shards.manifest import Manifest


def made(folder: Folder, manifest: Manifest) -> Manifest | None:
    """The next generation of the set in `folder`, as far as it is made; None where there is none,
    or one of another state of the set. ShardError where it is damaged.
    """
    below = Folder(f"{folder.url}/{names.retry(manifest.generation + 1)}", folder.url)
    found = Manifest.find(below)
    fits = found and found.before == manifest.content and below.exists(names.LOG)
    return found if fits else None


def is_ready(folder: Folder, manifest: Manifest) -> bool:
    """Whether publishing is all that is left to do for the next generation."""
    try:
        found = made(folder, manifest)
    except ShardError:
        return False  # it only matters to who makes it
    return found is not None and found.status == "complete"


def settle(folder: OwnedFolder) -> Manifest:
    """The manifest of a set, after the next generation is published where it is ready."""
    manifest = Manifest.load(folder)
    if is_ready(folder, manifest) and (found := made(folder, manifest)):
        return publish(folder, manifest, found)
    return manifest


def publish(folder: OwnedFolder, old: Manifest, new: Manifest) -> Manifest:
    """Make `new` the set. ShardError, and the set stays, where a part is not what was committed."""
    below = Folder(f"{folder.url}/{names.retry(new.generation)}", folder.url)
    fingerprint = new.passes[-1].fingerprint
    records = finished_log.read(below, fingerprint)
    if records is None:
        raise ShardError(_spoiled(below, names.LOG))
    # First, so that copies which a kill leaves are known to be the set's own.
    old.owners = [*dict.fromkeys([*old.owners, *new.owners])]
    old.save(folder)
    listed = {file.name for file in old.files}
    for file in new.files:
        if file.name not in listed:
            data = below.read(file.name)
            if data is None or hashlib.sha256(data).hexdigest() != file.sha256:
                raise ShardError(_spoiled(below, file.name))
            folder.write(file.name, data)
    folder.write(names.CARD, card(new).encode())
    finished_log.write(folder, records, fingerprint)
    new.save(folder)
    return new


def remove_made(folder: Folder, generation: int) -> None:
    """Remove the folder of a generation, where a retry made it; its manifest last. With files of
    others it stays, with these alone.
    """
    place = names.retry(generation)
    found = Manifest.find(Folder(f"{folder.url}/{place}", folder.url))
    if found is None or not found.before:
        return
    foreign = False
    for name in (path.removeprefix(f"{place}/") for path in folder.names(f"{place}/")):
        ours = name in names.FIXED or names.owner_of(name) or names.is_passing(name)
        foreign = foreign or not ours
        if ours and name != names.MANIFEST:
            folder.remove(f"{place}/{name}")
    folder.remove(f"{place}/{names.MANIFEST}" if foreign else place)


def _spoiled(below: Folder, name: str) -> str:
    return (
        f"{below.url}/{name}: it is not what was committed there; accepted: remove {below.url}, "
        "and run the command with --retry-failed again"
    )
