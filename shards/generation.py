"""How the next generation of a finished set is published: at one moment, or not at all.

`_next/` holds a generation while it is made (`pipeline.retry`, `shards.takedown`): its manifest,
its log and the parts that are new in it. They lie apart, so that a reader of the folder finds every
row once for as long as the engine is asked. Once that manifest is `complete`, publishing is all
that is left: each file with a part that is new, or gone, is copied with the others of its parts
unchanged; then the manifest of the set is replaced; then the old files go. Every step can be
repeated, so a kill leaves the old set or the new one.

Cost: the files with new parts are read and written once. From the first copy until the old files
are removed, who reads the folder without its manifest finds rows twice.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.owned import OwnedFolder
from prewrite.shards import log, names
from prewrite.shards.card import card
from prewrite.shards.commit_log import CommitLog
from prewrite.shards.manifest import Manifest
from prewrite.shards.merge import blocks, copied, moved_to
from prewrite.shards.parts import Part, files_of
from prewrite.shards.reader import footer_of


def below(folder: Folder) -> Folder:
    """Where the next generation of the set in `folder` is made."""
    return Folder(f"{folder.url}/{names.NEXT}", folder.url)


def made(folder: Folder, manifest: Manifest) -> Manifest | None:
    """The next generation of the set in `folder`, as far as it is made; None where there is none,
    or one of another state of the set. ShardError where it is damaged.
    """
    found = Manifest.find(below(folder))
    return found if found and found.before == manifest.content and found.log else None


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
    records = [*log.records(below(folder), new)]
    # First, so that copies which a kill leaves are known to be the set's own.
    old.owners = new.owners = [*dict.fromkeys([*old.owners, *new.owners])]
    old.save(folder)
    before = log.parts(folder, old), log.verdicts(folder, old)
    rows = [record.part for record in records if record.part]
    verdicts = [record.judgements for record in records if record.judgements]
    token = CommitLog(folder, new).token()
    placed = _placed(folder, before[0], rows, token, names.DATA)
    judged = _placed(folder, before[1], verdicts, token, names.JUDGEMENTS)
    folder.write(names.CARD, card(new).encode())
    new.log = log.write(folder, [moved_to(r, placed, judged) for r in records], token)
    new.save(folder)
    return new


def _placed(
    folder: OwnedFolder, old: Sequence[Part], new: Sequence[Part], token: str, place: str
) -> dict[str, Part]:
    """Copy each old file of which a part is another by now, or is gone; where all parts are then:
    a repair may have moved those that stay. Parts that nothing stood for before come into a file of
    their own.
    """
    before = {part.name: part for part in old}
    digests = {name: part.sha256 for name, part in before.items()}
    same = {p.name: before[p.name] for p in new if digests.get(p.name) == p.sha256}
    now = {p.name: same.get(p.name) or replace(p, file=f"{names.NEXT}/{p.file}") for p in new}
    found = {**same}
    groups = [[part.name for part in parts] for parts in files_of(old).values()]
    groups.append([name for name in now if name not in before])
    for group in groups:
        kept = [now[name] for name in group if name in now]
        if kept and (len(kept) < len(group) or any(p.name not in same for p in kept)):
            try:
                found |= copied(folder, kept, _name(folder, kept[0].name, token, place))
            except ShardError:
                _refuse_spoiled(folder, [p for p in kept if p.name not in same])
                raise
    return found


def _refuse_spoiled(folder: Folder, parts: Sequence[Part]) -> None:
    """ShardError for a new part that is not what was committed in the next generation."""
    for part in parts:
        try:
            footer_of(folder, part)
            whole = hashlib.sha256(b"".join(blocks(folder, part))).hexdigest() == part.sha256
        except (ShardError, FileNotFoundError):
            whole = False
        if not whole:
            raise ShardError(
                f"{folder.url}/{part.file}: it is not what was committed there; accepted: remove "
                f"{folder.url}/{names.NEXT}, and run the command that made it again"
            )


def _name(folder: Folder, block: str, token: str, place: str) -> str:
    if place == names.DATA:
        return names.rows_file(block, token, folder.url)
    return names.verdicts_file(block, token)


def remove_made(folder: Folder) -> None:
    """Remove the folder of the next generation, where a command has made it; its manifest last.
    With files of others it stays, with these alone.
    """
    inner = below(folder)
    found = Manifest.find(inner)
    if found is None or not found.before:
        return
    foreign = False
    for name in inner.names():
        ours = name in names.FIXED or names.owner_of(name) or names.is_passing(name)
        foreign = foreign or not ours
        if ours and name != names.MANIFEST:
            folder.remove(f"{names.NEXT}/{name}")
    folder.remove(f"{names.NEXT}/{names.MANIFEST}" if foreign else names.NEXT)
