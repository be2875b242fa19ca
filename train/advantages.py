"""Advantages of whole groups, before the rows of a batch are learnt from.

A group is the candidates that compete: those of a cut point, or all of a sample of a prompted task.
Its members may lie in several rows of one rank, so an objective that looks at one row cannot weigh
them; here all rows of the rank are looked at together. Groups never span ranks: a sample has one.

Shape suffixes: those of `train.objectives`, C for the candidates of all rows.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import nan

import torch
from torch import Tensor

from prewrite.train.config.phases import Grpo
from prewrite.train.data.rows import Advantages, Candidates, PackedSequence, joined
from prewrite.train.objectives import Ranking, rank, sum_tokens


def with_advantages(rows: Sequence[PackedSequence], part: Grpo) -> list[PackedSequence]:
    """The rows with the advantages of their candidates."""
    found = advantages([row.candidates for row in rows], part)
    return [replace(row, candidates=one) for row, one in zip(rows, found, strict=True)]


def advantages(parts: Sequence[Candidates], part: Grpo) -> list[Candidates]:
    """The candidates of all rows with what `part` needs of every candidate.

    The advantage is score - mean score of the group, and for the variant `grpo` divided by the
    group's standard deviation (with n - 1, and 1e-4 added as TRL does). With `kl` the score is
    score - kl * (log p_when_sampled - log p_reference), once the reference is known (in nats,
    summed over the text's tokens): the estimate of KL(policy || reference) by one sample, as part
    of the reward. A stored text, which the policy did not sample, has none.
    """
    every = joined(parts)
    found = _of_groups(every, _penalty(every, part.kl), part.variant == "grpo")
    sizes = [len(one.kind_C) for one in parts]
    pieces = zip(*(torch.split(value, sizes) for value in vars(found).values()), strict=True)
    return [
        replace(one, advantages=Advantages(*piece))
        for one, piece in zip(parts, pieces, strict=True)
    ]


def _penalty(candidates: Candidates, kl: float) -> Tensor:
    """What the distance from the reference takes from each score, [C]; 0 where it is not known."""
    sampled_C = sum_tokens(candidates.sampled_T, candidates)
    return kl * (sampled_C - candidates.reference_C).nan_to_num(nan=0.0)


def _of_groups(candidates: Candidates, penalty_C: Tensor, standard: bool) -> Advantages:
    ranking, none_C = rank(candidates, least=2), torch.full_like(candidates.score_C, nan)
    advantage_C, spread_C = none_C.clone(), none_C
    scored_C = torch.full_like(candidates.kind_C, -1)
    first_K, scored_K = _firsts(candidates)
    scored_C[first_K] = scored_K
    best_cut_K = candidates.cut_C[ranking.best_K]
    order_K = torch.searchsorted(candidates.cut_C[first_K], best_cut_K)
    spread_C[first_K[order_K]] = ranking.spread_K
    score_S = (candidates.score_C - penalty_C)[ranking.members_S]
    advantage_C[ranking.members_S] = _centred(score_S, ranking, standard)
    return Advantages(advantage_C, scored_C, spread_C)


def _firsts(candidates: Candidates) -> tuple[Tensor, Tensor]:
    """The first candidate of each group and how many of it have a score; by the group's number."""
    cuts_K, inverse_C = torch.unique(candidates.cut_C, return_inverse=True)
    numbers_C = torch.arange(len(inverse_C), device=inverse_C.device)
    first_K = torch.full_like(cuts_K, len(inverse_C)).scatter_reduce(
        0, inverse_C, numbers_C, "amin"
    )
    scored_C = (~candidates.score_C.isnan()).long()
    return first_K, torch.zeros_like(cuts_K).index_add(0, inverse_C, scored_C)


def _centred(score_S: Tensor, ranking: Ranking, standard: bool) -> Tensor:
    """The score minus the mean of its group, [S]; `standard`: divided by its deviation."""
    advantage_S = score_S - (_sums(score_S, ranking) / ranking.size_K)[ranking.cut_S]
    if not standard:
        return advantage_S
    variance_K = _sums(advantage_S**2, ranking) / (ranking.size_K - 1)
    return advantage_S / (variance_K.sqrt() + 1e-4)[ranking.cut_S]


def _sums(value_S: Tensor, ranking: Ranking) -> Tensor:
    """What the members of each group add up to, [K]."""
    return torch.zeros_like(ranking.spread_K).index_add(0, ranking.cut_S, value_S)
