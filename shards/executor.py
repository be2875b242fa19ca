"""Runs the tasks of a pass: one task a slice of the splits, several at a time.

Here, on datatrove's local executor, or on Ray (`shards.ray`); Slurm runs commands of ours
(`shards.slurm`, `shards.steps`). Resume is ours alone (the journal): datatrove's completion markers
are empty files that know no configuration, so they and its logs go nowhere. A worker whose parent
dies ends itself, so that no engine outlives a killed run.
"""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Literal, cast

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from loguru import logger
from pydantic import Field, field_validator

from base.cli import console
from base.config import Section
from base.errors import ConfigError, Interrupted, PrewriteError, ShardError
from base.files import Folder
from base.fingerprint import fingerprint
from shards.gpus import claim
from shards.journal import Journal
from shards.passes import Pass, Split
from shards.progress import Progress
from shards.worker import Worker

# datatrove logs every pipeline and every exception to the terminal; people get our own sentences.
logger.disable("datatrove")


class SlurmConfig(Section):
    """What Slurm is asked for; null leaves it to the cluster."""

    partition: str | None = Field(None, description="queue of the jobs")
    time: str | None = Field(None, description="limit of one task, in quotes: '24:00:00'")
    cpus_per_task: int = Field(1, ge=1, description="CPU cores of a task")
    mem_per_cpu_gb: int = Field(4, ge=1, description="memory of a core, in GB")
    sbatch_args: dict[str, str | int] = Field({}, description="any further option of sbatch")
    env_command: str | None = Field(None, description="shell line before the command")
    logs: str = Field("slurm", min_length=1, description="folder of scripts and logs")

    @field_validator("time", mode="before")
    @classmethod
    def _not_a_number(cls, time: Any) -> Any:
        if isinstance(time, int):  # YAML reads 24:00:00 as a number to the base of 60
            raise ValueError("a text in quotes, such as '24:00:00'")
        return time


class RunConfig(Section):
    """How a pass is spread; nothing here changes a row."""

    executor: Literal["local", "slurm", "ray"] = Field("local", description="who runs the tasks")
    tasks: int = Field(1, ge=1, description="slices of the input files")
    workers: int = Field(1, ge=1, description="tasks that run at a time, a process each")
    rows_per_part: int = Field(
        8192, ge=1, description="rows a Parquet part holds at least; a kill costs at most two parts"
    )
    gpus_per_task: int = Field(0, ge=0, description="GPUs of a worker; 0: whatever it finds")
    slurm: SlurmConfig = Field(SlurmConfig(), description="what Slurm is asked for")
    step: str | None = Field(None, description="do only this step; see shards.steps")


class PassStep(PipelineStep):  # type: ignore[misc]  # datatrove has no types
    """datatrove's view of a pass: task `rank` of `world_size` takes every world_size-th split."""

    name = "prewrite pass"
    type = "pass"

    def __init__(self, job: Pass, splits: list[Split], output: str, run: RunConfig) -> None:
        super().__init__()
        self.job, self.splits, self.output, self.run_config = job, splits, output, run
        self.worker: Worker | None = None
        self.stopped = False

    def run(self, data: None, rank: int = 0, world_size: int = 1) -> None:
        """Work through this rank's splits; no engine is loaded where nothing is left."""
        job, mine = self.job, self.splits[rank::world_size]
        journal = Journal(Folder(self.output), job.columns, fingerprint(job.config()))
        if all(is_done(journal, split) for split in mine):
            return
        if self.run_config.executor == "local" and self.run_config.gpus_per_task:
            claim(self.run_config.gpus_per_task)
        label = job.name if world_size == 1 else f"{job.name} {rank + 1}/{world_size}"
        asyncio.run(self._work(mine, journal, label))

    def stop(self) -> None:
        """From another thread: commit what is finished, then raise Interrupted in `run`."""
        self.stopped = True
        if self.worker:
            self.worker.stop.set()  # nobody waits for it, so no loop has to be woken

    async def _work(self, splits: list[Split], journal: Journal, label: str) -> None:
        size = sum(split.bytes for split in splits)
        async with self.job.open() as work:
            with Progress(label, size, console) as progress:
                self.worker = Worker(
                    self.job.source,
                    work,
                    journal,
                    progress,
                    self.run_config.rows_per_part,
                    self.job.max_bad_rows,
                )
                if self.stopped:
                    self.worker.stop.set()
                await self.worker.run(splits)


def is_done(journal: Journal, split: Split) -> bool:
    """Whether `split` is committed to its end."""
    records = journal.records(split.name)
    return bool(records) and records[-1].last


def execute(job: Pass, splits: list[Split], output: str, run: RunConfig) -> None:
    """Run all splits to their end; the first error (or Interrupted) of any task is raised.

    One local worker runs in this process, so that the next pass finds its engine loaded.
    """
    step = PassStep(job, splits, output, run)
    if run.executor == "ray":
        from shards.ray import run_on_ray

        run_on_ray(step)
    elif run.executor == "slurm":
        raise ConfigError("run.executor: found 'slurm'; accepted from Python: local, ray")
    elif run.workers == 1:
        _run_tasks(step, run.tasks, 0, run.tasks)
    else:
        _run_in_processes(step, run)


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


def _run_in_processes(step: PassStep, run: RunConfig) -> None:
    """Worker processes, each handed one task after the other over a pipe of its own.

    A pool with a shared queue will not do: it has the next task ready for a worker that was just
    stopped, a killed worker may hold the queue's lock, and datatrove's own waits for it for ever.
    """
    ranks = iter(range(run.tasks))
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    crew: dict[Connection, BaseProcess] = {}
    done = False
    try:
        for rank in islice(ranks, run.workers):
            _hire(crew, step, run.tasks).send(rank)
        _hand_out(ranks, list(crew))
        done = True
    except (EOFError, ConnectionError):
        raise ShardError("a worker process died; run the same command to continue") from None
    except KeyboardInterrupt:
        raise Interrupted("interrupted after a clean commit; the same command continues") from None
    finally:
        # A worker without a pipe goes; one with a task commits first what it has finished.
        for line, process in crew.items():
            line.close()
            if not done:
                process.terminate()
        for process in crew.values():
            process.join()
        signal.signal(signal.SIGTERM, earlier)


def _hire(crew: dict[Connection, BaseProcess], step: PassStep, tasks: int) -> Connection:
    """Start one more worker; returns our end of its pipe."""
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    crew[ours] = context.Process(target=_serve, args=(theirs, os.getpid(), step, tasks))
    crew[ours].start()
    theirs.close()
    return ours


def _hand_out(ranks: Iterator[int], lines: list[Connection]) -> None:
    """Give each worker that is done the next rank; raise what one of them has met."""
    while lines:
        for line in cast(list[Connection], wait(lines)):
            failure = line.recv()
            if failure is not None:
                raise failure
            rank = next(ranks, None)
            if rank is None:
                lines.remove(line)
            else:
                line.send(rank)


def _serve(line: Connection, parent: int, step: PassStep, tasks: int) -> None:
    """A worker's life: run each rank that comes, say how it went; the pipe's end is its end."""
    _end_with(parent)
    with suppress(EOFError, ConnectionError):
        while True:
            rank, failure = line.recv(), None
            try:
                _run_tasks(step, tasks, rank, 1)
            except PrewriteError as error:
                failure = error
            line.send(failure)


def _end_with(parent: int) -> None:
    """In a worker: leave Ctrl-C to the parent, and end once the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
