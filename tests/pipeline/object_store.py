"""An S3 server on this machine, with a small corpus in one bucket and an empty other one."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import s3fs
from tenacity import Retrying, stop_after_delay, wait_fixed

from tests.pipeline.runs import corpus_lines

FILES, DOCUMENTS = 2, 12
CORPUS, OUTPUT = "s3://corpus/in/*.jsonl", "s3://sets/out"
KEYS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@dataclass(frozen=True)
class Moto:
    """A running S3 server: its address, and the file that it logs requests to."""

    url: str
    log: Path


def address(log: Path) -> str:
    """The address that a server has written."""
    found = re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
    assert found
    return found[0]


@contextmanager
def serving(log: Path, module: str, *arguments: str) -> Iterator[str]:
    """The address of a server in a process of its own."""
    command = [sys.executable, "-m", module, *arguments]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as server:
        try:
            yield Retrying(stop=stop_after_delay(60), wait=wait_fixed(0.1))(address, log)
        finally:
            server.terminate()


def fill(fs: Any) -> None:
    """Make both buckets, and the corpus in one of them."""
    fs.mkdir("corpus")
    fs.mkdir("sets")
    for number in range(FILES):
        fs.pipe(f"corpus/in/{number}.jsonl", corpus_lines(number, DOCUMENTS))


def new_file_system() -> Any:
    """A client of the store that the environment names."""
    s3fs.S3FileSystem.clear_instance_cache()
    return s3fs.S3FileSystem()
