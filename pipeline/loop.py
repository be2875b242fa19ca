"""One worker's loop over the documents of a pass.

Guarantees: rows keep their input order; the engine is kept full across block and split borders,
because the next documents are started while a block's last rows are still being answered; memory
holds at most `window` open rows, the block being written and the one before it; a kill costs at
most those two. Cost: `benchmarks/mechanism.py`.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import product

from prewrite.base.errors import EngineDied, InputError, Interrupted, ShardError
from prewrite.pipeline.limit import FailureLimit
from prewrite.pipeline.passes import (
    Absent,
    Document,
    DocumentResult,
    End,
    LeftOut,
    Skipped,
    Source,
    Split,
    Work,
)
from prewrite.pipeline.progress import Progress
from prewrite.pipeline.quarantine import Quarantine
from prewrite.pipeline.signals import stop_on_signal
from prewrite.shards.commit_log import Block, CommitLog, Lineage
from prewrite.shards.failures import Failure, keep_few
from prewrite.shards.manifest import REMOVED, PassFacts, Record, Skip, TakenOut
from prewrite.shards.merge import Merging
from prewrite.shards.schema import Row, status_counts

Finish = Callable[[Document], Awaitable[DocumentResult]]

_Counted = Document | Skipped | LeftOut | Absent
"""What is one record of a split."""

_LARGEST, _ROW = 256 << 20, 1 << 10
"""Characters of a part's originals and `meta`; each row counts for so many more, so a part holds at
most 262,144 documents."""

ABANDONED = "abandoned"
"""Why the rows of a document failed that killed every worker that opened it."""


class _Window:
    """Bounds the rows under way; a document larger than the window goes alone."""

    def __init__(self, limit: int) -> None:
        self.limit, self.open = limit, 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def acquire(self, rows: int) -> None:
        while self.open and self.open + rows > self.limit:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append((rows, waiter))
            await waiter
        self.open += rows

    def release(self, rows: int) -> None:
        self.open -= rows
        while self._waiters:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)


@dataclass
class _OpenBlock:
    block: Block
    quarantine: Quarantine | None = None
    tasks: list[asyncio.Task[DocumentResult]] = field(default_factory=list)
    rows: int = 0
    size: int = 0

    def lacks(self, item: Absent) -> None:
        """Count a document that was taken out, with its place in the part."""
        block = self.block
        place = block.documents + len(block.removed)
        block.removed.append(TakenOut(doc_id=item.doc_id, at=place))
        block.left_out[REMOVED] += 1


class PassWorker:
    """Runs one pass over some splits in this process; see the module for the guarantees."""

    def __init__(
        self,
        source: Source,
        work: Work,
        commit_log: CommitLog,
        progress: Progress,
        rows_per_part: int,
        max_bad_rows: float,
        limit: FailureLimit,
        opened: Callable[[], None],
        command: str,
        merging: Merging | None,
    ) -> None:
        self.source, self.work, self.commit_log = source, work, commit_log
        self.progress, self.rows_per_part, self.max_bad_rows = progress, rows_per_part, max_bad_rows
        self.limit = limit
        self.opened, self.command, self._quarantine = opened, command, list[Quarantine]()
        self._merging = merging
        self.window = _Window(work.window)
        self.stop = asyncio.Event()
        self.records = self.bad = 0
        self.failure: BaseException | None = None
        self._documents: set[asyncio.Task[DocumentResult]] = set()
        self._ready: asyncio.Queue[_OpenBlock | None] = asyncio.Queue()

    async def run(self, splits: list[Split]) -> None:
        """Work through `splits`; Interrupted when a signal asked for a stop, after a commit."""
        async with stop_on_signal(self.stop):
            committer = asyncio.create_task(self._commit_all())
            feeder = asyncio.create_task(self._feed_all(splits))
            try:
                await _first_failure(committer, feeder)
            finally:
                left = [feeder, committer, *self._documents]
                for task in left:
                    task.cancel()
                await asyncio.gather(*left, return_exceptions=True)
                if not isinstance(self.failure, EngineDied):
                    self._close_suspected()
        if self.stop.is_set():
            raise Interrupted("interrupted after a clean commit; the same command continues")

    def _close_suspected(self) -> None:
        """Say that nothing is open any more. A full disk must not hide why the run ends."""
        with suppress(OSError, ShardError):
            for quarantine in self._quarantine:
                quarantine.close()

    async def _feed_all(self, splits: list[Split]) -> None:
        for split in splits:
            if self.stop.is_set():
                break
            await self._feed(split)
        await self._ready.put(None)

    async def _feed(self, split: Split) -> None:
        """Start the documents of one split: of damaged parts, then those after the last commit."""
        done = await asyncio.to_thread(self.commit_log.records, split.name)
        self.progress.resumed(sum(r.part.rows for r in done if r.part))
        self.limit.resumed(done)
        for number, record in enumerate(done):
            if record.redo and not self.stop.is_set():
                await self._redo(split, record, done[number - 1].read if number else "")
        if done and done[-1].last:
            self.progress.consumed(split.bytes)
            return
        place = self.commit_log.continued(done, split.name)
        quarantine = await asyncio.to_thread(
            Quarantine, self.commit_log, split.name, done, self.command, place.turn
        )
        self._quarantine.append(quarantine)
        if quarantine.next_is_suspected:
            await self._ready.join()
        await self._read(split, done, quarantine, place)

    async def _read(
        self, split: Split, done: list[Record], quarantine: Quarantine, place: Lineage
    ) -> None:
        """Start documents, and close blocks, from the last of `done` to the end of the split."""
        start = quarantine.committed
        block = Block(split.name, len(done), start, start, place=place)
        block.read = done[-1].read if done else ""
        current = _OpenBlock(block, quarantine)
        offset = 0
        for item in self.source.read(split, start):
            _refuse_other_records(split, block.read, item.before)
            block = current.block
            if isinstance(item, End):
                current.block.last, current.block.sha256 = True, item.sha256
                if quarantine.died:
                    current.block.facts.count({"worker:died": quarantine.died})
                self.progress.consumed(split.bytes - offset)
                break
            self.progress.consumed(item.offset - offset)
            offset = item.offset
            await self._open(current, item, quarantine)
            if self.failure is not None:
                raise self.failure
            if self.stop.is_set():
                break
            alone = quarantine.ends(current.block.stop)
            if current.rows >= self.rows_per_part or current.size >= _LARGEST or alone:
                await self._close(current)
                line = replace(place, after=place.line)
                following = Block(split.name, block.number + 1, block.stop, block.stop, place=line)
                following.read = block.read
                current = _OpenBlock(following, quarantine)
            if alone:
                await self._ready.join()
        if current.block.last or current.block.stop > current.block.start:
            await self._close(current)

    async def _redo(self, split: Split, record: Record, read: str) -> None:
        """Do the documents of a part again, as the same block. read: digest of the records before
        it. What the record has kept of the old part is added up.
        """
        place = self.commit_log.again(record)
        block = Block(split.name, record.block, record.start, record.start, place=place)
        block.last, block.sha256, block.read = record.last, record.sha256, read
        block.facts = PassFacts(usage=record.usage, versions=record.versions, counts=record.counts)
        block.known_as, gone = record.known_as, {one.doc_id for one in record.removed}
        current = _OpenBlock(block)
        for item in self.source.read(split, record.start):
            _refuse_other_records(split, block.read, item.before)
            if isinstance(item, End) or block.stop == record.stop:
                break
            doc_id = item.rows[0]["doc_id"] if isinstance(item, Document) else None
            if doc_id is not None and doc_id in gone:
                item = Absent(doc_id, item.offset, before=item.before, after=item.after)
            await self._add(current, item, abandoned=doc_id in record.abandoned)
            if self.stop.is_set():
                return  # a part of it would be another part
        _refuse_other_records(split, record.read, block.read)
        if block.stop != record.stop:
            raise _other_records(split)
        await self._close(current)

    async def _close(self, block: _OpenBlock) -> None:
        """Hand a filled block over, once the one before it is committed: two are open at most."""
        await self._ready.join()
        await self._ready.put(block)

    async def _open(self, current: _OpenBlock, item: _Counted, quarantine: Quarantine) -> None:
        """Start a document once it is written down that it will be open."""
        position = current.block.stop
        if isinstance(item, Document) and quarantine.abandoned(position):
            await self._add(current, item, abandoned=True)
            return
        if quarantine.must_mark(position):
            await asyncio.to_thread(quarantine.mark, position)
            self.opened()
        await self._add(current, item)

    async def _add(self, current: _OpenBlock, item: _Counted, abandoned: bool = False) -> None:
        if isinstance(item, Skipped):
            current.block.skipped.append(item.skip)
            self.bad += 1
        elif isinstance(item, LeftOut):
            current.block.left_out[item.reason] += 1
            await asyncio.sleep(0)  # many may stand in a row, and the engine's answers wait
        elif isinstance(item, Absent):
            current.lacks(item)
        else:
            await self.window.acquire(len(item.rows))
            self.progress.begun(len(item.rows))
            if abandoned:
                current.block.facts.abandoned.append(item.rows[0]["doc_id"])
            current.tasks.append(self._start(item, _abandon if abandoned else self.work))
            current.block.documents += 1
            current.block.facts.count(item.counts)
            current.rows += len(item.rows)
            current.size += sum(map(_size, item.rows))
            await asyncio.sleep(0)  # let the new task reach the engine before reading on
        current.block.stop += 1
        current.block.read = item.after
        self.records += 1
        check_bad_rows(self.bad, max(self.records, 1000), self.max_bad_rows, current.block.skipped)

    def _start(self, document: Document, work: Finish) -> asyncio.Task[DocumentResult]:
        task = asyncio.create_task(self._finish(document, work))
        self._documents.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[DocumentResult]) -> None:
        self._documents.discard(task)
        if not task.cancelled():
            task.exception()  # seen here, so that asyncio does not report it as never seen

    async def _finish(self, document: Document, work: Finish) -> DocumentResult:
        names = [row["id"] for row in document.rows]
        try:
            result = await work(document)
            if [row["id"] for row in result.rows] != names:
                raise ShardError(f"a pass changed the rows of the document of row {names[0]}")
            self.limit.count(result)
        except Exception as error:
            self.failure = self.failure or error
            raise
        finally:
            self.window.release(len(document.rows))
        self.progress.finished(len(result.rows), result.failed, result.usage)
        return result

    async def _commit_all(self) -> None:
        while (ready := await self._ready.get()) is not None:
            for result in await asyncio.gather(*ready.tasks):
                ready.block.rows += result.rows
                ready.block.judgements += result.judgements
                ready.block.facts.add(result.facts)
            keep_few(ready.block.rows)
            ready.block.facts.add(PassFacts(versions=self.work.versions))
            record = await asyncio.to_thread(self.commit_log.commit, ready.block)
            if self._merging:
                await asyncio.to_thread(self._merging.add, record)
            if ready.quarantine:
                ready.quarantine.committed = ready.block.stop
                if ready.block.last:
                    self._quarantine.remove(ready.quarantine)
            self._ready.task_done()


def _size(row: Row) -> int:
    return _ROW + len(row["original"]) + len(row.get("meta") or "")


async def _abandon(document: Document) -> DocumentResult:
    """The rows of a document that no worker survived; they keep their place."""
    texts = [name for name in document.rows[0] if f"{name}_status" in document.rows[0]]
    for row, text in product(document.rows, texts):
        if row[f"{text}_status"] is None:
            row[f"{text}_status"], row[f"{text}_reason"] = "failed", ABANDONED
    counts = status_counts(document.rows, ("original", *texts))
    counts["document:abandoned"] = 1
    asked = [row["id"] for row in document.rows if row["rewrite_status"] != "skipped"]
    return DocumentResult(
        document.rows,
        document.judgements,
        counts=counts,
        asked=len(asked),
        failed=len(asked),
        failures=[Failure(ABANDONED, name) for name in asked],
    )


def _refuse_other_records(split: Split, committed: str, found: str) -> None:
    """InputError where records are not those that committed rows were made of."""
    if committed and found and committed != found:
        raise _other_records(split)


def _other_records(split: Split) -> InputError:
    return InputError(
        f"{split.path}: its records are not those that this run has read before; accepted: the "
        "file as it was; restore it, or choose another output"
    )


def check_bad_rows(bad: int, records: int, limit: float, latest: list[Skip]) -> None:
    """InputError when more than the share `limit` of `records` is bad."""
    if bad > limit * records:
        last = latest[-1] if latest else None
        where = f"; the last: {last.file} line {last.line}: {last.reason}" if last else ""
        raise InputError(
            f"{bad} of {records} input records are bad, more than input.max_bad_rows = "
            f"{limit:g} allows{where}"
        )


async def _first_failure(*tasks: asyncio.Task[None]) -> None:
    """Wait for all tasks; the first exception ends the wait."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    for task in done:
        await task
