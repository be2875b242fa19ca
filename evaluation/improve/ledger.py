"""The ledger of the rounds, `rounds.jsonl`: what was compared with what, the figures, the decision.

Entries are only ever added. The file is written whole under another name and renamed, so a kill
leaves it with the entry or without. Each line holds the digest of the line before, so a line that
somebody changed or took out is noticed.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from prewrite.base.errors import InputError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import canonical, fingerprint
from prewrite.evaluation.improve.gate import Decision
from prewrite.evaluation.improve.guards import PartName

NAME = "rounds.jsonl"

Word = Literal["promoted", "refused", "not eligible", "rolled back"]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ModelRef(_Entry):
    """A model, and the digest of what was there when it was entered."""

    model: str
    digest: str


class Begin(_Entry):
    """The first entry: what is planned, and cannot change. anchor, last_anchor: name → digest;
    start: what each part was.
    """

    kind: Literal["begin"] = "begin"
    anchor: dict[str, str]
    last_anchor: dict[str, str]
    start: dict[PartName, ModelRef]
    documents: list[float]
    rounds: int
    comparisons: int
    gain: float


class Compared(_Entry):
    """A candidate beside the incumbent on the first anchor. made_with: the models of the parts when
    it was made; parents: digests of the models that it was made from; data: sets that it learnt
    from, with the filter; left_out: reason → texts of the candidate without a score.
    """

    kind: Literal["compared"] = "compared"
    round: int
    part: PartName
    candidate: ModelRef
    incumbent: ModelRef
    made_with: dict[PartName, ModelRef]
    parents: list[str]
    data: list[str]
    figures: Decision
    left_out: dict[str, int]
    decision: Word
    reasons: list[str]


class Ended(_Entry):
    """No further rounds."""

    kind: Literal["ended"] = "ended"
    reason: str


class Last(_Entry):
    """What a part has become beside what it was, on the second anchor, which is opened once."""

    kind: Literal["last"] = "last"
    part: PartName
    candidate: ModelRef
    start: ModelRef
    figures: Decision
    left_out: dict[str, int]


class Closed(_Entry):
    """All is said."""

    kind: Literal["closed"] = "closed"


Entry = Annotated[Begin | Compared | Ended | Last | Closed, Field(discriminator="kind")]
_ENTRY: TypeAdapter[Entry] = TypeAdapter(Entry)


class Ledger:
    """The ledger in a folder. entries: what is in it. InputError for one that was changed."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._text = (folder.read(NAME) or b"").decode("utf-8", "replace")
        self.entries = _entries(f"{folder.url}/{NAME}", self._text.splitlines())

    def add(self, entry: Entry) -> None:
        """Add an entry; it is on disk, or an error says why not."""
        lines = self._text.splitlines()
        line = canonical({"after": _after(lines), "entry": entry.model_dump(mode="json")})
        self._folder.write(NAME, (text := f"{self._text}{line}\n").encode())
        self._text, self.entries = text, [*self.entries, entry]


def _after(lines: Sequence[str]) -> str:
    """The digest of the last line, empty before the first."""
    return fingerprint(lines[-1])[:16] if lines else ""


def _entries(where: str, lines: Sequence[str]) -> list[Entry]:
    found = list[Entry]()
    for number, line in enumerate(lines):
        try:
            known = json.loads(line)
            entry = _ENTRY.validate_python(known["entry"])
        except (ValueError, KeyError, TypeError, ValidationError):
            raise InputError(
                f"{where}: line {number + 1}: found no entry of a ledger; accepted: the file as "
                "it was written"
            ) from None
        if known.get("after") != _after(lines[:number]):
            raise InputError(
                f"{where}: line {number + 1}: found an entry that was written after another line "
                "than the one before it; accepted: the file as it was written"
            )
        found.append(entry)
    return found
