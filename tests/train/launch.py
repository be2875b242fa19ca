"""Run a function in processes of its own, as torchrun would, and get what each returned.

Megatron's groups are state of a process and vLLM sets up torch.distributed, too, so whatever calls
`train.parallel.start` runs here. A start costs 10 s of imports: do many checks in one.
"""

import os
import pickle
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

from prewrite.train.config.sections import ParallelConfig

T = TypeVar("T")
_PORTS = 16
_TORCHRUN = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def launch(
    function: Callable[..., T], processes: int, *arguments: Any, limit: float = 280
) -> list[T]:
    """`function(*arguments)` in each of `processes`, by rank; one alone gets no torchrun."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "call").write_bytes(pickle.dumps((function, arguments)))
        ports = free_ports(_PORTS) if processes > 1 else []
        started = [_start(folder, rank, processes, ports) for rank in range(processes)]
        try:
            _wait(started, folder, time.monotonic() + limit)
        finally:
            for process in started:
                process.kill()
                process.wait()
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


def _start(folder: Path, rank: int, size: int, ports: list[str]) -> subprocess.Popen[bytes]:
    env = {key: value for key, value in os.environ.items() if key not in _TORCHRUN}
    env |= {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    if size > 1:
        values = (str(rank), str(rank), str(size), "127.0.0.1", ports[0])
        env |= dict(zip(_TORCHRUN, values, strict=True)) | {"PORTS": ",".join(ports)}
    command = [sys.executable, "-m", "tests.train.launch", str(folder), str(rank)]
    with open(folder / f"{rank}.log", "wb") as log:
        return subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT)


def _wait(started: list[subprocess.Popen[bytes]], folder: Path, deadline: float) -> None:
    """Until all have ended well; AssertionError with the output of one that has not."""
    while any(process.poll() is None for process in started) and time.monotonic() < deadline:
        if any(process.returncode for process in started):
            break  # the others wait for it
        time.sleep(0.05)
    failed = [rank for rank, process in enumerate(started) if process.returncode]
    late = [rank for rank, process in enumerate(started) if process.returncode is None]
    for rank in failed or late:
        log = (folder / f"{rank}.log").read_text(errors="replace")[-6000:]
        raise AssertionError(f"process {rank} ended with {started[rank].returncode}:\n{log}")


if __name__ == "__main__":
    place, number = Path(sys.argv[1]), sys.argv[2]
    called, given = pickle.loads((place / "call").read_bytes())
    (place / f"{number}.out").write_bytes(pickle.dumps(called(*given)))
