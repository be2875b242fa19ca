"""Which GPUs a local worker takes: the first group of them that no other worker of this user has.

A group is locked by an open file, so it is free again whenever its process ends, however that was;
a worker that replaces a dead one finds its place. Must be called before a library looks for GPUs.
"""

import fcntl
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from prewrite.base.errors import ConfigError

_VISIBLE = "CUDA_VISIBLE_DEVICES"
_claimed: list[IO[str]] = []


def claim(count: int) -> None:
    """Take `count` GPUs for this process, once; ConfigError when too few are free."""
    if _claimed:
        return
    devices = visible(os.environ)
    folder = Path(tempfile.gettempdir(), f"prewrite-gpus-{os.getuid()}")
    folder.mkdir(mode=0o700, exist_ok=True)
    for group in groups(devices, count):
        lock = open(folder / group[0].replace("/", "-"), "w")  # noqa: SIM115  (held until the end)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            continue
        _claimed.append(lock)
        os.environ[_VISIBLE] = ",".join(group)
        return
    raise ConfigError(
        f"run.gpus_per_task: found {count}, but no {count} of {len(devices)} GPUs are free; "
        "accepted: a number with which all run.workers fit"
    )


def visible(environment: Mapping[str, str]) -> list[str]:
    """The GPUs this process may use: those of CUDA_VISIBLE_DEVICES, else all that NVIDIA's driver
    has made a device file for.
    """
    given = environment.get(_VISIBLE)
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    found = [path.name.removeprefix("nvidia") for path in Path("/dev").glob("nvidia[0-9]*")]
    return sorted(found, key=int)


def groups(devices: list[str], count: int) -> list[list[str]]:
    """`devices` in groups of `count` neighbours; what is left over belongs to none."""
    whole = len(devices) // count * count
    return [devices[first : first + count] for first in range(0, whole, count)]
