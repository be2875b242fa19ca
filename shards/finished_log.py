"""The commit log of a finished set, `commits.jsonl`: every commit record, one a line.

It appears whole, and its last line holds a digest of all lines before it: a log that was cut,
edited or mixed is refused. So a set can be repaired from it alone.
"""

import hashlib
from collections.abc import Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.shards.manifest import Manifest, Record
from prewrite.shards.names import LOG


class _End(BaseModel):
    """The last line. fingerprint: of the pass that made the set."""

    model_config = ConfigDict(extra="forbid")

    commit_log: Literal[2] = 2
    fingerprint: str
    records: int
    sha256: str


def write(folder: Folder, records: Sequence[Record], fingerprint: str) -> None:
    """Replace the log of the set in `folder`."""
    body = "".join(record.model_dump_json() + "\n" for record in records).encode()
    digest = hashlib.sha256(body).hexdigest()
    end = _End(fingerprint=fingerprint, records=len(records), sha256=digest)
    folder.write(LOG, body + end.model_dump_json().encode() + b"\n")


def read(folder: Folder, fingerprint: str) -> list[Record] | None:
    """Every record; None where there is no log. ShardError for a log that is damaged, of another
    configuration, or of Prewrite 0.1, whose logs have no digest.
    """
    data = folder.read(LOG)
    if data is None:
        return None
    where = f"{folder.url}/{LOG}"
    body, _, last = data.removesuffix(b"\n").rpartition(b"\n")
    body += b"\n" if body else b""
    lines = body.splitlines()
    try:
        end = _End.model_validate_json(last)
        same = hashlib.sha256(body).hexdigest() == end.sha256 and len(lines) == end.records
        records = [Record.model_validate_json(line) for line in lines] if same else []
    except ValidationError:
        raise ShardError(
            f"{where}: damaged, or written by Prewrite 0.1, whose logs cannot be checked"
        ) from None
    if not same:
        raise ShardError(f"{where}: damaged: its lines are not those that its last line counts")
    if end.fingerprint != fingerprint:
        raise ShardError(f"{where}: the log of another set; restore the one of this set")
    return records


def refuse_other(folder: Folder, records: Sequence[Record], manifest: Manifest) -> None:
    """ShardError where a log and a manifest do not list the same files, in the same order."""
    parts = [record.part for record in records if record.part]
    verdicts = [record.judgements for record in records if record.judgements]
    if [*parts, *verdicts] != manifest.files:
        raise ShardError(
            f"{folder.url}/{LOG}: its files are not those of the manifest; accepted: the log of "
            f"this set; run prewrite shards verify --repair {folder.url}"
        )
