"""Prompts for rollouts, out of trees; and trees again, with the rollouts as branches.

A tree of an online phase holds, for each cut point, the stored texts that compete, and the original
in any case: it says where the cut point is. Tokens of a rollout become the branch as they were
sampled; they are never made to text and back.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import chain
from math import nan

import numpy as np

from prewrite.judge.pool import Pool
from prewrite.prompts.context import contexts
from prewrite.train.config.phases import KINDS, Phase
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.loader import Batch, LaidOut, Loader
from prewrite.train.data.samples import DocumentSpan, ScoredChunk
from prewrite.train.data.texts import TextTokens
from prewrite.train.data.trees import ORIGINAL, ROLLOUT, Candidate, Tree
from prewrite.train.online.messages import PromptKey, RolloutGroup, RolloutPrompt, rollout_name


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """One rank's share of a step of an online phase, before its rollouts.

    laid: with the stored texts as candidates. prompts: one a cut point, in their order. lengths:
    tokens of the original at each cut point.
    """

    laid: LaidOut
    prompts: tuple[RolloutPrompt, ...]
    lengths: Mapping[PromptKey, int]


def prompt_batch(loader: Loader, first: int, phase: Phase, config: TrainConfig) -> PromptBatch:
    """What the samples from number `first` on ask of the policy."""
    laid = loader.laid_out(first, phase)
    assert config.rollouts, "the configuration of an online phase has them"
    judge = config.rollouts.judge
    limit = judge.max_context_tokens if judge else config.batch.max_seq_len
    prompts = [
        prompt
        for span, trees in zip(laid.spans, laid.trees, strict=True)
        for prompt in prompts_of(
            span, trees, loader.texts, phase.stored, config.seed, limit, config.kinds
        )
    ]
    originals = [
        ((tree.sample, candidate.id), len(candidate.tokens))
        for tree in chain.from_iterable(laid.trees)
        for candidate in tree.candidates
        if candidate.kind == ORIGINAL
    ]
    return PromptBatch(laid, tuple(prompts), dict(originals))


def batch_with_rollouts(
    loader: Loader, asked: PromptBatch, groups: Mapping[PromptKey, RolloutGroup], phase: Phase
) -> Batch:
    """The batch of a step whose rollouts are there."""
    laid = chain.from_iterable(asked.laid.trees)
    trees = with_rollouts([*laid], groups, phase.stored, loader.kinds)
    counts = Counter(asked.laid.counts)
    counts["rollout"] += sum(len(group.rollouts) for group in groups.values())
    return loader.pack(asked.laid, [tree for tree in trees if tree.candidates], counts)


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
                    _seed(seed, key),
                    Pool(chunk.id, before[chunk.id], chunk.original, candidates, chunk.known),
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
            found += _rollouts(candidate, group)
    return replace(tree, candidates=tuple(found))


def _rollouts(anchor: Candidate, group: RolloutGroup) -> Iterator[Candidate]:
    for number, rollout in enumerate(group.rollouts):
        yield Candidate(
            id=anchor.id,
            kind=ROLLOUT,
            cut=anchor.cut,
            tokens=np.array(rollout.tokens, np.int32),
            on_trunk=False,
            score=group.scores.get(rollout_name(number), nan),
            sampled=rollout.logprobs,
        )


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


def _seed(seed: int, key: PromptKey) -> int:
    """Of a prompt's rollouts; room is left above it, for the engine adds each one's number."""
    digest = blake2b(f"{seed}:{key[0]}:{key[1]}".encode(), digest_size=4).digest()
    return int.from_bytes(digest) >> 2
