"""What a person sees of a run, and what is kept of it: a line, `metrics.jsonl`, TensorBoard.

`metrics.jsonl` has one JSON object a step. A run that goes on from a checkpoint takes back the
lines after it, so the file always tells one history. Only the main rank writes.
"""

import json
import time
from math import isfinite, isnan, nan
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from base.cli import console
from base.files import Folder
from shards.progress import span

METRICS = "metrics.jsonl"
Values = dict[str, float]

_SHARES = {
    "learnt_cuts": "learnt {:.0%} of cut points",
    "failed_verdicts": "verdicts failed {:.0%}",
}


class RunLog:
    """The log of the run in `output`, which goes on after step `step` of `steps`."""

    def __init__(self, output: str, step: int, steps: int, every: float = 10.0) -> None:
        # A slow import (2 s) that only a run needs.
        from torch.utils.tensorboard import SummaryWriter

        self.step, self.steps, self.every = step, steps, every
        keep_until(output, step)
        self._metrics = Path(output) / METRICS
        self._board = SummaryWriter(str(Path(output) / "tensorboard"), purge_step=step + 1)
        self._bar: Progress | None = None
        self._first, self._started = step, time.monotonic()
        self._printed = 0.0

    def __enter__(self) -> Self:
        if console.is_terminal:
            columns = (TextColumn("train"), BarColumn(20), TimeElapsedColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[facts]}"), console=console)
            self._bar.add_task("train", total=self.steps, completed=self.step, facts="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar:
            self._bar.stop()
        self._board.close()

    def record(self, step: int, phase: str, values: Values) -> None:
        """Keep the values of a step and show them."""
        finite = {key: value if isfinite(value) else None for key, value in values.items()}
        with open(self._metrics, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": step, "phase": phase, **finite}) + "\n")
        for key, value in finite.items():
            if value is not None:  # of others TensorBoard complains
                self._board.add_scalar(key, value, step)
        line = f"step {step} of {self.steps} · {phase} · {self._facts(step, values)}"
        if self._bar:
            self._bar.update(self._bar.task_ids[0], completed=step, facts=line)
        elif time.monotonic() - self._printed >= self.every or step == self.steps:
            self._printed = time.monotonic()
            console.print(line, soft_wrap=True)

    def _facts(self, step: int, values: Values) -> str:
        losses = {k[5:]: v for k, v in values.items() if k.startswith("loss/")}
        parts = [f"{k} –" if isnan(v) else f"{k} {v:.4f}" for k, v in losses.items()]
        for name, told in _SHARES.items():
            if isfinite(values.get(name, nan)):
                parts.append(told.format(values[name]))
        parts.append(f"{values['tokens_per_second']:,.0f} tokens/s")
        if "mfu" in values:
            parts.append(f"MFU {values['mfu']:.1%}")
        parts.append(f"data wait {values['data_wait']:.0%}")
        pace = (time.monotonic() - self._started) / max(step - self._first, 1)
        parts.append(f"about {span(pace * (self.steps - step))} left")
        return " · ".join(parts)


def keep_until(output: str, step: int) -> None:
    """Take back the lines of `metrics.jsonl` after `step`, and a last one that is torn."""
    folder = Folder(output)
    lines = (folder.read(METRICS) or b"").splitlines(keepends=True)
    kept = [line for line in lines if line.endswith(b"\n") and json.loads(line)["step"] <= step]
    folder.write(METRICS, b"".join(kept))


def read_metrics(output: str) -> list[dict[str, Any]]:
    """Every step of the run in `output`, in order."""
    return [json.loads(line) for line in (Folder(output).read(METRICS) or b"").splitlines()]
