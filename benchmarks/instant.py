"""An engine without a model, for benchmarks of what stands around one."""

from collections.abc import Iterable, Sequence

from prewrite.engine.types import Completion, Request, Sample


class Instant:
    """Answers at once with the passage turned round, so that it can be judged."""

    concurrency = 256
    primes = True

    async def complete(self, request: Request) -> Completion:
        """Answer."""
        text = request.prompt.user[-2]
        return Completion((Sample(text[::-1], "stop"),), prompt_tokens=1, output_tokens=1)

    async def likelihood(self, context: Sequence[str], text: str) -> Completion:
        """Nobody asks."""
        raise NotImplementedError

    def check_verdicts(self, verdicts: Iterable[str]) -> None:
        """Any verdict will do."""

    def versions(self) -> dict[str, str]:
        """None."""
        return {}

    def close(self) -> None:
        """Nothing to close."""
