"""Worker processes that are handed one task after the other, and replaced when they die.

A worker that was killed, or whose engine died, is replaced by another one that is handed the same
task: the commit log says how far it was, and `pipeline.quarantine` which document not to open. A
task whose workers die `_TRIES` times in a row before any has opened a document ends the run. Ends
with its parent: a worker whose parent is gone ends itself, so that no engine outlives a killed run.
"""

import os
import signal
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import cast

from prewrite.base.cli import console, sentence
from prewrite.base.errors import EngineDied, Interrupted, ShardError
from prewrite.base.processes import end_with_parent, exit_cause

WorkerTask = Callable[[int, Callable[[], None]], None]
"""Does the task of a number in this process; calls the function before it opens documents."""

_TRIES = 3
_OPENED = "opened"  # what a worker says beside how a task went: an exception, or None


@dataclass
class _Worker:
    """A worker process and the task it has."""

    process: BaseProcess
    rank: int


class WorkerPool:
    """`workers` processes that do the tasks `ranks` of `task`, which must be picklable."""

    def __init__(self, task: WorkerTask, ranks: Sequence[int], workers: int) -> None:
        self.task, self.workers = task, workers
        self._ranks = iter(ranks)
        self._workers: dict[Connection, _Worker] = {}
        self._in_vain: Counter[int] = Counter()

    def run(self) -> None:
        """Do all tasks; the first error (or Interrupted) of any is raised.

        A pool with a shared queue will not do: it has the next task ready for a worker that was
        just stopped, and a killed worker may hold the queue's lock for ever.
        """
        earlier = signal.signal(signal.SIGTERM, signal.default_int_handler)
        done = False
        try:
            for rank in islice(self._ranks, self.workers):
                self._start(rank)
            while self._workers:
                for line in cast(list[Connection], wait(list(self._workers))):
                    self._hear(line)
            done = True
        except KeyboardInterrupt:
            text = "interrupted after a clean commit; the same command continues"
            raise Interrupted(text) from None
        finally:
            self._dismiss(at_once=not done)
            signal.signal(signal.SIGTERM, earlier)

    def _start(self, rank: int) -> None:
        """One more worker, with a task."""
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, os.getpid(), self.task))
        process.start()
        self._workers[ours] = _Worker(process, rank)
        theirs.close()
        with suppress(ConnectionError):  # dead already: `_hear` finds out
            ours.send(rank)

    def _hear(self, line: Connection) -> None:
        """Take what a worker says; raise what it has met, replace it when it is dead."""
        worker = self._workers[line]
        try:
            said = line.recv()
        except (EOFError, ConnectionError):
            said = EngineDied("")
        if said == _OPENED:
            self._in_vain[worker.rank] = 0
        elif isinstance(said, EngineDied):
            self._replace(line, worker, str(said))
        elif said is not None:
            raise said
        else:
            self._next(line, worker)

    def _next(self, line: Connection, worker: _Worker) -> None:
        """The next task for a worker that is done with one; its pipe's end is its end."""
        rank = next(self._ranks, None)
        if rank is not None:
            worker.rank = rank
            with suppress(ConnectionError):
                line.send(rank)
            return
        del self._workers[line]
        line.close()
        worker.process.join()

    def _replace(self, line: Connection, worker: _Worker, why: str) -> None:
        del self._workers[line]
        line.close()
        worker.process.join(10)
        worker.process.kill()  # a dead engine may keep its process from ending
        worker.process.join()
        self._in_vain[worker.rank] += 1
        why = why or exit_cause(worker.process.exitcode)
        if self._in_vain[worker.rank] >= _TRIES:
            raise ShardError(
                f"the workers of task {worker.rank + 1} died {_TRIES} times in a row ({why}); "
                "run the same command to continue"
            )
        console.print(
            f"task {worker.rank + 1}: its worker died ({why}); another one continues",
            soft_wrap=True,
        )
        self._start(worker.rank)

    def _dismiss(self, at_once: bool) -> None:
        """A worker without a pipe goes; one with a task commits first what it has finished."""
        for line, worker in self._workers.items():
            line.close()
            if at_once:
                worker.process.terminate()
        try:
            for worker in self._workers.values():
                worker.process.join()
        except KeyboardInterrupt:  # a second one does not wait
            for worker in self._workers.values():
                worker.process.kill()
            raise


def _serve(line: Connection, parent: int, task: WorkerTask) -> None:
    """A worker's life: do each task that comes, say how it went; the pipe's end is its end.

    Ctrl-C is left to the parent.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)

    def opened() -> None:
        line.send(_OPENED)

    with suppress(EOFError, ConnectionError):
        while True:
            failure = _failure_of(task, line.recv(), opened)
            line.send(failure)
            if isinstance(failure, EngineDied):
                return


def _failure_of(task: WorkerTask, rank: int, opened: Callable[[], None]) -> Exception | None:
    """What a task ended with; what is a bug is shown where it happened."""
    try:
        task(rank, opened)
    except ConnectionError:
        raise  # the parent does not listen any more
    except Exception as error:
        known = sentence(error)
        if known is None:
            traceback.print_exc()
        return known or ShardError("a worker failed in a way that is a bug; see the lines above")
    return None
