"""Run a function in processes of its own, as torchrun would, and get what each returned.

Megatron's groups are state of a process and vLLM sets up torch.distributed, too, so whatever calls
`train.parallel.start` runs here. Processes are forked from one that has imported torch and Megatron
(Python's forkserver), a second each instead of ten; they have their own signals, exit codes and
output, and die of their own kill.
"""

import multiprocessing
import os
import pickle
import random
import signal
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from prewrite.train.config.sections import ParallelConfig

T = TypeVar("T")
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "prewrite.train.run",
        "prewrite.train.reference",
        "prewrite.train.plan",
        "torch.utils.tensorboard",
    ]
    + ["transformers.models.llama.modeling_llama", "transformers.generation.utils"]
    + ["tests.train.waiting"]
)
_PORTS = 16


def launch(
    function: Callable[..., T], processes: int, *arguments: Any, limit: float = 280
) -> list[T]:
    """`function(*arguments)` in each of `processes`, by rank; one alone gets no torchrun."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ports = free_ports(_PORTS)
        started: list[BaseProcess] = []
        for rank in range(processes):
            env = torchrun(rank, processes, ports[0]) | {"PORTS": ",".join(ports)}
            given = (function, arguments, env if processes > 1 else {}, folder / str(rank))
            started.append(FORKS.Process(target=_call, args=given))
            started[-1].start()
        try:
            _wait(started, folder, time.monotonic() + limit)
        finally:
            for process in started:
                kill(process)
        return [pickle.loads((folder / f"{rank}.out").read_bytes()) for rank in range(processes)]


@contextmanager
def started(config: ParallelConfig, seed: int = 0) -> Iterator[None]:
    """`parallel.start` until the end of the block; may be entered again, with another layout."""
    # Not above: the checkpoint writer starts a process that imports this module again.
    from prewrite.train import parallel

    if "PORTS" in os.environ:
        # A port of its own: the last store may still listen on the old one.
        port, _, os.environ["PORTS"] = os.environ["PORTS"].partition(",")
        os.environ["MASTER_PORT"] = port
    parallel.start(config, seed)
    yield
    parallel.stop()


def free_ports(count: int) -> list[str]:
    """Ports of this machine that nobody listens on, below those that systems give to connections:
    one of those may be taken again before it is used.
    """
    found: list[str] = []
    for port in random.sample(range(20_000, 32_000), 100 + count):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(str(port))
    return found[:count]


def torchrun(rank: int, size: int, port: str) -> dict[str, str]:
    """What torchrun tells a process of itself and the others."""
    ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size)}
    return ranks | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}


def kill(process: BaseProcess) -> None:
    """Kill a process that `begin` has begun in, and those that it has started."""
    assert process.pid
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()  # where it has no group yet
    process.join()


def begin(env: Mapping[str, str], said: Path) -> None:
    """What a fork does first: its output goes to the end of a file, it is a group by itself."""
    os.setpgrp()
    os.environ.update(env)
    with open(said, "a") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    import torch
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    torch.set_num_threads(1)
    # Megatron would spawn this process, which would import all of torch first.
    filesystem_async._results_queue = multiprocessing.get_context("fork").Manager().Queue()


def _call(
    function: Callable[..., Any], arguments: tuple[Any, ...], env: dict[str, str], place: Path
) -> None:
    begin(env, place.with_suffix(".log"))
    warnings.simplefilter("ignore")
    place.with_suffix(".out").write_bytes(pickle.dumps(function(*arguments)))


def _wait(started: list[BaseProcess], folder: Path, deadline: float) -> None:
    """Until all have ended well; AssertionError with the output of one that has not."""
    while any(process.exitcode is None for process in started) and time.monotonic() < deadline:
        if any(process.exitcode for process in started):
            break  # the others wait for it
        time.sleep(0.05)
    failed = [rank for rank, process in enumerate(started) if process.exitcode]
    late = [rank for rank, process in enumerate(started) if process.exitcode is None]
    for rank in failed or late:
        log = (folder / f"{rank}.log").read_text(errors="replace")[-6000:]
        raise AssertionError(f"process {rank} ended with {started[rank].exitcode}:\n{log}")
