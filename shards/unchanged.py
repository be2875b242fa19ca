"""Whether the input is still what committed rows were made of.

Each worker compares the records that it reads again with the digest in the last commit. Here are
the files that no worker reads again, because they were read to their end: where a file's time or
version is another one, its digest is taken again.
"""

from collections.abc import Sequence

from base.errors import InputError
from base.files import Folder
from shards.journal import Folded
from shards.manifest import Input, Manifest
from shards.passes import Split, inputs


def changed_inputs(found: Sequence[Input], splits: list[Split]) -> list[str]:
    """What differs between the input files of a set and those of a new run, one line a file."""
    now = {item.path: item.bytes for item in inputs(splits)}
    before = {item.path: item.bytes for item in found}
    return [
        f"{path}: found {_bytes(now.get(path))}; accepted: {_bytes(before.get(path))}, as before"
        for path in sorted(now.keys() | before.keys())
        if now.get(path) != before.get(path)
    ][:5]


def _bytes(size: int | None) -> str:
    return "no file" if size is None else f"{size} bytes"


def refuse_changed(found: Manifest, folded: Folded, splits: list[Split]) -> None:
    """InputError for a file that was read to its end and is another one now.

    Cost: a digest of each such file whose time or version differs.
    """
    before = [item.version for item in found.inputs]
    pairs = zip(inputs(splits), before, strict=False)  # the same files, though they may have moved
    touched = {file.path for file, version in pairs if file.version != version}
    for split in splits:
        known = folded.sha256.get(split.name)
        if known is None or split.path not in touched:
            continue
        folder, _, name = split.path.rpartition("/")
        digest = Folder(folder or ".").sha256(name)
        if digest != known:
            raise InputError(
                f"{split.path}: its content is not what this run has read; accepted: the file as "
                "it was; restore it, or choose another output"
            )
