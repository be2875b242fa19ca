"""The lines of `metrics.jsonl`: which of them can be read, and which are damaged.

A line is an object with `step`, `phase` and numbers, of a later step than the line before it. A
last line without its end is none: it is being written, or was torn by a kill.
"""

import json
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class MetricsLines:
    """values: of each line that can be read; raw: their bytes; damaged: number and fault of each
    other line, counted from 1.
    """

    values: list[dict[str, Any]]
    raw: list[bytes]
    damaged: list[tuple[int, str]]

    def told(self, where: str) -> str | None:
        """What is left out, in one sentence; None when nothing is."""
        if not self.damaged:
            return None
        numbers = shortened([str(number) for number, _ in self.damaged])
        first = self.damaged[0]
        count = f"{len(self.damaged)} damaged line{'s' * (len(self.damaged) > 1)}"
        return f"{where}: {count} left out: {numbers} (line {first[0]}: found {first[1]})"


def parse(data: bytes) -> MetricsLines:
    """The lines of a file's bytes."""
    found = MetricsLines([], [], [])
    lines = data.split(b"\n")[:-1]
    read = [_read(line) for line in lines]
    ordered = _rising([None if fault else values["step"] for values, fault in read])
    for number, (line, (values, fault)) in enumerate(zip(lines, read, strict=True)):
        if number in ordered:
            found.values.append(values)
            found.raw.append(line + b"\n")
        else:
            found.damaged.append((number + 1, fault or f"step {values['step']} out of order"))
    return found


def _rising(steps: Sequence[int | None]) -> set[int]:
    """The places of as many steps as can be kept so that each is later than the one before; of two
    equal ones the first.
    """
    ends, places = list[int](), list[int]()  # of the chains of each length, the lowest last step
    before = dict[int, int | None]()
    for place, step in enumerate(steps):
        length = bisect_left(ends, step) if step is not None else 0
        if step is None or ends[length : length + 1] == [step]:
            continue
        before[place] = places[length - 1] if length else None
        ends[length : length + 1], places[length : length + 1] = [step], [place]
    chain, last = set[int](), places[-1] if places else None
    while last is not None:
        chain.add(last)
        last = before[last]
    return chain


def shortened(words: Sequence[str], most: int = 10) -> str:
    """The words with commas, the first ones only where there are many."""
    more = len(words) - most
    return ", ".join(words[:most]) + (f" and {more} more" if more > 0 else "")


def _read(line: bytes) -> tuple[dict[str, Any], str]:
    """The values of a line and "", or what was found in its place."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return {}, "no JSON"
    if not isinstance(values, dict):
        return {}, f"a {type(values).__name__}"
    if type(values.get("step")) is not int or not isinstance(values.get("phase"), str):
        return {}, "no step or phase"
    for key, value in values.items():
        if key != "phase" and value is not None and type(value) not in (int, float):
            return {}, f"a {type(value).__name__} in {key[:40]!r}"
        if type(value) is int and abs(value) >= 1 << 63:
            return {}, f"a number of {len(str(value))} digits in {key[:40]!r}"
    return values, ""
