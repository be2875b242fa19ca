"""How fast an engine answers, found from the requests of a short run.

While at least `concurrency` requests are open the engine is full, and only that time counts: a long
run is full almost always. At its end N requests were answered and at most `concurrency` were under
way, so the speed is at least N over the time and at most N + concurrency over it. Between the two,
each request under way counts by its age over the mean time of one.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from prewrite.engine.types import Completion, Engine, Request


@dataclass(frozen=True)
class Speed:
    """Requests a second: at least, likely, at most."""

    low: float
    likely: float
    high: float


@dataclass
class Meter:
    """An engine that notes when its requests end. ended: (seconds since the first request, requests
    open just before).
    """

    engine: Engine
    ended: list[tuple[float, int]] = field(default_factory=list)
    open: int = 0
    failed: int = 0
    _begun: float | None = None

    def __post_init__(self) -> None:
        self.concurrency, self.primes = self.engine.concurrency, self.engine.primes

    async def complete(self, request: Request) -> Completion:
        """Answer, and note when."""
        self._begin()
        return self._end(await self.engine.complete(request))

    async def likelihood(self, context: Sequence[str], text: str) -> Completion:
        """Answer, and note when."""
        self._begin()
        return self._end(await self.engine.likelihood(context, text))

    def check_verdicts(self, verdicts: Iterable[str]) -> None:
        """The engine's."""
        self.engine.check_verdicts(verdicts)

    def versions(self) -> dict[str, str]:
        """The engine's."""
        return self.engine.versions()

    def close(self) -> None:
        """Nothing of its own."""

    def _begin(self) -> None:
        self._begun = self._begun or time.monotonic()
        self.open += 1

    def _end(self, completion: Completion) -> Completion:
        assert self._begun is not None
        self.ended.append((time.monotonic() - self._begun, self.open))
        self.open -= 1
        self.failed += completion.error is not None
        return completion

    @property
    def speed(self) -> Speed:
        """How fast it answers while it is full, once it has answered."""
        full = [number for number, (_, open_) in enumerate(self.ended) if open_ >= self.concurrency]
        if not full:  # too few requests to fill it: that is how fast such a run is
            alone = len(self.ended) / max(self.ended[-1][0], 1e-9)
            return Speed(alone, alone, alone)
        times = [moment for moment, _ in self.ended[: full[-1] + 1]]
        count, last = len(times), max(times[-1], 1e-9)
        speeds = [(count + more) / last for more in (0.0, self._progress(times), self.concurrency)]
        return Speed(*speeds)

    def _progress(self, times: list[float]) -> float:
        """What the requests under way amount to. The first ones begin at 0; each other when one
        before it ends, in turn.
        """
        begins = [0.0] * self.concurrency + times
        length = sum(end - begin for end, begin in zip(times, begins, strict=False)) / len(times)
        under_way = begins[len(times) :][: self.concurrency - 1]
        return sum(min(1.0, (times[-1] - begin) / max(length, 1e-9)) for begin in under_way)
