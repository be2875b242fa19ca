"""The reward `match` of the task `think`: does the text go on as it did in truth?"""

from collections.abc import Sequence
from dataclasses import replace

from prewrite.engine.tokenizer import PlainTokenizer
from prewrite.judge.pool import Pool
from prewrite.judge.scorer import PoolScorer
from prewrite.train.config.task import ThinkTask
from prewrite.train.messages import RolloutPrompt, rollout_name
from prewrite.train.tasks.earned import Earned, SampledPrompt
from prewrite.train.tasks.thinking import Thought, forms, measured, read


class MatchEarnings:
    """Weighs what follows the thoughts, in the rollout worker: the judge sees it beside as many
    tokens of the true text. A rollout of the wrong form earns 0 and is not shown to the judge.
    """

    def __init__(self, task: ThinkTask, tokenizer: PlainTokenizer, scorer: PoolScorer) -> None:
        self._suffix, self._tokenizer, self._scorer = task.suffix, tokenizer, scorer

    async def __call__(self, sampled: Sequence[SampledPrompt]) -> list[Earned]:
        """What the rollouts of each prompt earn."""
        found = [
            [read(self._tokenizer, prompt, one, self._suffix) for one in rollouts]
            for prompt, rollouts in sampled
        ]
        pools = [_pool(prompt, some) for (prompt, _), some in zip(sampled, found, strict=True)]
        scored = iter(await self._scorer([pool for pool in pools if pool.candidates]))
        return [
            _earned(some, Earned.of(next(scored)) if pool.candidates else Earned())
            for some, pool in zip(found, pools, strict=True)
        ]


def _pool(prompt: RolloutPrompt, found: Sequence[Thought]) -> Pool:
    texts = {rollout_name(n): one.text for n, one in enumerate(found) if not one.failed}
    return replace(prompt.pool, candidates=texts)


def _earned(found: Sequence[Thought], judged: Earned) -> Earned:
    failed = {rollout_name(n): 0.0 for n, one in enumerate(found) if one.failed}
    return replace(
        judged,
        scores=judged.scores | failed,
        values=judged.values | measured(found),
        counts=judged.counts + forms(found),
        kept=tuple(one.kept for one in found),
    )
