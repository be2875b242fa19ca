"""What a person sees while a pass runs: a bar on a terminal, a log line now and then elsewhere.

The end is estimated from the share of bytes read, times the share of the rows read that are done.
That needs no pass over the corpus before the first row; its error is how uneven the corpus is.
"""

import time
from types import TracebackType
from typing import Self

from rich.console import Console

from prewrite.base.progress import ProgressBar
from prewrite.base.text import span
from prewrite.shards.manifest import Usage
from prewrite.shards.show import cache_share


class Progress:
    """Counts of one worker. A log line comes after `every` seconds (s) where there is no bar."""

    def __init__(self, label: str, total_bytes: int, console: Console, every: float = 10.0) -> None:
        self.label, self.total_bytes = label, total_bytes
        self.rows = self.read = self.failed = self.earlier = self.bytes = 0
        self.usage = Usage()
        self.started = time.monotonic()
        self._bar = ProgressBar(label, 1.0, console, every)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._bar.show(self._share(), self.facts, now=True)
        self._bar.stop()

    def resumed(self, rows: int) -> None:
        """Rows an earlier run had committed."""
        self.earlier += rows

    def consumed(self, count: int) -> None:
        """Bytes of input read."""
        self.bytes += count

    def begun(self, rows: int) -> None:
        """Rows the engine is asked about from now on."""
        self.read += rows

    def finished(self, rows: int, failed: int, usage: Usage) -> None:
        """A document's rows are done; failed: those of which nothing can be used."""
        self.rows += rows
        self.failed += failed
        self.usage += usage
        self._bar.show(self._share(), self.facts)

    def facts(self) -> str:
        """The counts in one line."""
        seconds = max(time.monotonic() - self.started, 1e-9)
        parts = [
            f"{self.rows + self.earlier} rows",
            f"{self.rows / seconds:.1f} rows/s",
            f"{self.usage.output_tokens / seconds:.0f} output tokens/s",
            f"{self.failed} failed",
            f"prefix cache {cache_share(self.usage)}",
        ]
        share = self._share()
        if 0 < share < 1 and self.rows:
            parts.append(f"about {span(seconds / share * (1 - share))} left")
        return " · ".join(parts)

    def _share(self) -> float:
        """Share of this run's work that is done."""
        of_bytes = self.bytes / self.total_bytes if self.total_bytes else 1.0
        of_rows = self.rows / self.read if self.read else 1.0
        return min(of_bytes * of_rows, 1.0)
