"""Take documents out of a finished set, and of the rewrites in it, at one moment each.

A takedown is a generation of its own (`shards.generation`): the row groups with rows of the
documents are written again without them, all others are copied unchanged. What stays is the
documents' `doc_id` and their number of rows, in the manifest. Copies elsewhere, exports and models
are beyond its reach. A training run that began on the old rows is refused.

Cost: one read of the column `doc_id`, and the files that hold the documents read and written twice.
"""

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from prewrite.base.errors import ConfigError, ShardError
from prewrite.base.files import Folder
from prewrite.base.owned import OwnedFolder
from prewrite.base.together import together
from prewrite.shards import flat, generation, log, names
from prewrite.shards.commit_log import CommitLog
from prewrite.shards.failures import Failures
from prewrite.shards.leftovers import clean
from prewrite.shards.lock import OutputLock
from prewrite.shards.manifest import REMOVED, Manifest, Record, Removed, TakenOut
from prewrite.shards.old import refuse_old, set_around
from prewrite.shards.parts import Part
from prewrite.shards.reader import ShardSet
from prewrite.shards.schema import status_counts
from prewrite.shards.summary import summary_of


def remove(url: str, doc_ids: Sequence[str]) -> list[str]:
    """Take the documents out of the set at `url`; what was done, one sentence each.

    ConfigError for a document that the set has not, before anything is written. ShardError where
    the set is not complete, is half asked again, or another run is writing there.
    """
    url = url.rstrip("/")
    if outer := set_around(url):
        raise ConfigError(
            f"{url}: found the rewrites of a set; accepted: the set itself, {outer.url}, which "
            "takes its rewrites along"
        )
    wanted = [*dict.fromkeys(map(_readable, doc_ids))]
    _ready(url)  # before a lock is written
    with OutputLock(Folder(url)) as lock:
        generation.settle(lock.folder)
        shards = _ready(url)
        gone = {one.doc_id for one in shards.manifest.removed}
        refuse_unknown(shards, [name for name in wanted if name not in gone])
        inner, done = f"{url}/{names.REWRITES}", list[str]()
        if Manifest.find(Folder(inner)):
            with OutputLock(Folder(inner)) as below:
                generation.settle(below.folder)
                done += _remove(_ready(inner), below, wanted)
                done += _remove_report(below.folder)
        return done + _remove(shards, lock, wanted) + _remove_report(lock.folder)


def _readable(doc_id: str) -> str:
    try:
        doc_id.encode()
    except UnicodeEncodeError:
        raise ConfigError("--doc-id: found bytes that are not UTF-8; accepted: a text") from None
    return doc_id


def _ready(url: str) -> ShardSet:
    shards = ShardSet(url).finished()
    refuse_old(url, "prewrite shards remove")
    if Manifest.unchecked(Folder(f"{url}/{flat.REWRITES}")):
        raise ShardError(
            f"{url}/{flat.REWRITES}: found a set, which may hold the documents; accepted with "
            f"prewrite shards remove: rewrites in {names.REWRITES}; run prewrite shards upgrade "
            f"{url} first, or move it elsewhere"
        )
    begun = generation.made(shards.folder, shards.manifest)
    if begun and begun.status != "complete":
        raise ShardError(
            f"{url}: found failed rows that are being asked again; run the command with "
            "--retry-failed to its end first"
        )
    return shards


def refuse_unknown(shards: ShardSet, doc_ids: Sequence[str]) -> None:
    """ConfigError for the first document that is not in the set."""
    found = _total(held.rows for held in _holding(shards, doc_ids).values())
    for doc_id in doc_ids:
        if doc_id not in found:
            raise ConfigError(
                f"--doc-id: found '{doc_id}', which no row of {shards.folder.url} has; accepted: a "
                "value of its column doc_id"
            )


def _remove(shards: ShardSet, lock: OutputLock, doc_ids: Sequence[str]) -> list[str]:
    """Take documents out of one set, which is locked."""
    url, held = shards.folder.url, _holding(shards, doc_ids)
    if not held:
        clean(lock.folder, shards.manifest)
        return [f"{url}: holds none of these documents any more"]
    generation.remove_made(lock.folder)
    new = _made(shards, held, lock.below(names.NEXT))
    published = generation.publish(lock.folder, shards.manifest, new)
    clean(lock.folder, published)
    rows, documents = (_total(counts).total() for counts in zip(*held.values(), strict=True))
    return [f"{url}: generation {published.generation}; removed {documents} documents, {rows} rows"]


class _Held(NamedTuple):
    """What a part holds of some documents, by `doc_id`; in a set of 0.1 several may have one."""

    rows: Counter[str]
    documents: Counter[str]


def _holding(shards: ShardSet, doc_ids: Collection[str]) -> dict[str, _Held]:
    """What each part holds of these documents, by its name; nothing of those without them."""
    wanted = pa.array(list(doc_ids), pa.string())

    def count(part: Part) -> _Held:
        found = _Held(Counter(), Counter())
        for batch in shards.batches(part, ["doc_id", "chunk"], 1 << 16):
            held = batch.filter(pc.is_in(batch["doc_id"], wanted))
            first = _first_rows(held)
            for counts, some in zip(found, (held, first), strict=True):
                counts.update(map(str, some["doc_id"].to_pylist()))
        return found

    counts = zip(shards.parts, together(count, shards.parts), strict=True)
    return {part.name: found for part, found in counts if found.rows}


def _first_rows(rows: Any) -> Any:
    """One row of each document."""
    return rows.filter(pc.field("chunk") == 0)


def _total(held: Iterable[Counter[str]]) -> Counter[str]:
    return sum(held, Counter[str]())


def _made(shards: ShardSet, held: Mapping[str, _Held], below: OwnedFolder) -> Manifest:
    """The next generation, ready to be published."""
    old = shards.manifest
    rows, documents = (_total(counts) for counts in zip(*held.values(), strict=True))
    new = old.model_copy(deep=True)
    new.generation, new.before = old.generation + 1, old.content
    new.owners, new.status, new.log = [*old.owners, below.owner], "running", []
    new.removed += [
        Removed(doc_id=doc_id, rows=count, documents=documents[doc_id])
        for doc_id, count in rows.items()
    ]
    new.save(below)  # before all others, so that the folder is known to be this set's
    commit_log = CommitLog(below, new)
    verdicts = {part.name: part for part in shards.verdicts}
    records, gone = list[Record](), set[str]()
    for record in log.records(shards.folder, old):
        if record.part and record.part.name in held:
            documents_of = held[record.part.name].documents
            taken = _Taken(shards, record.part, verdicts.get(record.part.name), documents_of)
            record = taken.record(record, commit_log)
            gone |= taken.ids
        records.append(record)
    records = [_silenced(record, gone) for record in records]
    for made in new.passes:
        made.failures = _without(made.failures, gone)
    summary_of(records).write_into(new, "complete")
    new.log = log.write(below, records, commit_log.token())
    new.save(below)
    return new


class _Taken:
    """A part without the rows of some documents. ids: of the rows that are gone."""

    def __init__(
        self, shards: ShardSet, part: Part, said: Part | None, documents: Collection[str]
    ) -> None:
        self._name, self._documents, self._known_as = part.name, documents, part.known_as
        self._texts = shards.manifest.texts
        rows = _read(shards, part)
        self._every = _first_rows(rows)["doc_id"].to_pylist()
        is_gone = pc.is_in(rows["doc_id"], pa.array(list(self._documents), pa.string()))
        self._gone, self._rows = rows.filter(is_gone), rows.filter(pc.invert(is_gone))
        self.ids = set(self._gone["id"].to_pylist())
        self._said = self._unsaid = None
        if said:
            verdicts = _read(shards, said)
            of_gone = pc.is_in(verdicts["id"], self._gone["id"])
            self._unsaid, self._said = verdicts.filter(of_gone), verdicts.filter(pc.invert(of_gone))

    def record(self, record: Record, commit_log: CommitLog) -> Record:
        """The record of what is left, which is written."""
        part, verdicts = commit_log.write(
            self._name, commit_log.token(), self._rows, self._said, self._known_as
        )
        gone = self._places(record)
        left_out = Counter(record.left_out)
        left_out[REMOVED] += len(gone)
        return record.model_copy(
            update={
                "part": part,
                "judgements": verdicts,
                "known_as": "" if part else self._known_as,
                "documents": record.documents - len(gone),
                "left_out": dict(left_out),
                "removed": sorted([*record.removed, *gone], key=lambda one: one.at),
                "abandoned": [n for n in record.abandoned if n not in self._documents],
                "counts": dict(Counter(record.counts) - self._counts()),
            }
        )

    def _places(self, record: Record) -> list[TakenOut]:
        """The documents that are gone, with their places among all that the part has had."""
        earlier = {one.at for one in record.removed}
        places = (at for at in itertools.count() if at not in earlier)
        every = zip(self._every, places, strict=False)
        return [TakenOut(doc_id=one, at=at) for one, at in every if one in self._documents]

    def _counts(self) -> Counter[str]:
        """What the rows that are gone were counted as."""
        found = status_counts(self._gone.to_pylist(), self._texts)
        if self._unsaid is not None:
            found.update(f"verdict:{one}" for one in self._unsaid["status"].to_pylist())
        return found


def _read(shards: ShardSet, part: Part) -> Any:
    return pa.Table.from_batches([*shards.batches(part, size=1 << 16)])


def _silenced(record: Record, gone: Collection[str]) -> Record:
    """A record whose examples of failures hold no text of rows that are gone."""
    return record.model_copy(update={"failures": _without(record.failures, gone)})


def _without(failures: Mapping[str, Failures], gone: Collection[str]) -> dict[str, Failures]:
    return {
        reason: Failures(
            count=found.count, examples=[one for one in found.examples if one.id not in gone]
        )
        for reason, found in failures.items()
    }


def _remove_report(folder: OwnedFolder) -> list[str]:
    """A report shows rows; it can be made again."""
    if not folder.exists(names.REPORT):
        return []
    folder.remove(names.REPORT)
    return [f"{folder.url}/{names.REPORT}: removed; it may show the documents"]
