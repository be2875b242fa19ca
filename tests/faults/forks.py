"""A function in a fork of this process, which may be killed at a step of it, and how it ended.

A fork has all imports and costs milliseconds.
"""

import functools
import gc
import json
import os
import select
import signal
import sysconfig
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prewrite.base.cli import sentence
from prewrite.shards import lock
from tests.faults.steps import Point, watched

LIMIT = 60.0  # seconds until one that hangs is killed
_SLEEP = 0.001


@dataclass
class Ended:
    """How a fork ended: killed at a step of `kind`, or with a value, a sentence or a traceback.

    changed: whether the folder differs from what a kill one step before leaves. kinds: the steps of
    one that was not killed, in order. text: what it printed.
    """

    killed: bool = False
    kind: str = ""
    changed: bool = True
    value: Any = None
    sentence: str = ""
    bug: str = ""
    kinds: list[str] = field(default_factory=list)
    text: str = ""

    @property
    def failure(self) -> tuple[str, str]:
        """What kind of end it was that gave no value: `traceback`, or `detected` by a sentence."""
        return ("traceback", self.bug) if self.bug else ("detected", self.sentence)


def forked(
    function: Callable[[], Any],
    folder: Path | None = None,
    death: Point | None = None,
    limit: float = LIMIT,
) -> Ended:
    """Run `function` in a fork, its steps below `folder` counted; its value must be JSON. What it
    has started ends with it.
    """
    result, text = os.memfd_create("result"), os.memfd_create("text")
    child = os.fork()
    if not child:
        os.setpgid(0, 0)
        for stream in (1, 2):
            os.dup2(text, stream)
        _run(function, folder, death, result)
    with suppress(PermissionError):  # it has done so itself, and is another program by now
        os.setpgid(child, child)
    handle = os.pidfd_open(child)
    hung = not select.select([handle], [], [], limit)[0]
    os.close(handle)
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    ended = Ended(**json.loads(_content(result) or "{}"), text=_content(text))
    ended.killed = os.WIFSIGNALED(status) and not hung
    if hung:
        ended.bug = f"no end within {limit:g} s"
    elif ended.killed and not (death and ended.kind and os.WTERMSIG(status) == signal.SIGKILL):
        ended.bug = f"died of signal {os.WTERMSIG(status)}"
    return ended


def _content(handle: int) -> str:
    os.lseek(handle, 0, os.SEEK_SET)
    with open(handle, "rb") as stream:
        return stream.read().decode(errors="replace")


def _run(
    function: Callable[[], Any], folder: Path | None, death: Point | None, result: int
) -> None:
    """The child's part; it does not return."""
    write, end, said = os.write, os._exit, dict[str, Any]()

    def tell(**known: Any) -> None:
        said.update(known)

    def dying(kind: str, changed: bool) -> None:
        write(result, json.dumps({"kind": kind, "changed": changed}).encode())

    try:
        steps = watched(folder, death, dying=dying) if folder else None
        try:
            tell(value=function())
        except Exception as error:
            known = sentence(error)
            last = "".join(traceback.format_exception(error)[-3:])
            tell(**({"sentence": str(known)} if known else {"bug": last}))
        write(result, json.dumps(said | {"kinds": steps.kinds if steps else []}).encode())
    except BaseException as error:
        write(result, json.dumps({"bug": repr(error)}).encode())
    finally:
        end(0)


def make_ready() -> None:
    """Make forks of this process cheap, and cut the waits in it and in them short: no other process
    is there to be waited for.
    """
    sleep = time.sleep

    def nap(seconds: Any, /) -> None:
        sleep(min(seconds, _SLEEP))

    time.sleep = nap
    lock.SILENT = 1.0
    # loguru asks for these in each run.
    sysconfig.get_path = functools.cache(sysconfig.get_path)  # type: ignore[assignment]
    gc.collect()
    gc.freeze()
