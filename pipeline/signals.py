"""SIGINT and SIGTERM while a worker runs: it stops reading, commits what it has, and ends."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress


@asynccontextmanager
async def stop_on_signal(stop: asyncio.Event) -> AsyncIterator[None]:
    """SIGINT and SIGTERM set `stop` once; a second SIGINT interrupts at once."""
    loop = asyncio.get_running_loop()

    def on_interrupt() -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    handlers: dict[signal.Signals, Callable[[], None]] = {
        signal.SIGINT: on_interrupt,
        signal.SIGTERM: stop.set,
    }
    earlier = {number: signal.getsignal(number) for number in handlers}
    if earlier[signal.SIGINT] == signal.SIG_IGN:  # a worker leaves Ctrl-C to its parent
        del handlers[signal.SIGINT], earlier[signal.SIGINT]
    # Signals reach the main thread only; elsewhere (a test's thread) there is nothing to catch.
    with suppress(ValueError, RuntimeError):
        for number, handler in handlers.items():
            loop.add_signal_handler(number, handler)
    try:
        yield
    finally:
        with suppress(ValueError, RuntimeError):
            for number, before in earlier.items():
                loop.remove_signal_handler(number)
                signal.signal(number, before)
