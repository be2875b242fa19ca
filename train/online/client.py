"""The trainer's end of a rollout worker: it starts the process, asks, and waits for answers.

A thread takes in whatever the worker says, so that the worker never waits for the trainer. An error
instead of a hang: a worker that has died, one that says `Failed`, and one that has said nothing for
`train.rollouts.timeout` seconds end in one sentence. Whatever the worker has started ends with it.
"""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import torch

from prewrite.base.errors import ConfigError, EngineError, PrewriteError
from prewrite.base.processes import exit_cause, last_words
from prewrite.engine.config import EngineConfig
from prewrite.train.config.sections import TrainConfig
from prewrite.train.messages import (
    Failed,
    RolloutRequest,
    RolloutResponse,
    WeightsSynced,
    WeightSync,
)
from prewrite.train.online.worker import WorkerConfig

T = TypeVar("T")

_TORCHRUN = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_")
_COMMAND = (
    "import sys; from prewrite.train.online.worker import main; main(*map(int, sys.argv[1:]))"
)
_GRACE = 5.0  # seconds to free models in


class WorkerClient:
    """A worker for the run of `config`, by itself a process group.

    end: the token that ends a text. store: the folder in which it keeps groups. rank: of this
    process among the data parallel ones.
    """

    def __init__(
        self,
        config: TrainConfig,
        engines: Mapping[str, EngineConfig],
        end: int,
        store: Path | None,
        rank: int,
    ) -> None:
        assert config.rollouts
        self._timeout = config.rollouts.timeout
        self._log = Path(config.output) / "rollouts" / f"worker-{rank}.log"
        self._news = threading.Condition()
        self._answers: dict[int, RolloutResponse] = {}
        self._synced: WeightsSynced | None = None
        self._failure: PrewriteError | None = None
        self._heard = time.monotonic()
        self._process, self._connection = self._begin()
        self._connection.send(WorkerConfig(config.rollouts, config.task, engines, end, store, rank))
        threading.Thread(target=self._listen, name="rollouts", daemon=True).start()

    @property
    def pid(self) -> int:
        """The worker's."""
        return self._process.pid

    @property
    def difference(self) -> float:
        """Mean absolute difference of log-probabilities at the last sync, nats; before it 0."""
        return self._synced.difference if self._synced else 0.0

    @property
    def load_seconds(self) -> float:
        """How long the last sync took; before it 0."""
        return self._synced.seconds if self._synced else 0.0

    def send(self, command: WeightSync | RolloutRequest) -> None:
        """Give the worker something to do; returns before it is done."""
        if self._failure:
            raise self._failure
        try:
            self._connection.send(command)
        except BlockingIOError:
            self._fail(self._silent())
        except OSError:
            self._wait(lambda: None)  # it has died: whoever listens knows why
        if self._failure:
            raise self._failure

    def answer(self, number: int) -> RolloutResponse:
        """The answer to the ask with this number, once; waits for it.

        EngineError when the worker is dead, hung or cannot go on; ConfigError when a configuration
        is why.
        """
        return self._wait(lambda: self._answers.pop(number, None))

    def synced(self, version: int) -> WeightsSynced:
        """What the worker said when it had these weights, or later ones; waits, as `answer`."""

        def found() -> WeightsSynced | None:
            last = self._synced
            return last if last and last.version >= version else None

        return self._wait(found)

    def close(self) -> None:
        """End the worker and all that it has started; nothing happens when it has ended."""
        with suppress(OSError):
            self._connection.send(None)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
        self._kill()

    def _begin(self) -> tuple["subprocess.Popen[bytes]", Connection]:
        ours, theirs = socket.socketpair()
        # A worker that is stopped reads nothing; then writing must end, too.
        limit = struct.pack("ll", int(self._timeout) + 1, 0)
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, open(self._log, "wb") as log:
            process = start(theirs.fileno(), log.fileno())
        return process, Connection(ours.detach())

    def _listen(self) -> None:
        while True:
            try:
                said = self._connection.recv()
            except (EOFError, OSError):
                break
            with self._news:
                self._heard = time.monotonic()
                if isinstance(said, RolloutResponse):
                    self._answers[said.number] = said
                elif isinstance(said, WeightsSynced):
                    self._synced = said
                elif isinstance(said, Failed):
                    kind = ConfigError if said.kind == "config" else EngineError
                    self._failure = self._failure or kind(said.sentence)
                self._news.notify_all()
        code = self._process.wait()
        died = f"the rollout worker died ({exit_cause(code)}); {self._last_words()}"
        with self._news:
            self._failure = self._failure or EngineError(died)
            self._news.notify_all()

    def _wait(self, take: Callable[[], T | None]) -> T:
        begun = time.monotonic()
        with self._news:
            while (found := take()) is None:
                if self._failure:
                    break
                left = max(begun, self._heard) + self._timeout - time.monotonic()
                if left <= 0:
                    self._fail(self._silent())
                    break
                self._news.wait(left)
        if found is None:
            assert self._failure
            self._kill()
            raise self._failure
        return found

    def _silent(self) -> EngineError:
        return EngineError(
            f"the rollout worker has not answered for {self._timeout:g} s (train.rollouts.timeout);"
            f" {self._last_words()}"
        )

    def _fail(self, failure: EngineError) -> None:
        self._failure = self._failure or failure
        self._kill()

    def _kill(self) -> None:
        """What an engine has started need not have ended with the worker."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _last_words(self) -> str:
        return f"its last words, in {self._log}: {last_words(self._log)}"


def start(descriptor: int, log: int) -> "subprocess.Popen[bytes]":
    """A worker, by itself a process group, that talks over a socket and writes to a log; both are
    open files.
    """
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND, str(descriptor), str(os.getpid())],
        env=environment(),
        pass_fds=[descriptor],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        process_group=0,
    )


def environment() -> dict[str, str]:
    """This process's, without what torchrun says of it; a GPU's worker sees its trainer's alone."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(_TORCHRUN)}
    env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    if torch.cuda.is_available():
        seen = [device for device in env.get("CUDA_VISIBLE_DEVICES", "").split(",") if device]
        number = torch.cuda.current_device()
        env["CUDA_VISIBLE_DEVICES"] = seen[number] if seen else str(number)
    return env
