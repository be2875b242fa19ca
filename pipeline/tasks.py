"""The tasks of a pass, and how a process does one: a task is a slice of the splits, one after the
other, so that its files hold what stands together in the corpus.

`pipeline.executor` says where tasks run. Resume is the commit log's.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence

from prewrite.base.cli import console
from prewrite.base.owned import OwnedFolder
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.gpus import claim
from prewrite.pipeline.limit import FailureLimit
from prewrite.pipeline.loop import PassWorker
from prewrite.pipeline.passes import Pass, Split
from prewrite.pipeline.progress import Progress
from prewrite.pipeline.quarantine import is_suspected
from prewrite.shards.commit_log import CommitLog
from prewrite.shards.manifest import Manifest
from prewrite.shards.merge import Merging, merge_all
from prewrite.shards.names import is_next


class PassTasks:
    """The tasks of a pass; task `rank` of `run.tasks` does slice `rank` of the splits."""

    def __init__(self, job: Pass, splits: list[Split], folder: OwnedFolder, run: RunConfig) -> None:
        self.job, self.splits, self.folder, self.run_config = job, splits, folder, run
        self.slices = slices(splits, run.tasks)
        self.limit = FailureLimit(job.name, run.max_failed)
        self.worker: PassWorker | None = None
        self.stopped = False
        self.opened: Callable[[], None] = _nothing
        self.command = secrets.token_hex(8)

    def run(self, rank: int) -> None:
        """Work through this rank's splits, then merge what was committed; no engine is loaded where
        nothing is left.
        """
        tasks = self.run_config.tasks
        job, mine, commit_log = self.job, self.slices[rank], self.commit_log([rank])
        if not all(is_done(commit_log, split) for split in mine):
            if self.run_config.executor == "local" and self.run_config.gpus_per_task:
                claim(self.run_config.gpus_per_task)
            label = job.name if tasks == 1 else f"{job.name} {rank + 1}/{tasks}"
            asyncio.run(self._work(mine, commit_log, label))
        if not is_next(self.folder.url):  # its parts are merged when it is published
            merge_all(self.commit_log([rank]), self.folder, [split.name for split in mine])

    def commit_log(self, ranks: Sequence[int]) -> CommitLog:
        """What is committed so far of these tasks."""
        mine = {split.name for rank in ranks for split in self.slices[rank]}
        return CommitLog(self.folder, Manifest.load(self.folder), mine)

    def has_suspected(self, ranks: Sequence[int]) -> bool:
        """Whether documents of these tasks are suspected to kill whatever opens them."""
        commit_log = self.commit_log(ranks)
        mine = {split.name for rank in ranks for split in self.slices[rank]}
        return any(is_suspected(commit_log, split) for split in mine & commit_log.marked())

    def stop(self) -> None:
        """From another thread: commit what is finished, then raise Interrupted in `run`."""
        self.stopped = True
        worker = self.worker  # the other thread may take it away
        if worker:
            worker.stop.set()  # nobody waits for it, so no loop has to be woken

    async def _work(self, splits: list[Split], commit_log: CommitLog, label: str) -> None:
        size = sum(split.bytes for split in splits)
        async with self.job.open() as work:
            with Progress(label, size, console) as progress:
                self.worker = PassWorker(
                    self.job.source,
                    work,
                    commit_log,
                    progress,
                    self.run_config.rows_per_part,
                    self.job.max_bad_rows,
                    self.limit,
                    self.opened,
                    self.command,
                    None if is_next(self.folder.url) else Merging(commit_log, self.folder),
                )
                if self.stopped:
                    self.worker.stop.set()
                try:
                    await self.worker.run(splits)
                finally:
                    self.worker = None  # its engine cannot be sent to a process that goes on


def slices(splits: Sequence[Split], tasks: int) -> list[list[Split]]:
    """The splits of each task: in their order, and of about as many bytes as the others'."""
    total, before = sum(split.bytes for split in splits), 0
    found: list[list[Split]] = [[] for _ in range(tasks)]
    for number, split in enumerate(splits):
        middle, all_bytes = (before + split.bytes / 2, total) if total else (number, len(splits))
        found[min(int(middle * tasks / all_bytes), tasks - 1)].append(split)
        before += split.bytes
    return found


def is_done(commit_log: CommitLog, split: Split) -> bool:
    """Whether `split` is committed to its end, and nothing of it is to be made again."""
    records = commit_log.records(split.name)
    return bool(records) and records[-1].last and not any(record.redo for record in records)


def _nothing() -> None:
    """Nobody wants to know."""
