"""Whether the input is still what committed rows were made of.

Each worker compares the records that it reads again with the digest in the last commit. Here are
the files that no worker reads again, because they were read to their end: where a file's time or
version is another one, its digest is taken again.
"""

from collections.abc import Sequence

from base.errors import InputError
from base.files import Folder
from shards.journal import Folded
from shards.manifest import Input
from shards.passes import Split

_NAMED = 5  # files that a sentence names


def changed_inputs(before: Sequence[Input], now: Sequence[Input]) -> list[str]:
    """What differs between the input files of a set and those of a new run, one line a file; none
    where all have their sizes, wherever they lie by now.
    """
    if [item.bytes for item in before] == [item.bytes for item in now]:
        return []
    old, new = ({item.path: item.bytes for item in items} for items in (before, now))
    return [
        f"{path}: found {_bytes(new.get(path))}; accepted: {_bytes(old.get(path))}, as before"
        for path in sorted(new.keys() | old.keys())
        if new.get(path) != old.get(path)
    ][:_NAMED]


def _bytes(size: int | None) -> str:
    return "no file" if size is None else f"{size} bytes"


def refuse_changed(
    before: Sequence[Input], now: Sequence[Input], folded: Folded, splits: Sequence[Split]
) -> None:
    """InputError for a file that came, went, or changed since this run began.

    Cost: a digest of each file that was read to its end and whose time or version differs.
    """
    if lines := changed_inputs(before, now):
        raise InputError("\n".join(lines))
    pairs = zip(before, now, strict=True)
    touched = {new.path for old, new in pairs if old.version != new.version}
    for split in splits:
        known = folded.sha256.get(split.name)
        if known is None or split.path not in touched:
            continue
        folder, _, name = split.path.rpartition("/")
        if Folder(folder or ".").sha256(name) != known:
            raise InputError(
                f"{split.path}: its content is not what this run has read; accepted: the file as "
                "it was; restore it, or choose another output"
            )
