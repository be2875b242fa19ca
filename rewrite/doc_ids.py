"""What documents are called, so that no two of one part of a set have one name.

A record's own id names its document where it can. Where there is none, or an empty one, NaN and the
like, the file and the record's number do: `web/a.jsonl/17`. An id that an earlier document of the
file has gets the record's number behind it: `d1#17`. Other files, and other ranges of a large file,
may hold the same ids: their rows stand in other parts, so a part and a `doc_id` name one document.

Cost: memory for at most 524,288 digests (about 50 MB), however long the file is. A part holds fewer
documents than are remembered (`pipeline.loop`), so no two of one part are ever called the same.
"""

import hashlib
from dataclasses import dataclass, field

from prewrite.rewrite.layouts import Parsed

REMEMBERED = 1 << 18
"""Documents before each one, at least, whose names it cannot get."""

NAMED_BY_PLACE = "id:"
"""What counts of ids that could not name a document begin with; why follows."""


@dataclass
class DocIds:
    """The names given in one split, from its first record on. path: what its file is called."""

    path: str
    remembered: int = REMEMBERED
    _new: set[bytes] = field(default_factory=set)
    _old: set[bytes] = field(default_factory=set)

    def give(self, parsed: Parsed, record: int) -> tuple[str, str | None]:
        """The name of the document of record number `record` of the file, and why that is not the
        id it came with: `duplicate`, or as in `Parsed`.
        """
        name, fault = parsed.doc_id or f"{self.path}/{record}", parsed.bad_id
        while (digest := _digest(name)) in self._new or digest in self._old:
            name, fault = f"{name}#{record}", fault or "duplicate"
        self._new.add(digest)
        if len(self._new) == self.remembered:
            self._old, self._new = self._new, set()
        return name, fault


def _digest(name: str) -> bytes:
    return hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=16).digest()
