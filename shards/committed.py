"""Which records of a set hold, while a run goes on and after it.

A split is committed in blocks, in order. A run that takes over writes all that holds into the log;
from then on only that and its own records count, so a record that an earlier run writes later is
passed over. Of one run, too, a worker that was taken for dead may write later than its successor.
Each record names the line of work that it continues (`after`); what holds is the record of the
latest `turn`, and all that it continues.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from pydantic import BaseModel, ConfigDict, ValidationError

from prewrite.base.errors import ShardError
from prewrite.base.files import Folder
from prewrite.base.together import together
from prewrite.shards import log, names
from prewrite.shards.manifest import Manifest, Opened, Record
from prewrite.shards.names import RecordName
from prewrite.shards.parts import Part

Key = tuple[str, int, int]
"""Split, block and turn of a record: no two records share them."""


class Merge(BaseModel):
    """What one merge has put into one file."""

    model_config = ConfigDict(extra="forbid")

    records: list[Record]


class Committed:
    """What is committed of the set that `manifest` describes. It is listed once, at the first use.

    Two kinds of records hold: those in the manifest's log, and those of its latest owner. A merge
    moves rows and changes none. So where a file of the log is gone, the record of a merge says
    where its rows are, even if an earlier owner wrote it.

    splits: those that are asked about, where others need not be read.
    """

    def __init__(
        self, folder: Folder, manifest: Manifest, splits: Collection[str] | None = None
    ) -> None:
        self.folder, self.manifest, self.owner = folder, manifest, manifest.owner
        self._splits = splits

    def records(self, split: str) -> list[Record]:
        """Every committed block of `split` that holds, in order. One unreadable last record counts
        as absent; ShardError for one before others.
        """
        blocks = self._blocks(split)
        every = [record for found in blocks.values() for record in found]
        latest = sorted(every, key=lambda record: (record.turn, record.block), reverse=True)
        whole = (_back_from(tip, blocks) for tip in latest)
        chain = next((found for found in whole if found), list[Record]())
        while chain and (following := _latest(blocks[len(chain)], after=chain[-1].line)):
            chain.append(following)
        return chain

    def splits(self) -> set[str]:
        """The splits of which something is committed."""
        return self._logged.keys() | self._merged.keys() | self._found.keys()

    def opened(self, split: str) -> Opened | None:
        """What the latest worker on `split` had open."""
        data = self.folder.read(names.mark(split))
        try:
            return Opened.model_validate_json(data) if data is not None else None
        except ValidationError:
            return None  # it only says where to be careful

    def marked(self) -> set[str]:
        """The splits of which a worker has said what is open."""
        return {split for name in self._listed if (split := names.marked(name))}

    def is_empty(self) -> bool:
        """Whether nothing is committed."""
        return not self.splits()

    def tokens(self) -> Iterator[tuple[str, str]]:
        """The token of each record, and of each file of a log, that is there, of whatever run, and
        where it was found.
        """
        for name in self._listed:
            record, merge = RecordName.parse(name), names.merged(name)
            if token := record.token if record else merge:
                yield name, token
        for name in self.folder.names(names.LOG):
            if owner := names.owner_of(name):
                yield name, owner
        for records in self._logged.values():
            yield from ((names.LOG, record.line) for record in records if record.line)

    def read_ahead(self) -> None:
        """Look up what all splits share, so that threads find it."""
        self._logged, self._merged, self._found  # noqa: B018

    @cached_property
    def _listed(self) -> list[str]:
        return self.folder.names(names.RECORDS)

    @cached_property
    def _found(self) -> dict[str, list[RecordName]]:
        """The names of the records of each split."""
        found = defaultdict[str, list[RecordName]](list)
        for name in map(RecordName.parse, self._listed):
            if name and name.token[: names.OWNER] == self.owner:
                found[name.split].append(name)
        return dict(found)

    @cached_property
    def _logged(self) -> dict[str, list[Record]]:
        """The records of each split that earlier runs have made."""
        found = _by_split(log.records(self.folder, self.manifest, self._splits))
        if self._moved and any(map(self._is_gone, _parts_of(found))):
            return {split: [*map(self._found_again, some)] for split, some in found.items()}
        return found

    @cached_property
    def _merged(self) -> dict[str, list[Record]]:
        """The records that this run has merged, as they are after the latest merge of each."""
        return _by_split(self._merges(lambda owner: owner == self.owner).values())

    @cached_property
    def _moved(self) -> dict[Key, Record]:
        """The records of merges by earlier runs."""
        return self._merges(lambda owner: owner != self.owner)

    @cached_property
    def _present(self) -> set[str]:
        return {*self.folder.names(names.DATA), *self.folder.names(names.JUDGEMENTS)}

    def _is_gone(self, part: Part) -> bool:
        return part.file not in self._present

    def _found_again(self, record: Record) -> Record:
        """A logged record, where a late merge of an earlier run has put its rows."""
        other = self._moved.get(key_of(record))
        parts = [part for part in (record.part, record.judgements) if part]
        return other if other and any(map(self._is_gone, parts)) else record

    def _merges(self, wanted: Callable[[str], bool]) -> dict[Key, Record]:
        """The records in the merges of some owners. Of two merges that hold one, the one whose file
        is there; both were whole when they were written.
        """
        chosen = [n for n in self._listed if (t := names.merged(n)) and wanted(t[: names.OWNER])]
        found = [merge for merge in together(self._read_merge, chosen) if merge]
        every = [record for merge in found for record in merge.records]
        twice = len({key_of(record) for record in every}) < len(every)
        if twice:
            every = [r for r in every if not any(map(self._is_gone, _parts_of({"": [r]})))]
        return {key_of(record): record for record in every}

    def _read_merge(self, name: str) -> Merge | None:
        data = self.folder.read(name)
        try:
            return Merge.model_validate_json(data) if data is not None else None
        except ValidationError:
            raise ShardError(f"{self.folder.url}/{name}: damaged record of a merge") from None

    def _next_turn(self, split: str) -> int:
        """Greater than all so far on a split, a worker's that has written nothing yet included."""
        held = [*self._logged.get(split, []), *self._merged.get(split, [])]
        turns = [record.turn for record in held]
        turns += [name.turn for name in self._found.get(split, [])]
        latest = self.opened(split)
        return max(0, *turns, latest.turn if latest else 0) + 1

    def _blocks(self, split: str) -> defaultdict[int, list[Record]]:
        """The readable records of a split, by block."""
        held = {key_of(record): record for record in self._logged.get(split, [])}
        held |= {key_of(record): record for record in self._merged.get(split, [])}
        merged = {key_of(record) for record in self._merged.get(split, [])}
        for name in self._found.get(split, []):
            key = name.split, name.block, name.turn
            if key not in merged and (found := self._read(name)):
                held[key] = found
        blocks = defaultdict[int, list[Record]](list)
        for record in held.values():
            blocks[record.block].append(record)
        return blocks

    def _read(self, name: RecordName) -> Record | None:
        """One record; None where it is gone or the last of its worker and unreadable."""
        data = self.folder.read(str(name))
        if data is None:
            return None
        try:
            record = Record.model_validate_json(data)
            if (record.split, record.block, record.turn) == name[:3]:
                return record
        except ValidationError:
            pass
        later = (n for n in self._found[name.split] if n.block > name.block)
        if any(n.token == name.token for n in later):
            raise ShardError(f"{self.folder.url}/{name}: damaged commit record")
        return None


def _by_split(records: Iterable[Record]) -> dict[str, list[Record]]:
    found = defaultdict[str, list[Record]](list)
    for record in records:
        found[record.split].append(record)
    return dict(found)


def key_of(record: Record) -> Key:
    """What no two records share."""
    return record.split, record.block, record.turn


def _parts_of(found: Mapping[str, Sequence[Record]]) -> Iterator[Part]:
    """All parts of these records."""
    for record in (record for records in found.values() for record in records):
        yield from (part for part in (record.part, record.judgements) if part)


def _latest(records: Iterable[Record], **wanted: str) -> Record | None:
    """Of the records with the wanted `line` or `after` that of the latest turn."""
    fitting = (r for r in records if all(getattr(r, k) == v for k, v in wanted.items()))
    return max(fitting, key=lambda record: record.turn, default=None)


def _back_from(tip: Record, blocks: dict[int, list[Record]]) -> list[Record]:
    """The records from the first block to `tip`, each continued by the next; none where one of
    them is missing.
    """
    chain = [tip]
    while chain[-1].block:
        before = _latest(blocks.get(chain[-1].block - 1, ()), line=chain[-1].after)
        if before is None:
            return []
        chain.append(before)
    return chain[::-1] if not chain[-1].after else []
