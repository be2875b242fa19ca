"""Whether a folder has room for a new set: no file of others under a name that the set needs."""

from collections.abc import Sequence

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.shards import flat
from prewrite.shards.names import FIXED, FOLDERS, LOG, RECORDS


def refuse_taken(folder: Folder, besides: Sequence[str] = ()) -> None:
    """ShardError where a new set would need a name that is there already, of a file of others.
    besides: names that are known to be the set's own.
    """
    records = [f"{place}/" for place in (RECORDS, LOG) if folder.names(place)]
    fixed = [n for n in (*FIXED, *flat.FILES) if n not in besides and folder.exists(n)]
    files = [name for name in FOLDERS if folder.fs.isfile(folder.path(name))]
    if foreign := fixed + records + files:
        raise ShardError(
            f"{folder.url}: found {', '.join(foreign)}, which no shard set here has written; "
            "accepted: a folder without files of these names"
        )
