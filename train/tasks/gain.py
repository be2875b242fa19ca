"""The reward `gain` of the task `think`: how much likelier a thought makes the true text.

log p(true text | text before, thought) - log p(true text | text before), in nats a byte of the true
text, under a frozen reference model (as in RLP, arXiv 2510.01265). Beside it the same of a thought
without words: what the markers alone do.
"""

import asyncio
from collections.abc import Sequence

from prewrite.engine.tokenizer import PlainTokenizer
from prewrite.engine.types import Completion, Engine
from prewrite.prompts.thoughts import CLOSE, OPEN
from prewrite.prompts.usage import usage_of
from prewrite.train.config.task import ThinkTask
from prewrite.train.messages import Rollout, RolloutPrompt, rollout_name
from prewrite.train.tasks.earned import Earned, SampledPrompt
from prewrite.train.tasks.thinking import Thought, forms, measured, read

BLANK = "blank"
"""What `values` call the gain of a thought without words."""

Told = tuple[float | None, Completion]
"""Log-likelihood a byte, None where the engine could not tell, and its answer."""


class GainEarnings:
    """Weighs thoughts, in the rollout worker. One of the wrong form earns as little as the worst
    of its group, and never more than 0; where the engine cannot tell a likelihood there is no
    score.
    """

    def __init__(self, task: ThinkTask, tokenizer: PlainTokenizer, reference: Engine) -> None:
        self._suffix, self._tokenizer, self._reference = task.suffix, tokenizer, reference

    async def __call__(self, sampled: Sequence[SampledPrompt]) -> list[Earned]:
        """What the rollouts of each prompt earn."""
        return list(await asyncio.gather(*(self._of_prompt(*one) for one in sampled)))

    async def _of_prompt(self, prompt: RolloutPrompt, rollouts: Sequence[Rollout]) -> Earned:
        found = [read(self._tokenizer, prompt, one, self._suffix) for one in rollouts]
        formed = [n for n, one in enumerate(found) if not one.failed]
        inserted = [f"{OPEN}{found[n].thought}{CLOSE}" for n in formed]
        asked = ["", f"{OPEN}{CLOSE}", *inserted]
        told = await asyncio.gather(*(self._likelihood(prompt, text) for text in asked))
        bare = told[0][0]
        gains = [None if bare is None or one is None else one - bare for one, _ in told[1:]]
        known = {n: gain for n, gain in zip(formed, gains[1:], strict=True) if gain is not None}
        return self._earned(found, known, gains[0], [answer for _, answer in told])

    async def _likelihood(self, prompt: RolloutPrompt, inserted: str) -> Told:
        """Of the true text, in nats a byte, with `inserted` before it."""
        *context, before = prompt.pool.context
        true = prompt.pool.reference
        answer = await self._reference.likelihood([*context, before + inserted], true)
        if answer.error is not None:
            return None, answer
        value = sum(answer.samples[0].logprobs) / len(true.encode())
        return (value if value == value else None), answer

    def _earned(
        self,
        found: Sequence[Thought],
        known: dict[int, float],
        blank: float | None,
        answers: Sequence[Completion],
    ) -> Earned:
        scores = {rollout_name(n): gain for n, gain in known.items()}
        least = min([0.0, *known.values()])
        scores |= {rollout_name(n): least for n, one in enumerate(found) if one.failed}
        told = {} if blank is None else {BLANK: {rollout_name(n): blank for n in known}}
        failed = sum(answer.error is not None for answer in answers)
        counts = forms(found)
        counts["verdict:failed"] += failed
        counts["verdict:ok"] += len(answers) - failed
        return Earned(
            scores,
            measured(found) | told,
            +counts,
            usage_of(*answers),
            tuple(one.kept for one in found),
        )
