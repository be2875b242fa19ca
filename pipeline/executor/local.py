"""Tasks on this machine: in this process, or in a pool of worker processes.

One worker runs in this process, so that the next pass finds its engine loaded; when that engine
dies, or documents are suspected to kill whatever opens them, in a process of its own.
"""

from collections.abc import Callable, Sequence
from functools import partial

from prewrite.base.cli import console
from prewrite.base.errors import EngineDied
from prewrite.pipeline.limit import FailureLimit
from prewrite.pipeline.tasks import PassTasks
from prewrite.pipeline.worker_pool import WorkerPool


def run_here(tasks: PassTasks, ranks: Sequence[int], workers: int) -> None:
    """Run these tasks on this machine."""
    if workers == 1:
        if not tasks.has_suspected(ranks):
            try:
                for rank in ranks:
                    tasks.run(rank)
                return
            except EngineDied as error:
                console.print(f"{error}; a process of its own continues", soft_wrap=True)
                tasks.limit = FailureLimit(tasks.job.name, tasks.run_config.max_failed)
        else:
            console.print("two runs died at one place; a process of its own continues")
    WorkerPool(partial(_run_task, tasks), ranks, workers).run()


def _run_task(tasks: PassTasks, rank: int, opened: Callable[[], None]) -> None:
    """Run one task in this process."""
    tasks.opened = opened
    tasks.run(rank)
