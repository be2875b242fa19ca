"""Runs the tasks of a pass on Ray: an actor a worker, each handed one task after the other.

Ray's own actors and not datatrove's Ray executor: that one forgets a task's error and ends well,
loads the engine anew for every task, and forks a pool inside the actor. An actor that dies is
started again by Ray, and its task with it; by the commit log this costs only what was not
committed. RAY_ADDRESS names the cluster; without it a Ray of this machine's own serves the run.
"""

import logging
import os
import secrets
import signal
from typing import Any

from prewrite.base.errors import Interrupted, PrewriteError, ShardError
from prewrite.pipeline.tasks import PassTasks

_RESTARTS = 3
"""Times that Ray starts a dead worker again, and a task that died with it."""


class _Actor:
    """A worker: its engine stays loaded from task to task."""

    def __init__(self, tasks: PassTasks, folder: str) -> None:
        self.tasks, self.folder = tasks, folder

    def ready(self) -> None:
        """Answered as soon as this worker lives."""

    def run(self, rank: int) -> PrewriteError | None:
        """Run one task; what it met, where it met something."""
        try:
            os.chdir(self.folder)
            self.tasks.run(rank)
        except PrewriteError as error:
            return error
        return None

    def stop(self) -> None:
        """Make `run` commit what is finished and return."""
        self.tasks.stop()


def run_on_ray(tasks: PassTasks) -> None:
    """Run all tasks; the first error of any of them is raised."""
    run = tasks.run_config
    ray = _connected(run.workers)
    earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
    make = ray.remote(_Actor).options(
        num_cpus=1,
        num_gpus=run.gpus_per_task,
        max_concurrency=2,  # `stop` is heard while `run` runs
        max_restarts=_RESTARTS,
        max_task_retries=_RESTARTS,
    )
    workers = [make.remote(tasks, os.getcwd()) for _ in range(run.workers)]
    busy: dict[Any, Any] = {}
    try:
        _hand_out(ray, workers, busy, run.tasks)
    except KeyboardInterrupt:
        _stop(ray, busy)
        raise Interrupted("interrupted after a clean commit; the same command continues") from None
    except PrewriteError:
        _stop(ray, busy)
        raise
    except ray.exceptions.RayActorError:
        _stop(ray, busy)
        raise ShardError(
            f"a worker on Ray died {_RESTARTS + 1} times; run the same command to continue"
        ) from None
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _hand_out(ray: Any, workers: list[Any], busy: dict[Any, Any], tasks: int) -> None:
    """Give each worker that lives the next task; one that the cluster has no place for holds
    nothing up. `busy`: the workers by the answer they owe.
    """
    starting = {worker.ready.remote(): worker for worker in workers}
    ranks, ended = iter(range(tasks)), 0
    while ended < tasks:
        (answer,), _ = ray.wait([*starting, *busy], num_returns=1)
        failure = ray.get(answer)
        ended += answer in busy
        worker = busy.pop(answer, None) or starting.pop(answer)
        if failure is not None:
            raise failure
        rank = next(ranks, None)
        if rank is not None:
            busy[worker.run.remote(rank)] = worker


def _stop(ray: Any, busy: dict[Any, Any]) -> None:
    """Let every worker commit what it has finished."""
    for worker in busy.values():
        worker.stop.remote()
    if busy:
        ray.wait(list(busy), num_returns=len(busy))


def _connected(workers: int) -> Any:
    """The module `ray`, connected to the cluster of RAY_ADDRESS or to one of our own, which the
    next pass uses, too, and which ends with this process.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        # Ray listens on all interfaces, and whoever may talk to it may run code.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    import ray

    if ray.is_initialized():
        return ray
    own: dict[str, Any] = {
        "num_cpus": workers,
        "include_dashboard": False,
        "object_store_memory": 1 << 27,
        "_node_ip_address": "127.0.0.1",
    }
    try:
        ray.init(address or "local", logging_level=logging.ERROR, **({} if address else own))
    except ConnectionError as error:
        raise PrewriteError(f"the Ray cluster {address} cannot be reached: {error}") from None
    except OSError as error:  # such as a TMPDIR whose path is too long for a socket
        raise PrewriteError(f"Ray cannot be started on this machine: {error}") from None
    return ray
