"""The names of all files of a set: this module alone knows its layout.

`data/` has the rows and nothing else; everything besides lies in folders that begin with `_`, and
no Parquet file in these ends in `.parquet`. So a reader that takes the folder, or a glob over
`*.parquet`, finds the rows alone.

`_prewrite/manifest.json` is the truth: it lists `_prewrite/log/`, and this the row groups.
`train-<split>-<block>-<token>.parquet` begins with the rows of this block of this split; the token
says which run wrote it, so that no two writes share a name. (`train` is the split as `datasets`
understands the word.) `_judgements/` has the raw verdicts under the same names, `_rewrites/` the
set of rewrites that a scored one was made of. `_prewrite/commits/` has the records of a running
pass, `_prewrite/lock.json` and `.run-…` its owner. `_next/` is the next generation of a finished
set while it is made: a folder with the same names in it. All other files are not the set's.
"""

import re
from typing import NamedTuple

_OURS = "_prewrite"
MANIFEST = f"{_OURS}/manifest.json"
CARD = f"{_OURS}/README.md"
SKIPPED = f"{_OURS}/skipped.jsonl"
SPLITS = f"{_OURS}/splits.json"
UPGRADE = f"{_OURS}/upgrade.json"
LOCK = f"{_OURS}/lock.json"
RECORDS = f"{_OURS}/commits"
LOG = f"{_OURS}/log"
DATA = "data"
JUDGEMENTS = "_judgements"
REWRITES = "_rewrites"
NEXT = "_next"
REPORT = "_report/report.html"
REFERENCES = "_references"
SCRATCH = ".run-"

FIXED = (MANIFEST, CARD, SKIPPED, SPLITS, UPGRADE)
"""What a set has beside its rows under the same name every time."""

FOLDERS = (_OURS, DATA, JUDGEMENTS)
"""The folders of a set."""

_PREFIX = "train-"
_FILES = (
    *FIXED,
    LOCK,
    f"{DATA}/{_PREFIX}00000-00000-000000000000.parquet",
    f"{JUDGEMENTS}/{_PREFIX}00000-00000-000000000000.pq",
    f"{LOG}/00000-000000000000.pq",
    f"{RECORDS}/00000-00000-1-000000000000.json",
    f"{RECORDS}/00000.open",
)
WRITTEN = (*_FILES, *(f"{REWRITES}/{name}" for name in _FILES))
"""A name of each kind that a run writes below its output."""

OWNER = 8  # characters of a token that say which run wrote a file
OWNER_FORM = f"^[0-9a-f]{{{OWNER}}}$"
"""How these look: by them files are known that may be removed."""

_TOKEN = "(?P<token>[0-9a-f]{12})"
_OWNED = re.compile(rf"(?:(?:{DATA}|{JUDGEMENTS})/{_PREFIX}.+|{LOG}/\d+)-{_TOKEN}\.(?:parquet|pq)")
_LOGGED = re.compile(rf"{LOG}/\d+-{_TOKEN}\.pq")
_RECORD = re.compile(rf"{RECORDS}/(?P<split>.+)-(?P<block>\d{{5,}})-(?P<turn>\d+)-{_TOKEN}\.json")
_MERGE = re.compile(rf"{RECORDS}/merge-{_TOKEN}\.json")
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


def block_name(split: str, block: int) -> str:
    """What the rows of a block are called, whatever file they are in."""
    return f"{split}-{block:05d}"


def rows_file(block: str, token: str, url: str) -> str:
    """The file that begins with the rows of a block of the set at `url`."""
    return f"{DATA}/{_PREFIX}{block}-{token}{_suffix(url)}"


def verdicts_file(block: str, token: str) -> str:
    """The file that begins with the raw verdicts on the rows of a block."""
    return f"{JUDGEMENTS}/{_PREFIX}{block}-{token}.pq"


def log_file(number: int, token: str) -> str:
    """File `number` of the log that a run writes."""
    return f"{LOG}/{number:05d}-{token}.pq"


def is_log(name: str) -> bool:
    """Whether a file has the name of one of a log."""
    return _LOGGED.fullmatch(name) is not None


def merge(token: str) -> str:
    """What says that a merged file is whole."""
    return f"{RECORDS}/merge-{token}.json"


def merged(name: str) -> str | None:
    """The token of the record of a merge; None for another file."""
    found = _MERGE.fullmatch(name)
    return found and found["token"]


def task_lock(rank: int) -> str:
    """The lock of one task of a run whose tasks are commands of their own."""
    return f"{_OURS}/task-{rank:05d}.json"


def is_next(url: str) -> bool:
    """Whether a folder is that of the next generation of a set."""
    return url.rstrip("/").endswith(f"/{NEXT}")


def _suffix(url: str) -> str:
    """That of a file with rows: a set in a folder that begins with `_` belongs to another one."""
    return ".pq" if url.rstrip("/").rpartition("/")[2].startswith("_") else ".parquet"


def owner_of(name: str) -> str | None:
    """The run that wrote a file with rows, verdicts or records; None for a name of another form."""
    found = _OWNED.fullmatch(name)
    return found["token"][:OWNER] if found else None


def is_passing(name: str) -> bool:
    """Whether a file is one that a run needs and a complete set does not."""
    return any(form.fullmatch(name) for form in (_RECORD, _MERGE, _MARK))


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
