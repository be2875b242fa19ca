"""Runs a pass on datatrove's local executor: one task a slice of the splits, several at a time.

Resume is ours alone (the journal): datatrove's completion markers are empty files that know no
configuration, so they and its logs go nowhere.
"""

import asyncio
from collections.abc import Callable
from functools import partial

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from loguru import logger
from pydantic import Field

from base.cli import console
from base.config import Section
from base.errors import EngineDied
from base.files import Folder
from base.fingerprint import fingerprint
from shards.crew import Crew
from shards.journal import Journal
from shards.passes import Pass, Split
from shards.progress import Progress
from shards.worker import Worker

# datatrove logs every pipeline and every exception to the terminal; people get our own sentences.
logger.disable("datatrove")


class RunConfig(Section):
    """How a pass is spread; nothing here changes a row."""

    executor: str = Field("local", pattern="^local$", description="who runs the tasks: local")
    tasks: int = Field(1, ge=1, description="slices of the input files")
    workers: int = Field(1, ge=1, description="tasks that run at a time, a process each")
    rows_per_part: int = Field(
        8192, ge=1, description="rows a Parquet part holds at least; a kill costs at most two parts"
    )


class PassStep(PipelineStep):  # type: ignore[misc]  # datatrove has no types
    """datatrove's view of a pass: task `rank` of `world_size` takes every world_size-th split."""

    name = "prewrite pass"
    type = "pass"

    def __init__(self, job: Pass, splits: list[Split], output: str, run: RunConfig) -> None:
        super().__init__()
        self.job, self.splits, self.output, self.run_config = job, splits, output, run
        self.opened: Callable[[], None] = _nothing

    def run(self, data: None, rank: int = 0, world_size: int = 1) -> None:
        """Work through this rank's splits."""
        mine = self.splits[rank::world_size]
        if mine:
            asyncio.run(self._work(mine, rank, world_size))

    async def _work(self, splits: list[Split], rank: int, world_size: int) -> None:
        job = self.job
        journal = Journal(Folder(self.output), job.columns, fingerprint(job.config()))
        label = job.name if world_size == 1 else f"{job.name} {rank + 1}/{world_size}"
        size = sum(split.bytes for split in splits)
        async with job.open() as work:
            with Progress(label, size, console) as progress:
                worker = Worker(
                    job.source,
                    work,
                    journal,
                    progress,
                    self.run_config.rows_per_part,
                    job.max_bad_rows,
                    self.opened,
                )
                await worker.run(splits)


def execute(job: Pass, splits: list[Split], output: str, run: RunConfig) -> None:
    """Run all splits to their end; the first error (or Interrupted) of any task is raised.

    One worker runs in this process, so that the next pass finds its engine loaded; when that engine
    dies, worker processes go on.
    """
    step = PassStep(job, splits, output, run)
    if run.workers == 1:
        try:
            _run_tasks(step, run.tasks, 0, run.tasks)
            return
        except EngineDied as error:
            console.print(f"{error}; a process of its own continues", soft_wrap=True)
    Crew(partial(_run_task, step, run.tasks), run.tasks, run.workers).run()


def _run_task(step: PassStep, tasks: int, rank: int, opened: Callable[[], None]) -> None:
    """Run one of `tasks` tasks in this process."""
    step.opened = opened
    _run_tasks(step, tasks, rank, 1)


def _nothing() -> None:
    """Nobody wants to know."""


class _Executor(LocalPipelineExecutor):  # type: ignore[misc]
    """datatrove's local executor without its manager process, which outlives a killed run."""

    def run(self) -> None:
        """Run this executor's tasks in this process, one after the other."""
        for rank in range(self.local_rank_offset, self.local_rank_offset + self.local_tasks):
            self._run_for_rank(rank)


def _run_tasks(step: PassStep, tasks: int, first: int, count: int) -> None:
    """Run `count` of `tasks` tasks in this process."""
    _Executor(
        pipeline=[step],
        tasks=tasks,
        workers=1,
        logging_dir="memory://prewrite",
        skip_completed=False,
        local_tasks=count,
        local_rank_offset=first,
    ).run()
