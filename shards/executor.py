"""Runs the tasks of a pass: one task a slice of the splits, several at a time.

Here, on datatrove's local executor, or on Ray (`shards.ray`); Slurm runs commands of ours
(`shards.slurm`, `shards.steps`). Resume is ours alone (the commit log): datatrove's completion
markers are empty files that know no configuration, so they and its logs go nowhere.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from loguru import logger
from pydantic import Field, field_validator

from prewrite.base.cli import console
from prewrite.base.config import Section
from prewrite.base.errors import ConfigError, EngineDied
from prewrite.base.fingerprint import fingerprint
from prewrite.base.owned import OwnedFolder
from prewrite.shards.commit_log import CommitLog
from prewrite.shards.gpus import claim
from prewrite.shards.limit import Watch
from prewrite.shards.passes import Pass, Split
from prewrite.shards.progress import Progress
from prewrite.shards.quarantine import is_suspected
from prewrite.shards.worker import PassWorker
from prewrite.shards.worker_pool import WorkerPool

# datatrove logs every pipeline and every exception to the terminal; people get our own sentences.
logger.disable("datatrove")


class SlurmConfig(Section):
    """What Slurm is asked for; null leaves it to the cluster's default."""

    partition: str | None = Field(None, description="queue of the jobs")
    time: str | None = Field(None, description="longest time of one task, in quotes: `'24:00:00'`")
    cpus_per_task: int = Field(1, ge=1, description="CPU cores of a task")
    mem_per_cpu_gb: int = Field(4, ge=1, description="memory of a core, in GB")
    sbatch_args: dict[str, str | int] = Field(
        {}, description="any further option of `sbatch`; it overrides those above"
    )
    env_command: str | None = Field(
        None, description="shell line before the command, such as `module load cuda`"
    )
    logs: str = Field(
        "slurm",
        min_length=1,
        description="folder of scripts and logs, on a disk that all nodes see",
    )

    @field_validator("time", mode="before")
    @classmethod
    def _not_a_number(cls, time: Any) -> Any:
        if isinstance(time, int):  # YAML reads 24:00:00 as a number to the base of 60
            raise ValueError("a text in quotes, such as '24:00:00'")
        return time


class RunConfig(Section):
    """How a pass is spread over workers; nothing here changes a row."""

    executor: Literal["local", "slurm", "ray"] = Field("local", description="where the tasks run")
    tasks: int = Field(1, ge=1, description="slices of the input files")
    workers: int = Field(1, ge=1, description="tasks that run at a time; above 1, a process each")
    rows_per_part: int = Field(
        8192,
        ge=1,
        description="rows a part holds at least, except the last of a file; a kill costs at most "
        "two parts a worker",
    )
    max_failed: float = Field(
        0.9,
        ge=0,
        le=1,
        description="share of the rows asked about that may fail before the run ends; 1: all of "
        "them",
    )
    gpus_per_task: int = Field(
        0, ge=0, description="GPUs of a worker; 0: locally all it finds, elsewhere none"
    )
    slurm: SlurmConfig = Field(SlurmConfig(), description="what Slurm is asked for")
    step: str | None = Field(
        None, description="do only this step of a run: `PASS:start`, `PASS:NUMBER` or `PASS:finish`"
    )


class PassStep(PipelineStep):  # type: ignore[misc]  # datatrove has no types
    """datatrove's view of a pass: task `rank` of `world_size` takes every world_size-th split."""

    name = "prewrite pass"
    type = "pass"

    def __init__(self, job: Pass, splits: list[Split], folder: OwnedFolder, run: RunConfig) -> None:
        super().__init__()
        self.job, self.splits, self.folder, self.run_config = job, splits, folder, run
        self.watch = Watch(job.name, run.max_failed)
        self.worker: PassWorker | None = None
        self.stopped = False
        self.opened: Callable[[], None] = _nothing
        self.command = secrets.token_hex(8)

    def run(self, data: None, rank: int = 0, world_size: int = 1) -> None:
        """Work through this rank's splits; no engine is loaded where nothing is left."""
        job, mine, commit_log = self.job, self.splits[rank::world_size], self.commit_log()
        if all(is_done(commit_log, split) for split in mine):
            return
        if self.run_config.executor == "local" and self.run_config.gpus_per_task:
            claim(self.run_config.gpus_per_task)
        label = job.name if world_size == 1 else f"{job.name} {rank + 1}/{world_size}"
        asyncio.run(self._work(mine, commit_log, label))

    def commit_log(self) -> CommitLog:
        """What is committed so far."""
        made, owner = fingerprint(self.job.config()), self.folder.owner
        return CommitLog(self.folder, self.job.columns, made, owner)

    def has_suspected(self, ranks: Sequence[int]) -> bool:
        """Whether documents of these tasks are suspected to kill whatever opens them."""
        commit_log, tasks = self.commit_log(), self.run_config.tasks
        mine = {split.name for rank in ranks for split in self.splits[rank::tasks]}
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
                    self.watch,
                    self.opened,
                    self.command,
                )
                if self.stopped:
                    self.worker.stop.set()
                try:
                    await self.worker.run(splits)
                finally:
                    self.worker = None  # its engine cannot be sent to a process that goes on


def is_done(commit_log: CommitLog, split: Split) -> bool:
    """Whether `split` is committed to its end, and nothing of it is to be made again."""
    records = commit_log.records(split.name)
    return bool(records) and records[-1].last and not any(record.redo for record in records)


def execute(job: Pass, splits: list[Split], folder: OwnedFolder, run: RunConfig) -> None:
    """Run all splits to their end; the first error (or Interrupted) of any task is raised.

    One local worker runs in this process, so that the next pass finds its engine loaded; when that
    engine dies, or documents are suspected to kill whatever opens them, in a process of its own.
    """
    step = PassStep(job, splits, folder, run)
    if run.executor == "ray":
        from prewrite.shards.ray import run_on_ray

        run_on_ray(step)
    elif run.executor == "slurm":
        raise ConfigError("run.executor: found 'slurm'; accepted from Python: local, ray")
    else:
        run_here(step, range(run.tasks), run.workers)


def run_here(step: PassStep, ranks: Sequence[int], workers: int) -> None:
    """Run these tasks on this machine."""
    if workers == 1:
        if not step.has_suspected(ranks):
            try:
                _run_tasks(step, ranks)
                return
            except EngineDied as error:
                console.print(f"{error}; a process of its own continues", soft_wrap=True)
                step.watch = Watch(step.job.name, step.run_config.max_failed)
        else:
            console.print("two runs died at one place; a process of its own continues")
    WorkerPool(partial(_run_task, step), ranks, workers).run()


def _run_task(step: PassStep, rank: int, opened: Callable[[], None]) -> None:
    """Run one task in this process."""
    step.opened = opened
    _run_tasks(step, [rank])


def _nothing() -> None:
    """Nobody wants to know."""


class _Executor(LocalPipelineExecutor):  # type: ignore[misc]
    """datatrove's local executor without its manager process, which outlives a killed run."""

    def run(self) -> None:
        """Run this executor's task in this process."""
        self._run_for_rank(self.local_rank_offset)


def _run_tasks(step: PassStep, ranks: Sequence[int]) -> None:
    """Run these tasks in this process, one after the other."""
    for rank in ranks:
        _Executor(
            pipeline=[step],
            tasks=step.run_config.tasks,
            workers=1,
            logging_dir="memory://prewrite",
            skip_completed=False,
            local_tasks=1,
            local_rank_offset=rank,
        ).run()
