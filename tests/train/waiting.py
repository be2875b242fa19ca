"""A fork that waits to become a rollout worker, with torch and vLLM imported; a worker that starts
as another program spends ten seconds on that.

`prewrite.train.online.client.start` starts the real one, in the tests of the client.
"""

import json
import os
import socket
import threading
import traceback
from subprocess import Popen

import torch._dynamo  # before vLLM is prepared, which would keep a trainer from compiling

from prewrite.engine.vllm_engine import prepare
from prewrite.train.online import client
from prewrite.train.online.worker import main

prepare({})
import vllm.model_executor.models.llama  # noqa: E402, F401
import vllm.v1.worker.cpu_worker  # noqa: E402, F401
from vllm import LLM  # noqa: E402, F401

_MOST = 1 << 20  # bytes of an environment


class Waiting:
    """The fork, which is made while this process has one thread. It ends with this process."""

    def __init__(self) -> None:
        self._told, theirs = socket.socketpair()
        self._pid = os.fork()
        if not self._pid:
            self._told.close()
            os._exit(_wait(theirs))
        theirs.close()
        os.register_at_fork(after_in_child=self._told.close)

    def start(self, descriptor: int, log: int) -> "Popen[bytes]":
        """See `client.start`; once."""
        os.setpgid(self._pid, self._pid)
        said = json.dumps(client.environment()).encode()
        socket.send_fds(self._told, [said], [descriptor, log])
        return _Child(self._pid)


class _Child(Popen[bytes]):
    """A child of this process that is there already."""

    def __init__(self, pid: int) -> None:
        self.pid, self.returncode, self.args = pid, None, []
        self.stdin = self.stdout = self.stderr = None
        self._child_created, self._waitpid_lock = True, threading.Lock()


def _wait(told: socket.socket) -> int:
    """The fork's part; its exit code."""
    said, descriptors, *_ = socket.recv_fds(told, _MOST, 2)
    if not said:  # its parent has ended
        return 0
    os.environ.clear()
    os.environ.update(json.loads(said))
    torch._dynamo.config.disable = True  # as `prepare` has it, where torch is imported later
    with open(os.devnull) as nothing:
        for stream, file in enumerate((nothing.fileno(), descriptors[1], descriptors[1])):
            os.dup2(file, stream)
    try:
        main(descriptors[0], os.getppid())
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
