"""Prompts for rollouts, out of trees; and trees again, with the rollouts as branches.

A tree of an online phase holds, for each cut point, the stored texts that compete, and the original
in any case: it says where the cut point is. Tokens of a rollout become the branch as they were
sampled; they are never made to text and back.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from math import nan

from prewrite.judge.pool import Pool
from prewrite.judge.scorer import PoolScorer
from prewrite.prompts.context import contexts
from prewrite.train.config.phases import KINDS, Phase
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.loader import LaidOut
from prewrite.train.data.samples import DocumentSpan, ScoredChunk
from prewrite.train.data.texts import TextTokens
from prewrite.train.data.trees import ORIGINAL, Candidate, Tree
from prewrite.train.messages import (
    PromptKey,
    Rollout,
    RolloutGroup,
    RolloutPrompt,
    rollout_name,
    seed_of,
)
from prewrite.train.tasks.branches import rollouts_of
from prewrite.train.tasks.earned import Earned, SampledPrompt
from prewrite.train.tasks.prefer import Preferred


class PoolEarnings:
    """Weighs rollouts beside the stored texts of their pools, in the rollout worker."""

    def __init__(self, scorer: PoolScorer | Preferred) -> None:
        self._scorer = scorer

    async def __call__(self, sampled: Sequence[SampledPrompt]) -> list[Earned]:
        """The scores of each pool."""
        return [Earned.of(one) for one in await self._scorer([pool_of(*one) for one in sampled])]


def pool_of(prompt: RolloutPrompt, rollouts: Sequence[Rollout]) -> Pool:
    """A prompt's pool with its rollouts."""
    texts = {rollout_name(number): rollout.text for number, rollout in enumerate(rollouts)}
    return replace(prompt.pool, candidates={**prompt.pool.candidates, **texts})


def prompts(
    laid: LaidOut, texts: TextTokens, phase: Phase, config: TrainConfig
) -> Iterator[RolloutPrompt]:
    """The prompts of a step, one a cut point."""
    assert config.rollouts, "the configuration of an online phase has them"
    judge = config.rollouts.judge
    limit = judge.max_context_tokens if judge else config.batch.max_seq_len
    for span, trees in zip(laid.spans, laid.trees, strict=True):
        yield from prompts_of(span, trees, texts, phase.stored, config.seed, limit, config.kinds)


def lengths(laid: LaidOut) -> dict[PromptKey, int]:
    """Tokens of the original at each cut point."""
    return {
        (tree.sample, candidate.id): len(candidate.tokens)
        for tree in chain.from_iterable(laid.trees)
        for candidate in tree.candidates
        if candidate.kind == ORIGINAL
    }


def prompts_of(
    span: DocumentSpan,
    trees: Sequence[Tree],
    texts: TextTokens,
    stored: Sequence[str],
    seed: int,
    max_context_tokens: int,
    kinds: Sequence[str] = KINDS,
) -> Iterator[RolloutPrompt]:
    """The prompts of a span, one a cut point. stored: the kinds that compete with rollouts;
    kinds: those of the recipe.
    """
    before = _befores(span, texts, max_context_tokens)
    chunks = {chunk.id: chunk for chunk in span.chunks}
    laid = {(c.id, kinds[c.kind]) for tree in trees for c in tree.candidates}
    for tree in trees:
        for anchor in tree.candidates:
            if anchor.kind == ORIGINAL:
                chunk, key = chunks[anchor.id], (span.sample, anchor.id)
                mine = [kind for kind in stored if (chunk.id, kind) in laid]
                candidates = dict(_stored(chunk, mine, kinds))
                yield RolloutPrompt(
                    span.sample,
                    tuple(tree.trunk[: anchor.cut].tolist()),
                    seed_of(seed, key),
                    Pool(chunk.id, before[chunk.id], chunk.original, candidates, chunk.known),
                    doc_id=span.doc_id,
                )


def with_rollouts(
    trees: Sequence[Tree],
    groups: Mapping[PromptKey, RolloutGroup],
    stored: Sequence[str],
    kinds: Sequence[str] = KINDS,
) -> list[Tree]:
    """The trees with their rollouts and the scores of the pool; a text without a score there has
    none, whatever the set holds: the two are on different scales.
    """
    return [_with_rollouts(tree, groups, stored, kinds) for tree in trees]


def _with_rollouts(
    tree: Tree,
    groups: Mapping[PromptKey, RolloutGroup],
    stored: Sequence[str],
    kinds: Sequence[str],
) -> Tree:
    found = list[Candidate]()
    for candidate in tree.candidates:
        group = groups.get((tree.sample, candidate.id))
        name = kinds[candidate.kind]
        score = group.scores.get(name, nan) if group else nan
        if name in stored:
            found.append(replace(candidate, score=score))
        if candidate.kind == ORIGINAL and group:
            found += rollouts_of(group, candidate.id, candidate.cut)
    return replace(tree, candidates=tuple(found))


def _befores(span: DocumentSpan, texts: TextTokens, limit: int) -> dict[str, tuple[str, ...]]:
    """What the judge reads before each chunk: the pieces that later chunks share."""
    begin = max(0, span.first - span.context)
    originals = [span.original(number) for number in range(begin, span.first)]
    originals += [chunk.original for chunk in span.chunks]
    rows = [
        {"original": text, "original_tokens": len(texts((text, number == 0)))}
        for number, text in enumerate(originals, begin)
    ]
    found = contexts(rows, limit)[span.first - begin :]
    return {chunk.id: pieces for chunk, pieces in zip(span.chunks, found, strict=True)}


def _stored(
    chunk: ScoredChunk, chosen: Sequence[str], kinds: Sequence[str]
) -> Iterator[tuple[str, str]]:
    for kind, text in zip(kinds, chunk.texts, strict=False):
        if kind in chosen and text is not None:
            yield kind, text
