"""`prewrite` in a fork that has torch, Megatron and vLLM imported: a second in place of half a
minute. It has exit code, output and errors of its own, as a process that a user starts.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.train.launch import FORKS


def command(*words: str, limit: float = 280) -> subprocess.CompletedProcess[str]:
    """`prewrite WORDS`, in the folder of this process."""
    with tempfile.TemporaryDirectory() as folder:
        out, errors = Path(folder, "out"), Path(folder, "errors")
        process = FORKS.Process(target=_main, args=(words, out, errors, Path.cwd()))
        process.start()
        process.join(limit)
        assert process.exitcode is not None, f"{words} still run"
        return subprocess.CompletedProcess(
            words, process.exitcode, out.read_text(), errors.read_text()
        )


def _main(words: tuple[str, ...], out: Path, errors: Path, folder: Path) -> None:
    # Forked before there are threads: the rollout worker of an online phase.
    from prewrite.train.online import client
    from tests.train.waiting import Waiting

    client.start = Waiting().start
    os.chdir(folder)
    for number, file in ((1, out), (2, errors)):
        with open(file, "w") as stream:
            os.dup2(stream.fileno(), number)
    import torch._dynamo

    torch._dynamo.config.disable = True  # as `prepare` has it, where torch is imported later
    from prewrite.commands import main

    sys.exit(main(words))
