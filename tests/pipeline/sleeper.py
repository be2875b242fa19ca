"""A run that stops itself (SIGSTOP) right before a write, as a suspended machine may.

`python -m tests.pipeline.sleeper PATTERN CORPUS OUTPUT`: the first file whose name fits PATTERN is
checked, made, and not yet put in its place when the process stops. It says of itself that it is on
another machine, so that a second run has to wait for its silence.
"""

import os
import re
import signal
import sys
from typing import Any

import s3fs

from prewrite.base.cli import ending
from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.run import run_pass
from prewrite.shards import lock
from tests.pipeline.fake import InstantPass


def sleep_before(pattern: str) -> None:
    """Stop once, before a file that fits appears."""
    armed = [True]

    def stop(name: object) -> None:
        if armed and re.search(pattern, str(name)):
            armed.clear()
            os.kill(os.getpid(), signal.SIGSTOP)

    replace, pipe = os.replace, s3fs.S3FileSystem._pipe_file

    def replaced(source: Any, target: Any) -> None:
        stop(target)
        replace(source, target)

    async def piped(self: Any, path: str, *arguments: Any, **named: Any) -> Any:
        stop(path)
        return await pipe(self, path, *arguments, **named)

    os.replace = replaced  # type: ignore[assignment]
    s3fs.S3FileSystem._pipe_file = piped


def main(pattern: str, corpus: str, output: str) -> int:
    """Run the pass; its exit code."""
    sleep_before(pattern)
    lock._space = lambda: "another machine"
    job, run = InstantPass((corpus,)), RunConfig(rows_per_part=20)
    return ending(lambda: print(run_pass(job, output, run).status))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
