"""The task `rewrite`: the prompt of the rewrite pass, and what an answer to it earns.

Trainer and pass use the same `prompts.rewriting`, so that what is trained is what is used.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from prewrite.engine.encoding import PromptEncoder
from prewrite.engine.types import FinishReason
from prewrite.judge.pool import PIVOT, Pool
from prewrite.judge.scorer import PoolScorer
from prewrite.prompts.checks import Checked
from prewrite.prompts.config import RewriteConfig
from prewrite.prompts.context import contexts
from prewrite.prompts.rewriting import Rewriting
from prewrite.train.config.task import RewriteTask
from prewrite.train.data.prompted import Asked, Wanted
from prewrite.train.data.samples import AskedRow
from prewrite.train.messages import Rollout, RolloutPrompt, rollout_name
from prewrite.train.tasks.earned import Earned, SampledPrompt

COPIED, MENDED = "copied", "mended"
"""Kinds of rows: to be copied exactly, and to be judged."""


_FORMED = ("ok", "copied")
"""Statuses of what has its form. A pass keeps a text that was cut off; here it has not ended."""


def rewriting_of(task: RewriteTask) -> Rewriting:
    """The requests and checks of the task; vLLM, which samples, goes on from a begun answer."""
    config = RewriteConfig(engine="policy", template=task.template, length=task.length)
    return Rewriting(config, tokens=1, primes=True)


class RewriteAsker:
    """Makes the prompt of a row; see `train.data.prompted.Asker`."""

    def __init__(self, task: RewriteTask, encoder: PromptEncoder, end: int) -> None:
        self.end, self._task, self._encoder = end, task, encoder
        self._rewriting = rewriting_of(task)

    def __call__(self, asked: AskedRow) -> list[Asked]:
        """Its one prompt."""
        row, fence = asked.row, self._rewriting.fence(asked.document)
        context = contexts(asked.document, self._task.max_context_tokens)[row["chunk"]]
        prompt = self._rewriting.request(row, context, fence).prompt
        pool = Pool(row["id"], context, row["original"], {})
        kind = COPIED if asked.copies else MENDED
        wanted = Wanted(kind, fence=fence, begun=prompt.answer, copies=asked.copies)
        return [Asked(tuple(self._encoder.encode(prompt)), pool, wanted)]

    def answer(self, asked: Asked, text: str) -> tuple[int, ...]:
        """The token ids of a stored text as the answer, without its end."""
        spaced = f"{' ' * bool(asked.wanted.begun)}{text.strip()}"
        return self._encoder.words(spaced)


class RewriteEarnings:
    """Weighs the answers to prompts of rows, in the rollout worker. Of what is judged each rollout
    meets the original: `judge.pools.schedule` is `pivot`.
    """

    def __init__(self, task: RewriteTask, scorer: PoolScorer) -> None:
        self._rewriting, self._scorer = rewriting_of(task), scorer

    async def __call__(self, sampled: Sequence[SampledPrompt]) -> list[Earned]:
        """What the rollouts of each prompt earn."""
        formed = [self._formed(*one) for one in sampled]
        pools = [
            _pool(prompt, checked)
            for (prompt, _), checked in zip(sampled, formed, strict=True)
            if not _wanted(prompt).copies and any(one.text is not None for one in checked)
        ]
        scored = iter(await self._scorer(pools))
        asked = {pool.row_id for pool in pools}
        return [
            self._earned(
                *one, checked, Earned.of(next(scored)) if one[0].pool.row_id in asked else Earned()
            )
            for one, checked in zip(sampled, formed, strict=True)
        ]

    def _formed(self, prompt: RolloutPrompt, rollouts: Sequence[Rollout]) -> list[Checked]:
        """Each rollout by its form; `text` is None where it is not usable."""
        wanted, original = _wanted(prompt), prompt.pool.reference
        found = []
        for one in rollouts:
            finish: FinishReason = "stop" if one.ended else "length"
            read = self._rewriting.read(original, wanted.begun, one.text, finish, wanted.fence)
            usable = read.text if read.status in _FORMED else None
            found.append(replace(read, text=usable))
        return found

    def _earned(
        self,
        prompt: RolloutPrompt,
        rollouts: Sequence[Rollout],
        checked: Sequence[Checked],
        judged: Earned,
    ) -> Earned:
        failed = {rollout_name(n): 0.0 for n, one in enumerate(checked) if one.text is None}
        if _wanted(prompt).copies:
            scores = self._copied(prompt, rollouts)
        else:
            told = {n: v for n, v in judged.scores.items() if n != PIVOT}
            scores = told | failed
        forms = Counter(f"form:{one.reason}" for one in checked if one.text is None)
        return replace(judged, scores=scores, counts=judged.counts + forms)

    def _copied(self, prompt: RolloutPrompt, rollouts: Sequence[Rollout]) -> dict[str, float]:
        original, fence = prompt.pool.reference, _wanted(prompt).fence
        return {
            rollout_name(n): float(one.ended and self._rewriting.copied(original, one.text, fence))
            for n, one in enumerate(rollouts)
        }


def _pool(prompt: RolloutPrompt, checked: Sequence[Checked]) -> Pool:
    """The original and the usable rollouts."""
    texts = {rollout_name(n): one.text for n, one in enumerate(checked) if one.text is not None}
    return replace(prompt.pool, candidates={PIVOT: prompt.pool.reference, **texts})


def _wanted(prompt: RolloutPrompt) -> Wanted:
    assert prompt.wanted, "the prompts of a prompted task have it"
    return prompt.wanted
