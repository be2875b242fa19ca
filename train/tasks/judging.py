"""The task `judge`: the question of the judge pass, and whether the verdict is the label.

No engine is asked: the scores of a set are the labels. Trainer and pass make their prompts with the
same `judge.pool.Question` and read verdicts with the same `judge.readout`.
"""

from collections import Counter
from collections.abc import Sequence
from functools import cache

from prewrite.engine.encoding import PromptEncoder
from prewrite.engine.types import FinishReason, Prompt, Sample
from prewrite.judge.criteria import Criterion, PromptedCriterion, load_criterion
from prewrite.judge.judge import fence_for
from prewrite.judge.pool import Pool, Question
from prewrite.judge.readout import Verdict, reasoned
from prewrite.prompts.context import contexts
from prewrite.shards.schema import TEXTS, USABLE, Row
from prewrite.train.config.task import JudgeTask
from prewrite.train.data.prompted import Asked, Wanted
from prewrite.train.data.samples import AskedRow
from prewrite.train.messages import Rollout, RolloutPrompt, rollout_name
from prewrite.train.tasks.earned import Earned, SampledPrompt

_SAME = 1e-6  # scores are stored as float32


class JudgeAsker:
    """Makes the prompts of a row: of a pair both orders, else one. See
    `train.data.prompted.Asker`.
    """

    def __init__(self, task: JudgeTask, encoder: PromptEncoder, end: int) -> None:
        self.end, self._task, self._encoder = end, task, encoder
        self.identity = {"end": end, "chat": encoder.template}  # a set has that of its criterion

    def __call__(self, asked: AskedRow) -> list[Asked]:
        """Its prompts, none where it has no label."""
        criterion = criterion_of(asked.criterion or "")
        label = label_of(asked.row, criterion)
        if label is None:
            return []
        befores = contexts(asked.document, self._task.max_context_tokens)
        context = befores[asked.row["chunk"]]
        fence = fence_for(criterion, _texts(asked))
        pool = _pool(asked.row, context, criterion)
        pair = criterion.kind == "pairwise"
        questions = [
            Question(criterion, pool, TEXTS[0], TEXTS[1] if pair else None, order)
            for order in range(1 + pair)
        ]
        return [self.prompt(one, asked.criterion or "", fence, label) for one in questions]

    def answer(self, asked: Asked, text: str) -> tuple[int, ...]:
        """The token ids of a text as an answer."""
        return self._encoder.words(text)

    def prompt(self, question: Question, name: str, fence: str, label: float) -> Asked:
        """The prompt of a question. name: of its criterion, as the recipe has it; label: of the
        text that is asked about.
        """
        prompt = Prompt(question.pieces(fence, reasoning=True))
        label = 1 - label if question.order else label
        wanted = Wanted(question.criterion.name, fence, criterion=name, label=label)
        return Asked(tuple(self._encoder.encode(prompt)), question.pool, wanted)


class JudgeEarnings:
    """Weighs verdicts against labels, in the rollout worker."""

    async def __call__(self, sampled: Sequence[SampledPrompt]) -> list[Earned]:
        """What the rollouts of each prompt earn; a verdict that cannot be read earns 0, for it is
        the policy's, and is counted.
        """
        return [_earned(*one) for one in sampled]


@cache
def criterion_of(name: str) -> PromptedCriterion:
    """The criterion of a set; the recipe has refused those that ask no model."""
    criterion = load_criterion(name)
    assert isinstance(criterion, PromptedCriterion)
    return criterion


def label_of(row: Row, criterion: PromptedCriterion) -> float | None:
    """The value 0..1 of the right verdict on a row; of a pair, of the order in which the original
    stands first. None where its scores are no label: absent, equal, or no verdict's value.
    """
    own, other = (row.get(f"{text}_{criterion.name}") for text in TEXTS)
    if criterion.kind == "pairwise":
        usable = row[f"{TEXTS[1]}_status"] in USABLE and row[TEXTS[1]]
        if own is None or other is None or not usable or abs(own - other) < _SAME:
            return None
        return float(own > other)
    if own is None or not criterion.verdicts:
        return own
    values = map(criterion.share, criterion.verdicts.values())
    return next((value for value in values if abs(value - own) < _SAME), None)


def _pool(row: Row, context: tuple[str, ...], criterion: Criterion) -> Pool:
    texts = TEXTS if criterion.kind == "pairwise" else TEXTS[:1]
    return Pool(row["id"], context, row["original"], {text: row[text] for text in texts})


def _texts(asked: AskedRow) -> list[str]:
    """All that prompts of a document may hold, as in the judge pass."""
    rewrites = (row[text] for row in asked.document for text in asked.texts[1:])
    return ["".join(row["original"] for row in asked.document), *filter(None, rewrites)]


def _earned(prompt: RolloutPrompt, rollouts: Sequence[Rollout]) -> Earned:
    wanted = prompt.wanted
    assert wanted, "the prompts of a prompted task have it"
    criterion = criterion_of(wanted.criterion)
    read = {rollout_name(n): _read(criterion, one) for n, one in enumerate(rollouts)}
    told = {name: one.value for name, one in read.items() if one.value is not None}
    scores = {name: _reward(criterion, one.value, wanted.label) for name, one in read.items()}
    unread = Counter({"form:unparsable": len(read) - len(told)})
    return Earned(scores, {criterion.name: told}, +unread)


def _read(criterion: PromptedCriterion, rollout: Rollout) -> Verdict:
    finish: FinishReason = "stop" if rollout.ended else "length"
    return reasoned(criterion, Sample(rollout.text, finish))


def _reward(criterion: PromptedCriterion, value: float | None, label: float) -> float:
    if value is None:
        return 0.0
    return float(abs(value - label) < _SAME) if criterion.verdicts else 1 - abs(value - label)
