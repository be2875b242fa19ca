"""Which layout a corpus has: that of the first record of each file which has any, all the same.

Cost: the head of every file is read once, sixteen at a time; a layout that is named costs nothing.
"""

from collections.abc import Iterable
from itertools import islice

from prewrite.base.errors import InputError
from prewrite.base.together import together
from prewrite.rewrite.files import CorpusFile, Fault, Raw
from prewrite.rewrite.layouts import BadRecord, SourceRecord, detect, parse_line

_LOOKED_AT = 100  # records of a file; those before the first that fits are bad ones
_HEAD = 1 << 20  # bytes an object store is asked for at a time


def corpus_layout(paths: Iterable[str], max_record_bytes: int) -> str:
    """The one layout of these files, `text` where none has any; InputError for two."""
    names = [*paths]
    found = [*together(lambda path: file_layout(path, max_record_bytes), names)]
    first = {layout: path for layout, path in reversed([*zip(found, names, strict=True)]) if layout}
    if len(first) > 1:
        one, other, *_ = (f"{layout} in {path}" for layout, path in reversed(first.items()))
        raise InputError(
            f"found two layouts: {one}, {other}; accepted: one, or input.layout that names it"
        )
    return next(iter(first), "text")


def file_layout(path: str, max_record_bytes: int) -> str | None:
    """The layout of the first record of a file that has one; null where none of the first 100
    has.
    """
    file = CorpusFile(path, max_record_bytes, block_bytes=_HEAD)
    return next(filter(None, map(_layout, islice(file.records(), _LOOKED_AT))), None)


def _layout(found: Raw | Fault) -> str | None:
    try:
        return detect(record_of(found))
    except BadRecord:
        return None


def record_of(found: Raw | Fault) -> SourceRecord:
    """What was found in a file as a record; BadRecord when it is none."""
    if isinstance(found, Fault):
        raise BadRecord(found.reason)
    return parse_line(found.data) if isinstance(found.data, bytes) else found.data
