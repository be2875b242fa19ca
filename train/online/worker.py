"""The rollout worker: a process beside the trainer that samples and judges.

It holds the policy in vLLM and the judge's engines, and nothing of the trainer's torch.distributed.
Commands (`groups`) are done in their order: a `WeightSync` waits until all sampling before it is
done. While one request is judged the next may be sampled; responses leave in the order of the
requests. Whatever cannot be gone on from ends it with one `Failed`. It ends with its parent,
however that ends, and takes along whatever engines have started; SIGINT and SIGTERM, which a
terminal or a scheduler sends to all, it leaves to the trainer.
"""

import asyncio
import os
import signal
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from prewrite.base.errors import ConfigError, PrewriteError
from prewrite.base.extras import missing
from prewrite.base.processes import end_with_parent
from prewrite.engine.config import EngineConfig
from prewrite.engine.registry import close_engines
from prewrite.prompts.usage import usage_of
from prewrite.shards.manifest import Usage
from prewrite.train.config.rollouts import RolloutsConfig
from prewrite.train.config.task import Task
from prewrite.train.messages import (
    Failed,
    Metrics,
    Rollout,
    RolloutGroup,
    RolloutPrompt,
    RolloutRequest,
    RolloutResponse,
    WeightSync,
)
from prewrite.train.online.earnings import earnings_of
from prewrite.train.online.policy import Policy
from prewrite.train.online.store import RolloutStoreWriter
from prewrite.train.tasks.earned import Earned, SampledPrompt


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker is made from. task: what the prompts ask. end: the token that ends an answer.
    store: the folder in which
    groups are kept; none: they are not. rank: of the trainer's process among the data parallel
    ones.
    """

    config: RolloutsConfig
    task: Task
    engines: Mapping[str, EngineConfig]
    end: int
    store: Path | None
    rank: int


@dataclass
class _Work:
    """What an ask has taken so far. judging: tasks that give the groups of a document. begun,
    ended: the clock at the first question to the judge, and at its last answer.
    """

    sampled: Usage = field(default_factory=Usage)
    judged: Usage = field(default_factory=Usage)
    sample_seconds: float = 0.0
    begun: float = float("inf")
    ended: float = float("-inf")
    judging: list["asyncio.Task[list[RolloutGroup]]"] = field(default_factory=list)

    def values(self) -> Metrics:
        """As metrics; a number that an engine does not tell is NaN."""
        found = {
            "rollout_seconds": self.sample_seconds,
            "judge_seconds": max(0.0, self.ended - self.begun),
        }
        for name, usage in (("rollout", self.sampled), ("judge", self.judged)):
            told = {key: float("nan") if n is None else float(n) for key, n in usage}
            found |= {f"{name}_{key}": number for key, number in told.items()}
        return found


class RolloutWorker:
    """Loads the engines of `start`, then does what comes over `connection`."""

    def __init__(self, start: WorkerConfig, connection: Connection) -> None:
        self._start, self._connection = start, connection
        self._earnings = earnings_of(start.task, start.config, start.engines)
        policy = start.engines[start.config.engine]
        assert policy.kind == "vllm", "the recipe refuses others"
        self._policy = Policy(policy, start.config, start.end)
        self._store = RolloutStoreWriter(start.store, start.rank) if start.store else None

    async def serve(self, commands: "asyncio.Queue[WeightSync | RolloutRequest]") -> None:
        """Do commands until cancelled; raises what ends the worker."""
        async with asyncio.TaskGroup() as tasks:
            before = tasks.create_task(asyncio.sleep(0))
            while True:
                command = await commands.get()
                if isinstance(command, WeightSync):
                    await self._sync(command)
                    continue
                work = await self._sample(command, tasks)
                if commands.empty():
                    await self._policy.rest()
                before = tasks.create_task(self._answer(command, work, before))

    def close(self) -> None:
        """Free the models."""
        self._policy.close()
        close_engines()

    async def _sync(self, sync: WeightSync) -> None:
        synced = await self._policy.sync(sync)
        Path(sync.folder, f"loaded-{self._start.rank}").touch()  # `sync.publish` waits for all
        self._connection.send(synced)

    async def _sample(self, ask: RolloutRequest, tasks: asyncio.TaskGroup) -> _Work:
        """Sample all prompts; the judge begins with a document as soon as it is complete."""
        if ask.version != self._policy.version:
            raise PrewriteError(
                f"an ask out of order: found one for version {ask.version}; accepted: "
                f"{self._policy.version}, which the engine has"
            )
        work, begun = _Work(), time.monotonic()

        async def document(prompts: Sequence[RolloutPrompt]) -> "asyncio.Task[list[RolloutGroup]]":
            told = await asyncio.gather(*(self._policy.sample(p, ask.rollouts) for p in prompts))
            work.sampled += usage_of(*(one for _, one in told))
            for prompt, (_, one) in zip(prompts, told, strict=True):
                if one.error:
                    print(f"sample {prompt.sample}, {prompt.id}: {one.error}", flush=True)
            found = [
                (prompt, rollouts) for prompt, (rollouts, _) in zip(prompts, told, strict=True)
            ]
            return tasks.create_task(self._judge(ask, found, work))

        # The prompts of a sample are cuts of one document and share its beginning.
        documents = [list(some) for _, some in groupby(ask.prompts, lambda prompt: prompt.sample)]
        work.judging = list(await asyncio.gather(*map(document, documents)))
        work.sample_seconds = time.monotonic() - begun
        return work

    async def _judge(
        self, ask: RolloutRequest, sampled: Sequence[SampledPrompt], work: _Work
    ) -> list[RolloutGroup]:
        """The groups of one document."""
        work.begun = min(work.begun, time.monotonic())
        there = [one for one in sampled if one[1]]
        earned = iter(await self._earnings(there))
        groups = list[RolloutGroup]()
        for prompt, rollouts in sampled:
            found = next(earned) if rollouts else Earned()
            work.judged += found.usage
            groups.append(_group(ask, prompt, rollouts, found))
        work.ended = max(work.ended, time.monotonic())
        return groups

    async def _answer(self, ask: RolloutRequest, work: _Work, before: "asyncio.Task[Any]") -> None:
        """Keep the groups of an ask and send them, after the answer before."""
        groups = [group for task in work.judging for group in await task]
        await before
        if ask.keep and self._store:
            await asyncio.to_thread(self._store.append, ask.number, groups)
        self._connection.send(RolloutResponse(ask.number, tuple(groups), work.values()))


def main(descriptor: int, parent: int) -> None:
    """A worker of the process `parent`, to which it talks over the socket `descriptor`; the first
    message is its `WorkerConfig`.
    """
    end_with_parent(parent, _die)  # another child of the parent may hold the socket open
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)  # ignored, but not by what this process starts
    connection = Connection(descriptor)
    start: WorkerConfig = connection.recv()
    try:
        asyncio.run(_serve(start, connection))
    except asyncio.CancelledError:
        pass  # it was told to end
    except BaseException as error:
        traceback.print_exc()
        connection.send(_failed(error))
        raise SystemExit(1) from None


async def _serve(start: WorkerConfig, connection: Connection) -> None:
    commands: asyncio.Queue[WeightSync | RolloutRequest] = asyncio.Queue()
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task

    def read() -> None:
        while True:
            try:
                command = connection.recv()
            except (EOFError, OSError):
                _die()
            with suppress(RuntimeError):  # the loop has ended, for another reason
                if command is None:
                    loop.call_soon_threadsafe(task.cancel)
                else:
                    loop.call_soon_threadsafe(commands.put_nowait, command)

    # From now on: a parent that dies while engines load ends this process, too.
    threading.Thread(target=read, daemon=True).start()
    worker = RolloutWorker(start, connection)
    try:
        await worker.serve(commands)
    finally:
        worker.close()


def _die() -> None:
    """End this process and all that engines have started; `client` made it a group of its own."""
    os.killpg(0, signal.SIGKILL)


def _failed(error: BaseException) -> Failed:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    known = missing(error) or error
    if isinstance(known, PrewriteError):
        return Failed(str(known), "config" if isinstance(known, ConfigError) else "engine")
    text = " ".join(str(error).split())
    return Failed(f"the rollout worker failed: {type(error).__name__}: {text[:500]}")


def _group(
    ask: RolloutRequest, prompt: RolloutPrompt, rollouts: tuple[Rollout, ...], earned: Earned
) -> RolloutGroup:
    return RolloutGroup(
        sample=prompt.sample,
        id=prompt.id,
        prompt=prompt.digest,
        version=ask.version,
        rollouts=rollouts if earned.kept is None else earned.kept,
        scores=earned.scores,
        values=earned.values,
        counts=dict(earned.counts) if rollouts else {"rollout_failed": ask.rollouts},
    )
