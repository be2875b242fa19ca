"""What a person sees of a run, and what is kept of it: a line, `metrics.jsonl`, TensorBoard.

`metrics.jsonl` has one JSON object a step, before them one of step 0 where the model was probed at
the start. A run that goes on from a checkpoint takes back the lines after it, one that begins anew
all of them, so the file always tells one history; damaged lines are left out, and said. Only the
main rank writes.
"""

import json
import os
import threading
import time
from contextlib import suppress
from hashlib import sha256
from math import isfinite, isnan, nan
from types import TracebackType
from typing import Any, Self

from prewrite.base.cli import console
from prewrite.base.files import Folder
from prewrite.base.progress import ProgressBar
from prewrite.base.text import span
from prewrite.train.metrics import parse, shortened
from prewrite.train.names import BOARD, METRICS
from prewrite.train.output import Output
from prewrite.train.state import FileDigest

Metrics = dict[str, float]

_SHARES = {
    "learnt_cut_points": "learnt {:.0%} of cut points",
    "failed_verdicts": "verdicts failed {:.0%}",
}


class RunLog:
    """The log of the run in `output`, which goes on after step `step` of `steps`.

    known: the file up to there, as the checkpoint of that step says.
    """

    def __init__(
        self,
        output: Output,
        step: int,
        steps: int,
        known: FileDigest | None = None,
        every: float = 10.0,
    ) -> None:
        # A slow import (2 s) that only a run needs.
        from torch.utils.tensorboard import SummaryWriter

        self.step, self.steps = step, steps
        self._output, self._path = output, output.root / METRICS
        data = output.folder().read(METRICS) or b""
        kept, told = keep_until(data, step, known, str(self._path))
        for sentence in told:
            console.print(sentence, soft_wrap=True)
        self._metrics = output.append(METRICS, kept)
        self._digest, self._size = sha256(kept), len(kept)
        with output.told(output.root / BOARD):
            self._board = SummaryWriter(str(output.root / BOARD), purge_step=step and step + 1)
        self._excepthook, threading.excepthook = threading.excepthook, self._of_thread
        self._bar = ProgressBar("", steps, console, every)
        self._first, self._started = step, time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start(self.step)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()
        with suppress(OSError):  # of what could not be written, which was told
            self._metrics.close()
        try:
            self._board.close()
        except OSError as error:
            if kind is None:
                where = self._output.root / BOARD
                console.print(f"{where}: cannot write: {error.strerror}", soft_wrap=True)
        threading.excepthook = self._excepthook

    def written(self) -> FileDigest:
        """The file so far, for a checkpoint; it is on disk."""
        with self._output.told(self._path):
            os.fsync(self._metrics.fileno())
        return FileDigest(bytes=self._size, sha256=self._digest.hexdigest())

    def record(self, step: int, phase: str, values: Metrics) -> None:
        """Keep the values of a step and show them."""
        self._keep(step, phase, values)
        shown = f"step {step} of {self.steps} · {phase} · {self._facts(step, values)}"
        self._bar.show(step, lambda: shown, now=step in (self._first + 1, self.steps))

    def record_start(self, phase: str, values: Metrics) -> None:
        """Keep what was measured before the first step, as a line of step 0."""
        self._keep(0, phase, values)

    def _keep(self, step: int, phase: str, values: Metrics) -> None:
        finite = {key: value if isfinite(value) else None for key, value in values.items()}
        line = (json.dumps({"step": step, "phase": phase, **finite}) + "\n").encode()
        with self._output.told(self._path):
            self._metrics.write(line)
            self._metrics.flush()
        self._digest.update(line)
        self._size += len(line)
        with self._output.told(self._output.root / BOARD):
            for key, value in finite.items():
                if value is not None:  # of others TensorBoard complains
                    self._board.add_scalar(key, value, step)

    def _of_thread(self, failed: threading.ExceptHookArgs) -> None:
        """TensorBoard's thread hands on what the disk has refused, and need not print it."""
        of_board = type(failed.thread).__module__.startswith("tensorboard.")
        if not (of_board and isinstance(failed.exc_value, OSError)):
            self._excepthook(failed)

    def _facts(self, step: int, values: Metrics) -> str:
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


def keep_until(
    data: bytes, step: int, known: FileDigest | None, where: str
) -> tuple[bytes, list[str]]:
    """The lines of `metrics.jsonl` up to `step`, and in sentences what is wrong with them.

    known: what the checkpoint of `step` says of them.
    """
    lines = parse(data)
    kept = [
        raw
        for values, raw in zip(lines.values, lines.raw, strict=True)
        if step and values["step"] <= step
    ]
    there = {values["step"] for values in lines.values}
    missing = [str(number) for number in range(1, step + 1) if number not in there]
    told = [sentence for sentence in [lines.told(where)] if sentence]
    if missing:
        steps = f"step{'s' * (len(missing) > 1)} {shortened(missing)}"
        told.append(f"{where}: found no line of {steps}")
    elif known and file_of(b"".join(kept)) != known:
        told.append(f"{where}: found other numbers than were written up to step {step}")
    return b"".join(kept), told


def file_of(data: bytes) -> FileDigest:
    """The size and digest of bytes."""
    return FileDigest(bytes=len(data), sha256=sha256(data).hexdigest())


def read_metrics(output: str) -> list[dict[str, Any]]:
    """Every step of the run in `output` whose line can be read, in order; says what is left out."""
    lines = parse(Folder(output).read(METRICS) or b"")
    if told := lines.told(f"{output}/{METRICS}"):
        console.print(told, soft_wrap=True)
    return lines.values
