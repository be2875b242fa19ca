"""Ask again what failed in a finished set, and nothing else: its next generation.

The unit is a block of the commit log. A block in which nothing failed keeps its part, its verdicts
and its record. Of every other the documents are read from its part, what failed in them is asked
again, and a new part with a new record is committed in `_next/`, by the same workers as in a
first run: a kill costs at most the open block, and the same command goes on. When all is asked, the
generation is published (`shards.generation`); until then the set is the old one, for all readers.

A document that killed its workers (`pipeline.quarantine`) is not opened again.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, cast

import pyarrow as pa

from prewrite.base.cli import console
from prewrite.base.errors import ConfigError, EngineError, ShardError
from prewrite.base.files import Folder
from prewrite.base.fingerprint import fingerprint
from prewrite.base.owned import OwnedFolder
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.executor.choose import execute
from prewrite.pipeline.passes import Absent, Document, End, Item, LeftOut, Pass, Skipped, Split
from prewrite.pipeline.run import Execute, finished
from prewrite.shards import generation, log, names
from prewrite.shards.commit_log import CommitLog, commit_log_of
from prewrite.shards.leftovers import clean
from prewrite.shards.listed import check_listed
from prewrite.shards.lock import OutputLock
from prewrite.shards.manifest import DROPPED, ODD, REMOVED, Manifest, Record
from prewrite.shards.old import refuse_old
from prewrite.shards.repair import emptied
from prewrite.shards.summary import CommitSummary, fold


class Again(Pass, Protocol):
    """A pass that asks again what failed in the finished set at `url`; its `config` is that of the
    next generation, `begin` gives the manifest of it, and `source` is an `OldParts` of itself.
    """

    @property
    def job(self) -> Pass:
        """The pass that has made the set."""
        ...

    @property
    def url(self) -> str:
        """The set."""
        ...

    @property
    def remedy(self) -> str:
        """What to do where the set is another configuration's."""
        ...

    def follows(self, manifest: Manifest) -> bool:
        """Whether a manifest is of this pass, if need be over an earlier state of its input."""
        ...

    def failed(self, counts: Mapping[str, int]) -> int:
        """How much failed, by the counts of a record or a pass."""
        ...

    def wanted(self, record: Record) -> Counter[str]:
        """How much of what is to be asked of a block, in the singular; nothing: its part stays."""
        ...

    def read_of(self, record: Record) -> str:
        """`Record.read` of a block in the next generation."""
        ...

    def documents(self, record: Record) -> Iterator[Document | Absent]:
        """The documents of a block, as the work of this pass takes them, and those taken out."""
        ...


class OfJob:
    """What a pass that asks again has of the pass that has made the set; a base of each `Again`."""

    job: Pass
    url: str
    max_bad_rows = 1.0  # bad records are as many as they were

    @property
    def columns(self) -> pa.Schema:
        """Those of the set."""
        return self.job.columns

    @property
    def source(self) -> "OldParts":
        """The parts of the set."""
        return OldParts(cast(Again, self))

    def identity(self) -> dict[str, Any]:
        """That of the pass, over its input as it is now."""
        return self.job.identity()


@dataclass(frozen=True)
class OldParts:
    """The blocks of a finished set as a source: each split and start is that of a record."""

    job: Again

    def splits(self) -> list[Split]:
        """All splits of the set, as large as their parts."""
        return splits_of(self.records.values())

    def read(self, split: Split, start: int) -> Iterator[Item]:
        """The items of the block that begins at `start`, and an End."""
        record = self.records[split.name, start]
        read = self.job.read_of(record)
        for document in self.job.documents(record):
            yield replace(document, after=read)
        for skip in record.skipped:
            yield Skipped(skip, 0, after=read)
        for reason, count in record.left_out.items():
            if reason != REMOVED:
                yield from (LeftOut(reason, 0, after=read) for _ in range(count))
        yield End(None)

    @cached_property
    def records(self) -> dict[tuple[str, int], Record]:
        """Those of the set, by what they begin with."""
        return {(record.split, record.start): record for record in log_of(self.job.url)}


def log_of(url: str) -> list[Record]:
    """The commit log of a finished set."""
    folder = Folder(url)
    return [*log.records(folder, Manifest.load(folder))]


def splits_of(records: Iterable[Record]) -> list[Split]:
    """The splits of `records`, in their order."""
    sizes: dict[str, int] = {}
    for record in records:
        size = record.part.bytes if record.part else 0
        sizes[record.split] = sizes.get(record.split, 0) + size
    return [Split(name, name, size) for name, size in sizes.items()]


def check(job: Again) -> Manifest:
    """The manifest of the set of `job`; ShardError where it is not complete, or another's."""
    found = Manifest.find(Folder(job.url))
    if found and not job.follows(found):
        finished(job.job, job.url, job.remedy)  # says what differs
    if found is None or found.status != "complete":
        state = "no set" if found is None else f"a set that is {found.status}"
        raise ShardError(
            f"{job.url}: found {state}; accepted with --retry-failed: a complete one; run the "
            "command without it first"
        )
    refuse_old(job.url, "--retry-failed")
    return found


def is_behind(job: Again) -> bool:
    """Whether the input of a set has changed since the set was made."""
    return check(job).passes[-1].fingerprint != fingerprint(job.identity())


def is_begun(job: Again) -> bool:
    """Whether an earlier retry has asked something that is not published yet."""
    return generation.made(Folder(job.url), check(job)) is not None


def round_of(url: str) -> int:
    """A number for the retry of a set that is under way: another one each time, and the same one
    when it is continued.
    """
    return 1 + len(Manifest.load(Folder(url)).owners)


def refuse_elsewhere(run: RunConfig) -> None:
    """ConfigError for what would run a retry as jobs of their own."""
    if run.executor == "slurm":
        raise ConfigError(
            "run.executor: found 'slurm'; accepted with --retry-failed: local, ray; it runs in "
            "one command"
        )
    if run.step:
        raise ConfigError(
            f"run.step: found '{run.step}'; accepted with --retry-failed: none; it runs in one "
            "command"
        )


def planned(job: Again) -> Counter[str]:
    """What a retry would ask, without what an earlier one has asked already.

    Cost: one read of each part in which something failed, or whose input has changed.
    """
    folder, old = Folder(job.url), check(job)
    new = _usable(job, folder, old)
    asked = _committed(folder, new) if new else set()
    left = (record for record in log_of(job.url) if (record.split, record.block) not in asked)
    return sum(map(job.wanted, left), Counter())


def retry(job: Again, run: RunConfig, execute: Execute = execute) -> Manifest | None:
    """Publish the next generation of the set of `job`, in which all that failed was asked again
    once, and return its manifest; None where nothing had failed. Where all of it failed again, the
    set stays, and its manifest is returned.

    Raises what `pipeline.run.run_pass` raises; the set is the old one then. `run.max_failed` is for
    first runs: here what failed is known, and may do so again.
    """
    check(job)
    with OutputLock(Folder(job.url)) as lock:
        old = check(job)
        if generation.is_ready(lock.folder, old):
            old = generation.settle(lock.folder)
            clean(lock.folder, old)
            if not is_behind(job):
                return old
        clean(lock.folder, old)
        check_listed(lock.folder, log.parts(lock.folder, old) + log.verdicts(lock.folder, old))
        below = lock.below(names.NEXT)
        new = _resumed(job, old, below) or _begun(job, old, lock.folder, below)
        if new is None:
            return None
        _ask(job, new, below, run.model_copy(update={"max_failed": 1.0}), execute)
        if _is_as_before(old, new):
            return _given_up(lock.folder, old, new)
        new.save(below)
        published = generation.publish(lock.folder, old, new)
        clean(lock.folder, published)
        return published


def retry_all(jobs: Sequence[Again], run: RunConfig) -> bool:
    """Retry one set after the other, and say how much failed before and now; False where nothing
    was asked in any. EngineError where whatever was asked failed again.
    """
    made, in_vain = list[Manifest](), list[str]()
    for job in jobs:
        old = check(job)
        new = retry(job, run)
        if new is None:
            continue
        made.append(new)
        before, now = (job.failed(one.passes[-1].counts) for one in (old, new))
        if new.generation == old.generation:
            in_vain.append(f"{job.url}: all {now} that had failed did so again; it stays as it was")
        else:
            print(f"{job.url}: generation {new.generation}; failed: {before} before, {now} now")
    if in_vain and len(in_vain) == len(made):
        raise EngineError("\n".join(in_vain))
    for sentence in in_vain:
        print(sentence)
    return bool(made)


def _usable(job: Again, folder: Folder, old: Manifest) -> Manifest | None:
    """What an earlier retry has made for this very configuration."""
    new = generation.made(folder, old)
    return new if new and new.passes[-1].fingerprint == fingerprint(job.identity()) else None


def _committed(folder: Folder, new: Manifest) -> set[tuple[str, int]]:
    """The blocks of a generation that are done."""
    below = generation.below(folder)
    return {(r.split, r.block) for r in _summary(new, below).every if not r.redo}


def _summary(new: Manifest, below: Folder) -> CommitSummary:
    """What is committed of the next generation, in the order of the set."""
    splits = dict.fromkeys(record.split for record in log.records(below, new))
    return fold(commit_log_of(new, below), splits)


def _resumed(job: Again, old: Manifest, below: OwnedFolder) -> Manifest | None:
    """The next generation that an earlier retry began, from now on this run's."""
    new = _usable(job, Folder(job.url), old)
    if new is None:
        return None
    new.log = log.write(below, _summary(new, below).every, CommitLog(below, new).token())
    new.owners = [*new.owners, below.owner]
    new.save(below)
    return new


def _begun(job: Again, old: Manifest, folder: OwnedFolder, below: OwnedFolder) -> Manifest | None:
    """A next generation of which nothing is asked yet; None where there is nothing to ask, and the
    input is what it was.
    """
    _drop(folder)
    new = job.begin([])
    asked, records = Counter[str](), list[Record]()
    for record in log_of(job.url):
        found = job.wanted(record)
        asked += found
        now = record.model_copy(update={"read": job.read_of(record)})
        records.append(_reopened(now) if found else now)
    if not asked and new.passes[-1].fingerprint == old.passes[-1].fingerprint:
        return None
    new.generation, new.before = old.generation + 1, old.content
    new.owners, new.status = [*old.owners, below.owner], "running"
    new.removed = old.removed  # not what its input has lost since
    new.passes[-1].seconds = old.passes[-1].seconds
    new.log, new.known_as = [], ""
    new.save(below)  # before all others, so that the folder is known to be this set's
    new.log = log.write(below, records, CommitLog(below, new).token())
    new.save(below)
    console.print(f"{job.url}: asking again: {told(asked)}", soft_wrap=True)
    return new


def _drop(folder: OwnedFolder) -> None:
    """Remove what a retry has made of a set that is another one by now; ShardError for a folder of
    somebody else's.
    """
    place = names.NEXT
    if not folder.exists(place) or _is_empty(folder, place):
        return  # what was killed before its first file leaves an empty one
    begun = bool(folder.names(f"{place}/{names.LOG}"))
    generation.remove_made(folder)
    if folder.exists(place):
        raise ShardError(
            f"{folder.url}/{place}: found a folder that no retry of this set has made; accepted: "
            "none of that name"
        )
    if begun:
        console.print(
            f"{folder.url}: it has changed since an earlier --retry-failed began; what that one "
            "had asked is dropped",
            soft_wrap=True,
        )


def _is_empty(folder: OwnedFolder, place: str) -> bool:
    """Whether a local folder holds nothing; stores have no such folders."""
    path = Path(folder.path(place))
    return folder.is_local and path.is_dir() and not any(p.is_file() for p in path.rglob("*"))


def _reopened(record: Record) -> Record:
    """The record of a block that is to be done again; what its part has cost stays counted."""
    stays = ("worker:", DROPPED, *ODD)
    kept = {key: count for key, count in record.counts.items() if key.startswith(stays)}
    spent = {"usage": record.usage, "versions": record.versions, "counts": kept, "known_as": ""}
    return emptied(record).model_copy(update=spent)


def _ask(job: Again, new: Manifest, below: OwnedFolder, run: RunConfig, execute: Execute) -> None:
    """Ask all that is left, and write into `new` what came of it; with that saved, the generation
    is ready.
    """
    begun = time.monotonic()
    if left := splits_of([record for record in _summary(new, below).every if record.redo]):
        execute(job, left, below, run)
    summary = _summary(new, below)
    _refuse_unlike(job.url, summary)
    summary.write_into(new, "complete")
    new.passes[-1].seconds += time.monotonic() - begun
    new.log = log.write(below, summary.every, CommitLog(below, new).token())


def _is_as_before(old: Manifest, new: Manifest) -> bool:
    """Whether all failed again that was asked again."""
    before, now = old.passes[-1], new.passes[-1]
    return (before.fingerprint, before.counts) == (now.fingerprint, now.counts)


def _given_up(folder: OwnedFolder, old: Manifest, new: Manifest) -> Manifest:
    """The old manifest, with the runs of a round that has brought nothing: so the next one has
    other seeds.
    """
    old.owners = new.owners
    old.save(folder)
    generation.remove_made(folder)
    return old


def _refuse_unlike(url: str, summary: CommitSummary) -> None:
    """ShardError where a generation does not hold the blocks and rows of the one before."""
    before, now = ([_shape(r) for r in records] for records in (log_of(url), summary.every))
    if before != now or summary.unfinished:
        raise ShardError(
            f"{url}: its next generation holds {summary.rows} rows in {len(now)} blocks, which are "
            "not those of the set; nothing was changed; run the same command again"
        )


def _shape(record: Record) -> tuple[str, int, int, int, int, int]:
    rows = record.part.rows if record.part else 0
    return record.split, record.block, record.start, record.stop, record.documents, rows


def told(asked: Counter[str]) -> str:
    """Counts in words."""
    each = (f"{count} {what}{'s' * (count != 1)}" for what, count in sorted(asked.items()))
    return ", ".join(each) or "nothing"
