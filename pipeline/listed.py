"""Whether the files that a set lists are there and are the ones that were committed."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder, told_as
from prewrite.shards.manifest import File
from prewrite.shards.reader import footer_fault

_THREADS = 16  # reading the ends of files waits for disks and networks


def check_there(folder: Folder, files: Sequence[File]) -> None:
    """ShardError for the first file that is absent or of another size. Cost: one listing."""
    sizes = _sizes(folder, files)
    for file in files:
        if sizes.get(file.name) != file.bytes:
            found = "not there" if file.name not in sizes else f"{sizes[file.name]} bytes"
            raise ShardError(
                f"{folder.url}/{file.name}: found {found}; accepted: {file.bytes} bytes; "
                f"run prewrite shards verify --repair {folder.url}, then this command again"
            )


def check_listed(folder: Folder, files: Sequence[File]) -> None:
    """ShardError for the first file that is absent, of another size or with another footer.

    Cost: one listing, and one read of the end of each file.
    """

    def fault(file: File) -> str | None:
        if file.name not in sizes:
            return "listed, but not there"
        with (
            told_as(ShardError, f"{where}/{file.name}: cannot read"),
            folder.open(file.name) as stream,
        ):
            return footer_fault(file, stream)

    where, sizes = folder.url, _sizes(folder, files)
    with ThreadPoolExecutor(_THREADS) as pool:
        for file, found in zip(files, pool.map(fault, files), strict=True):
            if found:
                raise ShardError(
                    f"{folder.url}/{file.name}: {found}; run prewrite shards verify --repair "
                    f"{folder.url}, then this command again"
                )


def _sizes(folder: Folder, files: Sequence[File]) -> dict[str, int]:
    """Bytes of the files that are there, also behind a linked folder, where a listing ends."""
    sizes = folder.sizes() if files else {}
    for file in files:
        folder.refuse_outside(file.name)
    behind = {f.name: Path(folder.path(f.name)) for f in files if f.name not in sizes}
    if folder.is_local:
        sizes |= {name: path.stat().st_size for name, path in behind.items() if path.is_file()}
    return sizes
