"""Prompts of rows, and trees with their rollouts: what rewriting and judging have in common."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from prewrite.train.data.loader import LaidOut
from prewrite.train.data.texts import TextTokens
from prewrite.train.data.trees import Candidate, Tree
from prewrite.train.messages import PromptKey, RolloutGroup, RolloutPrompt, seed_of
from prewrite.train.tasks.branches import rollouts_of
from prewrite.train.tasks.rewriting import COPIED, MENDED


def prompts(laid: LaidOut, seed: int) -> Iterator[RolloutPrompt]:
    """The prompts of the rows that have trees, a row's next to each other."""
    for span, asked in zip(laid.spans, laid.prompts, strict=True):
        for turn, one in enumerate(asked):
            found = RolloutPrompt(
                span.sample, one.tokens, 0, one.pool, turn, one.wanted, span.doc_id
            )
            yield replace(found, seed=seed_of(seed, found.key))


def lengths(asked: Sequence[RolloutPrompt], texts: TextTokens) -> dict[PromptKey, int]:
    """Tokens of the original at each prompt that asks for a text in its place, else 0."""
    return {
        one.key: len(texts((one.pool.reference, False))) if _stands_in(one) else 0 for one in asked
    }


def _stands_in(one: RolloutPrompt) -> bool:
    """Whether a rollout is a text in the place of the original."""
    return one.wanted is not None and one.wanted.kind in (COPIED, MENDED)


def with_rollouts(
    asked: Sequence[RolloutPrompt], groups: Mapping[PromptKey, RolloutGroup], longest: int
) -> list[Tree]:
    """A tree a prompt, or several where its rollouts do not fit into `longest` tokens."""
    return [
        tree
        for one in asked
        if (group := groups.get(one.key))
        for tree in _trees(one, [*rollouts_of(group, one.pool.row_id, len(one.tokens))], longest)
    ]


def _trees(asked: RolloutPrompt, candidates: list[Candidate], longest: int) -> Iterator[Tree]:
    trunk = np.array(asked.tokens, np.int32)
    while candidates:
        count, cost = 0, len(trunk) - 1
        while count < len(candidates) and cost + len(candidates[count].tokens) <= longest:
            cost += len(candidates[count].tokens)
            count += 1
        count = max(1, count)
        yield Tree(asked.sample, trunk, tuple(candidates[:count]), whole=True)
        candidates = candidates[count:]
