"""One function over many things at the same time, where it waits for disks and networks."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Thing = TypeVar("_Thing")
_Result = TypeVar("_Result")


def together(
    function: Callable[[_Thing], _Result], things: Sequence[_Thing], threads: int = 32
) -> Iterator[_Result]:
    """What the function makes of each thing, in order. One thing is done in this thread: to begin
    another one costs more than a small file.
    """
    if len(things) < 2:
        yield from map(function, things)
        return
    with ThreadPoolExecutor(min(threads, len(things))) as pool:
        yield from pool.map(function, things)
