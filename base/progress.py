"""How far something is: a bar on a terminal, elsewhere a log line now and then."""

import time
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class ProgressBar:
    """Of work that ends at `total`. label: in front of what is shown. every: seconds between two
    log lines where there is no terminal.
    """

    def __init__(self, label: str, total: float, console: Console, every: float = 10.0) -> None:
        self.label, self.every = label, every
        self._total, self._console = total, console
        self._printed = time.monotonic()
        self._bar: Progress | None = None

    def start(self, done: float = 0.0) -> None:
        """Begin to show, on a terminal, of which so much is `done`."""
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(20), TimeElapsedColumn())
            facts = TextColumn("{task.fields[facts]}")
            self._bar = Progress(*columns, facts, console=self._console)
            task = self._bar.add_task(self.label, total=self._total, facts="")
            self._bar.update(task, completed=done)
            self._bar.start()

    def show(self, done: float, facts: Callable[[], str], now: bool = False) -> None:
        """So much is `done`. facts: asked for where they are shown; now: a log line, whenever the
        last one was.
        """
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=done, facts=facts())
        elif now or time.monotonic() - self._printed >= self.every:
            self._printed = time.monotonic()
            line = f"{self.label}: {facts()}" if self.label else facts()
            self._console.print(line, soft_wrap=True)

    def stop(self) -> None:
        """The bar stays as it is."""
        if self._bar:
            self._bar.stop()
