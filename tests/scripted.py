"""An engine that answers as told: for faults that no real one makes on demand."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from prewrite.engine.types import Completion, FinishReason, Prompt, Request, Sample, Sampling
from prewrite.judge.criteria import PromptedCriterion, load_criterion


def said(text: str, finish: FinishReason = "stop", **verdicts: float) -> Completion:
    """A completion of one sample that cost 10 prompt tokens, 4 of them cached, and 3 of output."""
    return Completion((Sample(text, finish, verdicts=verdicts),), 10, 4, 3)


def asked(name: str) -> PromptedCriterion:
    """A shipped criterion of which it is known that a model is asked."""
    criterion = load_criterion(name)
    assert isinstance(criterion, PromptedCriterion)
    return criterion


@dataclass
class Scripted:
    """`answer` gives the completion of a request; `asked` keeps every request."""

    answer: Callable[[Request], Completion]
    asked: list[Request] = field(default_factory=list)
    concurrency: int = 4
    primes: bool = True

    async def complete(self, request: Request) -> Completion:
        self.asked.append(request)
        return self.answer(request)

    async def likelihood(self, context: Sequence[str], text: str) -> Completion:
        return self.answer(Request(Prompt((*context, text)), Sampling(0, logprobs=True)))

    def check_verdicts(self, verdicts: Iterable[str]) -> None: ...

    def versions(self) -> dict[str, str]:
        return {"scripted": "1"}

    def close(self) -> None: ...

    @property
    def prompts(self) -> list[str]:
        return ["".join(request.prompt.user) for request in self.asked]
