"""The names of all files of a set: this module alone knows its layout.

`manifest.json` and the parts that it lists are the set. `part-<split>-<block>-<token>.parquet`:
split and block say which input records, the token which run wrote it, so that no two writes share a
name. `judgements/` has the raw verdicts of each part under the same name. `commits.jsonl` is the
commit log of a finished set, `commits/` the records of a running one, `lock.json` and `.run-…` its
owner. `retry-<n>/` is generation n of a finished set while it is made, a folder with the same names
in it. All other files in the folder are not the set's.
"""

import re
from typing import NamedTuple

MANIFEST = "manifest.json"
CARD = "README.md"
LOG = "commits.jsonl"
SKIPPED = "skipped.jsonl"
LOCK = "lock.json"
RECORDS = "commits"
JUDGEMENTS = "judgements"
REWRITES = "rewrites"
SCRATCH = ".run-"

FIXED = (MANIFEST, CARD, LOG, SKIPPED)
"""What a finished set has beside its parts, under the same name every time."""

_FILES = (
    *FIXED,
    LOCK,
    "part-00000-00000-000000000000.parquet",
    f"{JUDGEMENTS}/part-00000-00000-000000000000.parquet",
    f"{RECORDS}/00000-00000-1-000000000000.json",
    f"{RECORDS}/00000.open",
)
WRITTEN = (*_FILES, *(f"{REWRITES}/{name}" for name in _FILES))
"""A name of each kind that a run writes below its output."""

OWNER = 8  # characters of a token that say which run wrote a file

_PART = re.compile(rf"(?:{JUDGEMENTS}/)?part-(?P<block>.+)-(?P<token>[0-9a-f]{{12}})\.parquet")
_RECORD = re.compile(
    rf"{RECORDS}/(?P<split>.+)-(?P<block>\d{{5,}})-(?P<turn>\d+)-(?P<token>[0-9a-f]{{12}})\.json"
)
_OLD_RECORD = re.compile(rf"{RECORDS}/.+-\d{{5,}}\.json")  # of Prewrite 0.1
_SCRATCH = re.compile(rf"{re.escape(SCRATCH)}(?:.+-)?[0-9a-f]{{32}}")
_MARK = re.compile(rf"{RECORDS}/(?P<split>.+)\.open")


class RecordName(NamedTuple):
    """What the name of a commit record says; `turn` as in `shards.manifest.Record`."""

    split: str
    block: int
    turn: int
    token: str

    def __str__(self) -> str:
        return f"{RECORDS}/{self.split}-{self.block:05d}-{self.turn}-{self.token}.json"

    @classmethod
    def parse(cls, name: str) -> "RecordName | None":
        """Of a file's name; None where it is no record."""
        found = _RECORD.fullmatch(name)
        return found and cls(
            found["split"], int(found["block"]), int(found["turn"]), found["token"]
        )


def part(split: str, block: int, token: str) -> str:
    """The file of the rows of a block."""
    return f"part-{split}-{block:05d}-{token}.parquet"


def retry(generation: int) -> str:
    """The folder of a generation until it is published."""
    return f"retry-{generation}"


def verdicts(part: str) -> str:
    """The file of the raw verdicts on the rows of a part."""
    return f"{JUDGEMENTS}/{part}"


def block_of(part: str) -> str:
    """`<split>-<block>` of a part's name, which stays when the part is written again."""
    found = _PART.fullmatch(part)
    return found["block"] if found else part.removeprefix("part-").removesuffix(".parquet")


def owner_of(name: str) -> str | None:
    """The run that wrote a part or its verdicts; None for a name of another form."""
    found = _PART.fullmatch(name)
    return found["token"][:OWNER] if found else None


def is_passing(name: str) -> bool:
    """Whether a file is one that a run needs and a complete set does not."""
    return any(form.fullmatch(name) for form in (_RECORD, _OLD_RECORD, _MARK))


def is_scratch(name: str, prefix: str = SCRATCH) -> bool:
    """Whether a folder has the name of an owner's whose lock begins its names with `prefix`."""
    return name.startswith(prefix) and _SCRATCH.fullmatch(name) is not None


def mark(split: str) -> str:
    """What says which documents of a split may be open."""
    return f"{RECORDS}/{split}.open"


def marked(name: str) -> str | None:
    """The split of a mark's name; None for another file."""
    found = _MARK.fullmatch(name)
    return found and found["split"]
