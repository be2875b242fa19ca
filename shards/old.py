"""What is left of an older format in the folder of a set, and what cannot be done before it is
upgraded.
"""

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.shards import flat, names
from prewrite.shards.manifest import Manifest
from prewrite.shards.schema import FORMAT_VERSION


def set_around(url: str) -> Folder | None:
    """The set whose rewrites lie at `url`, by the name of the folder; None for another folder."""
    folder, name = Folder(url).parent()
    is_inner = name in (names.REWRITES, flat.REWRITES)
    return folder if is_inner and Manifest.unchecked(folder) else None


def is_half_upgraded(folder: Folder) -> bool:
    """Whether an upgrade was killed before its end."""
    return folder.exists(names.UPGRADE) or (
        folder.exists(names.MANIFEST) and folder.exists(flat.MANIFEST)
    )


def refuse_old(url: str, what: str) -> None:
    """ShardError where a set is of an older format, or its files are still there, for `what` would
    leave them as they are.
    """
    folder = Folder(url)
    half = is_half_upgraded(folder)
    if half or folder.exists(flat.MANIFEST):
        found = "an upgrade that was not finished" if half else f"a set of {flat.WHAT}"
        outer = set_around(url)
        raise ShardError(
            f"{url}: found {found}; accepted with {what}: format {FORMAT_VERSION}; run "
            f"prewrite shards upgrade {outer.url if outer else url} first"
        )
