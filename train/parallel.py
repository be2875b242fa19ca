"""The processes of a run: who they are, and the groups in which Megatron-Core uses them.

Tensor parallel ranks are neighbours, pipeline stages lie furthest apart, data parallel is what is
left over (Megatron's order). NCCL where CUDA is present, gloo elsewhere. All of it is state of the
process: `start` once, `stop` at the end; a command uses `processes`. Processes of one machine meet
on its loopback interface, for whoever reaches their store can have them load what it likes.
"""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from megatron.core import parallel_state as mpu
from megatron.core.tensor_parallel import model_parallel_cuda_manual_seed
from torch._C._distributed_c10d import HashStore, TCPStore

from prewrite.base.cli import sentence
from prewrite.base.errors import ConfigError, EngineError, PrewriteError
from prewrite.train import cpu
from prewrite.train.config.sections import ParallelConfig

T = TypeVar("T")
_LOOPBACK = "127.0.0.1"


@contextmanager
def processes(config: ParallelConfig, seed: int) -> Iterator[None]:
    """`start`, and `stop` at the end, for a command; it fails with one voice.

    The first process that fails raises its error, every other one a SystemExit without a word:
    most errors meet all processes alike, and one that meets a single process breaks the others'
    connections to it. The processes of a failed command end without waiting for each other.
    """
    try:
        start(config, seed)
        yield
    except Exception as error:
        if _fails_first():
            raise
        raise SystemExit(getattr(error, "exit_code", 1)) from None
    stop()


def start(config: ParallelConfig, seed: int) -> None:
    """Join the processes that torchrun started, or be the only one; make Megatron's groups.

    Raises ConfigError where `config` does not fit the number of processes, EngineError where
    something else in this process, as vLLM, has set up torch.distributed before.
    """
    _check(config)
    if dist.is_initialized():
        raise EngineError(
            "torch.distributed is already set up in this process, by vLLM perhaps; "
            "train in a process of its own"
        )
    cpu.enable()
    cpu.mend_optimizer()
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    _join(backend)
    mpu.initialize_model_parallel(config.tp, config.pp)
    torch.manual_seed(seed)
    model_parallel_cuda_manual_seed(seed)


def _join(backend: str) -> None:
    """Become one of the processes, as the environment says which."""
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if "WORLD_SIZE" not in os.environ:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
        return
    if _on_one_machine():
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":  # torchrun keeps none
            store = _local_store(rank, size)
            dist.init_process_group(backend, store=store, rank=rank, world_size=size)
            return
    dist.init_process_group(backend)


def _on_one_machine() -> bool:
    """Whether all processes are here: torchrun says so, or the address at which they meet does."""
    local, size = os.environ.get("LOCAL_WORLD_SIZE"), os.environ["WORLD_SIZE"]
    return local == size or os.environ.get("MASTER_ADDR") in (_LOOPBACK, "localhost", "::1")


def _local_store(rank: int, size: int) -> TCPStore:
    """The store at which processes of one machine meet. One that torch opens by itself listens on
    all interfaces (2.x), so it is given a socket.
    """
    port, listening = int(os.environ["MASTER_PORT"]), None
    if rank == 0:
        try:
            listening = socket.create_server((_LOOPBACK, port)).detach()
        except OSError as error:
            raise EngineError(
                f"MASTER_PORT: found {port}, where nothing can listen: "
                f"{os.strerror(error.errno or 0)}; accepted: a free port"
            ) from None
    return TCPStore(_LOOPBACK, port, size, rank == 0, master_listen_fd=listening)


def stop() -> None:
    """Leave the groups; nothing happens when there are none."""
    if dist.is_initialized():
        mpu.destroy_model_parallel()
        dist.destroy_process_group()


@contextmanager
def main_first() -> Iterator[None]:
    """The main process goes through the block before all others: what it keeps they find."""
    if not is_main():
        dist.barrier()
    yield
    if is_main():
        dist.barrier()


def barrier() -> None:
    """Until every process has come here."""
    dist.barrier()


def device() -> torch.device:
    """Where this process computes."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def rank() -> int:
    """This process's number among all."""
    return dist.get_rank()


def size() -> int:
    """How many processes there are."""
    return dist.get_world_size()


def is_main() -> bool:
    """Whether this is the one process that talks and writes."""
    return dist.get_rank() == 0


def data_rank() -> int:
    """This process's number among the data parallel copies of the model."""
    return int(mpu.get_data_parallel_rank())


def data_size() -> int:
    """How many data parallel copies of the model there are."""
    return int(mpu.get_data_parallel_world_size())


def is_last_stage() -> bool:
    """Whether this process holds the output layer, and so sees the losses."""
    return bool(mpu.is_pipeline_last_stage())


def is_first_tensor() -> bool:
    """Whether this process is the first of those that share its layers."""
    return bool(mpu.get_tensor_model_parallel_rank() == 0)


def data_group() -> dist.ProcessGroup:
    """The data parallel copies of this process."""
    group: dist.ProcessGroup = mpu.get_data_parallel_group()
    return group


def from_last_stage(values: dict[str, float] | None) -> dict[str, float]:
    """What the last pipeline stage holds, on every stage."""
    box = [values]
    if mpu.get_pipeline_model_parallel_world_size() > 1:
        last = mpu.get_pipeline_model_parallel_last_rank()
        group = mpu.get_pipeline_model_parallel_group()
        dist.broadcast_object_list(box, last, group, device=device())
    assert box[0] is not None
    return box[0]


def is_leader() -> bool:
    """Whether this process speaks for its copy of the model: the first of those that share it."""
    ranks = dist.get_process_group_ranks(mpu.get_model_parallel_group())
    return bool(dist.get_rank() == ranks[0])


def broadcast(value: T | None) -> T:
    """What the process that speaks for this copy of the model holds, on all that share it."""
    group = mpu.get_model_parallel_group()
    ranks = dist.get_process_group_ranks(group)
    box = [value]
    if len(ranks) > 1:
        dist.broadcast_object_list(box, ranks[0], group, device=device())
    assert box[0] is not None
    return box[0]


def all_reduce_sum(values: dict[str, float]) -> dict[str, float]:
    """Sums over the data parallel copies; all give the same names in the same order."""
    sums_M = torch.tensor(list(values.values()), dtype=torch.float64, device=device())
    dist.all_reduce(sums_M, group=data_group())
    return dict(zip(values, sums_M.tolist(), strict=True))


def gather(values: list[int]) -> list[int]:
    """The numbers of all processes, each once, in order."""
    return sorted({value for box in collect(values) for value in box})


def collect(mine: T) -> list[T]:
    """What every process holds, by rank, on all of them."""
    boxes: list[T] = [mine] * dist.get_world_size()
    dist.all_gather_object(boxes, mine)
    return boxes


def by_main(make: Callable[[], T]) -> T:
    """What `make` gives in the main process, in all; an error that a user can meet, too."""
    box: list[tuple[T | None, PrewriteError | None]] = [(None, None)]
    if is_main():
        try:
            box = [(make(), None)]
        except Exception as error:
            known = sentence(error)
            if known is None:
                raise
            box = [(None, known)]
    dist.broadcast_object_list(box, 0, device=device())
    value, failure = box[0]
    if failure:
        raise failure
    return value  # type: ignore[return-value]


def any_of(mine: bool) -> bool:
    """Whether it holds for any process."""
    found = torch.tensor(int(mine), device=device())
    dist.all_reduce(found, op=dist.ReduceOp.MAX)
    return bool(found)


def _fails_first() -> bool:
    if not dist.is_initialized():
        return os.environ.get("RANK", "0") == "0"  # the configuration is wrong for all
    store = dist.distributed_c10d._get_default_store()
    try:
        return bool(store.add("failed", 1) == 1)
    except RuntimeError:
        return False  # the process that keeps the store has failed and is gone


def _check(config: ParallelConfig) -> None:
    size, needed = int(os.environ.get("WORLD_SIZE", "1")), config.tp * config.pp
    if size % needed:
        raise ConfigError(
            f"train.parallel: tp {config.tp} and pp {config.pp} need {needed} processes or a "
            f"multiple, found {size} (torchrun --nproc-per-node sets it)"
        )
    if config.sequence and config.tp == 1:
        raise ConfigError(
            "train.parallel.sequence: found true with tp 1; accepted with tp 2 or more"
        )
