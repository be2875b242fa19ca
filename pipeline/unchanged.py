"""Whether the input is still what committed rows were made of.

Each worker compares the records that it reads again with the digest in the last commit. Here are
the files that no worker reads again, because they were read to their end: where a file's time or
version is another one, its digest is taken again. A file that is read in ranges is looked at once
more at the end, since it may have been exchanged between two of them.
"""

from collections.abc import Sequence

from prewrite.base.errors import InputError
from prewrite.base.files import resolve, sha256_of, told_as, version_of
from prewrite.pipeline.passes import Source, Split
from prewrite.shards.manifest import Input
from prewrite.shards.summary import CommitSummary

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
    before: Sequence[Input],
    now: Sequence[Input],
    summary: CommitSummary,
    splits: Sequence[Split],
    source: Source,
) -> None:
    """InputError for a file that came, went, or changed since this run began.

    Cost: one read of each file, or range, that was read to its end and whose time or version
    differs.
    """
    if lines := changed_inputs(before, now):
        raise InputError("\n".join(lines))
    pairs = zip(before, now, strict=True)
    touched = {new.path for old, new in pairs if old.version != new.version}
    ends = {record.split: record for record in summary.every if record.last}
    for split in (split for split in splits if split.path in touched):
        if known := summary.sha256.get(split.name):
            _refuse_unlike(split, known)
        elif end := ends.get(split.name):
            found = next(iter(source.read(split, end.stop))).before
            if end.read and found and found != end.read:
                raise _changed(split)


def refuse_exchanged(summary: CommitSummary, splits: Sequence[Split]) -> None:
    """InputError for a file that was exchanged between two of its ranges.

    Cost: a look at each file that was read in ranges; a digest of one that has changed meanwhile.
    """
    for split in splits:
        known = summary.sha256.get(split.name)
        if known is None or split.range is None or split.version is None:
            continue
        fs, path = resolve(split.path)
        with told_as(InputError, f"{split.path}: cannot read"):
            fs.invalidate_cache(path)
            version = version_of(fs.info(path))
        if version != split.version:
            _refuse_unlike(split, known)


def _refuse_unlike(split: Split, known: str) -> None:
    fs, path = resolve(split.path)
    with told_as(InputError, f"{split.path}: cannot read"), fs.open(path, "rb") as stream:
        if sha256_of(stream) != known:
            raise _changed(split)


def _changed(split: Split) -> InputError:
    return InputError(
        f"{split.path}: its content is not what this run has read; accepted: the file as it was; "
        "restore it, or choose another output"
    )
