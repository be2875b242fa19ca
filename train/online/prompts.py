"""A step of an online phase: the prompts that its samples ask, and its batch once rollouts are
there.

What a prompt and a tree with rollouts look like, a task says (`train.tasks`).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from prewrite.train.config.phases import Phase
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.loader import Batch, LaidOut, Loader
from prewrite.train.messages import PromptKey, RolloutGroup, RolloutPrompt
from prewrite.train.tasks import continuing, prompted


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """One rank's share of a step of an online phase, before its rollouts.

    laid: with the stored texts as candidates. prompts: one a cut point, in their order. lengths:
    tokens of the original at each cut point; 0 where a rollout is no text in its place.
    """

    laid: LaidOut
    prompts: tuple[RolloutPrompt, ...]
    lengths: Mapping[PromptKey, int]


def prompt_batch(loader: Loader, first: int, phase: Phase, config: TrainConfig) -> PromptBatch:
    """What the samples from number `first` on ask of the policy."""
    laid = loader.laid_out(first, phase)
    if loader.asker:
        prompts = tuple(prompted.prompts(laid, config.seed))
        return PromptBatch(laid, prompts, prompted.lengths(prompts, loader.texts))
    prompts = tuple(continuing.prompts(laid, loader.texts, phase, config))
    return PromptBatch(laid, prompts, continuing.lengths(laid))


def batch_with_rollouts(
    loader: Loader, asked: PromptBatch, groups: Mapping[PromptKey, RolloutGroup], phase: Phase
) -> Batch:
    """The batch of a step whose rollouts are there."""
    if loader.asker:
        trees = prompted.with_rollouts(asked.prompts, groups, loader.sequence_tokens)
    else:
        laid = chain.from_iterable(asked.laid.trees)
        trees = continuing.with_rollouts([*laid], groups, phase.stored, loader.kinds)
    counts = Counter(asked.laid.counts)
    counts["rollout"] += sum(len(group.rollouts) for group in groups.values())
    return loader.pack(asked.laid, [tree for tree in trees if tree.candidates], counts)
