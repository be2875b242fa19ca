"""Whether the files that a set lists are there and are the ones that were committed."""

from collections.abc import Iterable
from pathlib import Path

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder, told_as
from prewrite.base.together import together
from prewrite.shards import names
from prewrite.shards.parts import Part, files_of
from prewrite.shards.reader import footer_of


def check_there(folder: Folder, parts: Iterable[Part]) -> None:
    """ShardError for the first file that is absent or of another size. Cost: two listings."""
    _check(folder, [some[0] for some in files_of(parts).values()])


def check_listed(folder: Folder, parts: Iterable[Part]) -> None:
    """ShardError for the first file that is absent, of another size or with another footer.

    Cost: two listings, and one read of the end of each file.
    """
    files = [some[0] for some in files_of(parts).values()]
    _check(folder, files)

    def fault(part: Part) -> str | None:
        try:
            with told_as(ShardError, f"{folder.url}/{part.file}: cannot read"):
                footer_of(folder, part)
        except ShardError as error:
            return str(error)
        return None

    for found in together(fault, files):
        if found:
            raise ShardError(f"{found}; {_remedy(folder)}")


def _check(folder: Folder, files: list[Part]) -> None:
    sizes = _sizes(folder, files)
    for part in files:
        if sizes.get(part.file) != part.file_bytes:
            found = "not there" if part.file not in sizes else f"{sizes[part.file]} bytes"
            raise ShardError(
                f"{folder.url}/{part.file}: found {found}; accepted: {part.file_bytes} bytes; "
                f"{_remedy(folder)}"
            )


def _remedy(folder: Folder) -> str:
    return f"run prewrite shards verify --repair {folder.url}, then this command again"


def _sizes(folder: Folder, files: list[Part]) -> dict[str, int]:
    """Bytes of the files that are there, also behind a linked folder, where a listing ends."""
    flat = any("/" not in part.file for part in files)
    places = [""] if flat else [names.DATA, names.JUDGEMENTS]
    sizes = {name: size for place in places for name, size in folder.sizes(place).items()}
    for part in files:
        folder.refuse_outside(part.file)
    behind = {p.file: Path(folder.path(p.file)) for p in files if p.file not in sizes}
    if folder.is_local:
        sizes |= {name: path.stat().st_size for name, path in behind.items() if path.is_file()}
    return sizes
