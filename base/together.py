"""One function over many things at the same time, where it waits for disks and networks."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_Thing = TypeVar("_Thing")
_Result = TypeVar("_Result")


def together(
    function: Callable[[_Thing], _Result], things: Sequence[_Thing], threads: int = 32
) -> Iterator[_Result]:
    """What the function makes of each thing, in order, at most `threads` of them ahead of the
    caller. One thing is done in this thread: to begin another one costs more than a small file.
    """
    if len(things) < 2:
        yield from map(function, things)
        return
    ahead = deque[Future[_Result]]()
    with ThreadPoolExecutor(min(threads, len(things))) as pool:
        for thing in things:
            ahead.append(pool.submit(function, thing))
            if len(ahead) == threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
