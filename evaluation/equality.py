"""Whether an answer equals the right one, as math-verify says, in a process of its own.

math-verify hands what a model wrote to sympy, and one line of text can keep that busy for hours,
inside of C where no signal of Python arrives, or fill the memory. So the process that compares has
`SECONDS` of CPU time for each comparison and `MEMORY` bytes; the system ends it when it takes more.
It is CPU time and no clock, so the outcome does not depend on what else the machine does. Such a
comparison is undecided, and a new process (some two seconds) does the next one.

Nothing that a model wrote runs: of a text, only digits, operators and brackets reach the parser of
sympy that is built on `eval`, and LaTeX has a grammar of its own.
"""

import importlib.metadata
import logging
import math
import resource
import signal
import time
from contextlib import suppress
from functools import lru_cache
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Literal

from prewrite.base.errors import PrewriteError
from prewrite.base.extras import require

SECONDS = 5
MEMORY = 4 << 30

_START = 300.0
_BACKSTOP = 20.0 * SECONDS  # should the process neither compute nor answer

Equality = Literal["equal", "other", "none", "undecided"]
"""`none`: math-verify finds no value in the answer. `undecided`: it took too much."""


class Comparer:
    """Compares answers; starts its process with the first, and again after each it could not do."""

    def __init__(self) -> None:
        self._line: Connection | None = None
        self._process: BaseProcess | None = None

    def compare(self, right: str, answer: str) -> Equality:
        r"""Whether `answer` has the value of `right`, both as LaTeX or plain text with an answer in
        `\boxed{…}` or after `answer:`; PrewriteError where math-verify cannot be had.
        """
        line = self._line or self._start()
        with suppress(EOFError, ConnectionError):  # it is dead
            line.send((right, answer))
            if line.poll(_BACKSTOP):
                found: Equality = line.recv()
                return found
        self.close()
        return "undecided"

    def close(self) -> None:
        """End the process."""
        if self._process is not None and self._line is not None:
            self._process.kill()
            self._process.join()
            self._line.close()
        self._line = self._process = None

    def _start(self) -> Connection:
        require("math_verify")
        context = get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        self._line, self._process = ours, process
        with suppress(EOFError, ConnectionError):
            if ours.poll(_START) and ours.recv():
                return ours
        self.close()
        raise PrewriteError("the process that compares answers did not start; see what is above")


def version() -> str | None:
    """math-verify's version; None where it is not installed."""
    try:
        return importlib.metadata.version("math-verify")
    except importlib.metadata.PackageNotFoundError:
        return None


_comparer = Comparer()


@lru_cache(1024)
def compare(right: str, answer: str) -> Equality:
    """`Comparer.compare` of one comparer for the whole process; the same pair is compared once."""
    return _comparer.compare(right, answer)


def _serve(line: Connection) -> None:
    """The process: takes pairs until its parent is gone. Ctrl-C is left to that."""
    import math_verify

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)
    for limit, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(limit, (most, resource.getrlimit(limit)[1]))
    line.send(True)
    with suppress(EOFError, ConnectionError):
        while True:
            right, answer = line.recv()
            _allow(SECONDS)
            line.send(_equality(math_verify, right, answer))


def _allow(seconds: int) -> None:
    """So much CPU time from now on; then SIGXCPU, which ends the process wherever it is."""
    most = math.ceil(time.process_time()) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _equality(math_verify: object, right: str, answer: str) -> Equality:
    """The limits are this process's, so math-verify's own, by alarm, are off."""
    try:
        given = math_verify.parse(answer, parsing_timeout=None)  # type: ignore[attr-defined]
        if not given:
            return "none"
        known = math_verify.parse(right, parsing_timeout=None)  # type: ignore[attr-defined]
        same = math_verify.verify(known, given, timeout_seconds=None)  # type: ignore[attr-defined]
    except (MemoryError, RecursionError):
        return "undecided"
    return "equal" if same else "other"
