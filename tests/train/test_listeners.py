"""Where the processes of one machine listen: nowhere that another machine reaches."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from prewrite.train.config.sections import ParallelConfig
from tests.listening import listening, open_to_others
from tests.train.launch import launch, started
from tests.train.small import Command, make_model, make_set, settings

_TORCHRUN = Path(sys.executable).with_name("torchrun")


def heard() -> tuple[set[str], str | None]:
    from prewrite.train import parallel

    with started(ParallelConfig()):
        parallel.barrier()
        found = listening([os.getpid()]), os.environ.get("GLOO_SOCKET_IFNAME")
        parallel.barrier()
    return found


def test_ranks_listen_on_loopback_only() -> None:
    for addresses, interface in launch(heard, 2):
        assert addresses and not open_to_others(addresses)
        assert interface == "lo"


def test_a_training_run_of_two_ranks_listens_on_loopback_only(tmp_path: Path) -> None:
    make_model(tmp_path / "model")
    make_set(tmp_path / "set")
    command, addresses = Command(settings(tmp_path), ranks=2), set[str]()
    while any(rank.is_alive() for rank in command.ranks):
        addresses |= command.listening()
    assert command.end() == 0, command.text
    assert addresses and not open_to_others(addresses)


def test_a_port_that_is_taken_is_told_in_a_sentence(tmp_path: Path) -> None:
    make_model(tmp_path / "model")
    make_set(tmp_path / "set")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = Command(settings(tmp_path), ranks=2, port=str(port))
        command.ranks[0].join(100)
        command.signal(signal.SIGKILL)  # torchrun ends the others, which wait for it
    assert command.ranks[0].exitcode == 1
    assert f"MASTER_PORT: found {port}, where nothing can listen" in command.text
    assert "Traceback" not in command.text


@pytest.mark.slow
def test_torchrun_as_documented_listens_on_loopback_only() -> None:
    """The page's own command, with a small program in place of the trainer."""
    page = Path("docs/clusters.md").read_text()
    (command,) = re.findall(r"^TORCH_DISABLE.*\\\n.*--nproc-per-node", page, re.MULTILINE)
    words = f"{command.replace('torchrun', str(_TORCHRUN))} 2 {__file__}"
    ended = subprocess.run(
        ["bash", "-c", words],
        env=os.environ | {"PYTHONPATH": os.getcwd(), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("heard ['127.0.0.1']") == 2, ended.stdout


if __name__ == "__main__":
    from prewrite.train import parallel

    parallel.start(ParallelConfig(), 0)
    parallel.barrier()
    addresses_heard = sorted(listening([os.getppid()]))  # torchrun's, and its processes'
    os.write(1, f"heard {addresses_heard}\n".encode())  # in one piece: both write
    parallel.barrier()
    parallel.stop()
