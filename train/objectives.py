"""Objectives: what a row's trained tokens are pushed towards.

An objective is a function of the log-probabilities of a row's trained tokens and of what is known
about its candidates. It takes whatever candidates a cut has, one or a hundred, stored or sampled:
new kinds of text come in as candidates, not here. It gives a *sum* over the row; what divides the
sums is a count over all rows of the step on all ranks, known from the data before any forward
pass. With components n of weight w_n:

    loss = sum over n of  w_n * (sum over rows of sum_n) / max(1, sum over rows of count_n)

So the loss and its gradients do not depend on how rows are split over micro-batches and ranks, and
the rows' losses simply add up to the step's. Cost: a few sorts of a row's candidates and one pass
over its trained tokens.

Shape suffixes: T trained tokens, C candidates, S those of them that compete, K cuts, N components.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from prewrite.base.errors import ShardError
from prewrite.train.config.phases import Dpo, Grpo, Nll, Objective, RfNll, needs_reference
from prewrite.train.data.rows import Advantages, Candidates
from prewrite.train.data.trees import ROLLOUT

Sums = dict[str, Tensor]
"""Sums over a row by name. Which names there are depends on the objective, never on the data."""

TOTALS = ("cut_points", "tokens", "skipped", "equal")
"""Sums that `report` gives as they are; every other one becomes a mean over `cuts` or `tokens`."""


def nll(logp_T: Tensor, candidates: Candidates, text: str) -> tuple[Tensor, Sums]:
    """-sum of log p(token) over the candidates of the kind `text`: next-token loss, in nats.

    Its count is their tokens. A cut without such a candidate contributes nothing.
    """
    learnt_C = candidates.kind_C == candidates.kinds.index(text)
    return -logp_T[learnt_C[candidates.candidate_T]].sum(), {}


def rf_nll(logp_T: Tensor, candidates: Candidates) -> tuple[Tensor, Sums]:
    """Next-token loss on the highest-scoring candidate of each cut: RF-NLL of arXiv 2601.21343.

    Its count is their tokens. Of equal scores the first in the order of the kinds (original,
    rewrite, rollout, further rewrites) is taken; a cut without a scored candidate is `skipped`.
    """
    ranking = rank(candidates, least=1)
    learnt_C = torch.zeros_like(candidates.kind_C, dtype=torch.bool)
    learnt_C[ranking.best_K] = True
    every_K = torch.ones_like(ranking.best_K, dtype=torch.bool)
    sums = ranking.chosen(every_K, candidates) | ranking.totals(every_K)
    return -logp_T[learnt_C[candidates.candidate_T]].sum(), sums


def dpo(
    logp_T: Tensor, candidates: Candidates, beta: float, normalise: bool = False
) -> tuple[Tensor, Sums]:
    """-log sigmoid(r_chosen - r_rejected), the highest score of each cut against the lowest.

    r = beta * (log p(candidate) - log p_reference(candidate)), in nats; with `normalise` both
    log-probabilities are divided by the candidate's tokens. The loss is equation 7 of arXiv
    2305.18290, the choice of the pair that of arXiv 2601.21343. Its count is the pairs. A cut with
    fewer than two scored candidates is `skipped`, one where all have the same score is `equal`.
    Of several best ones the first in the order of the kinds is chosen, of several
    worst ones the last is rejected.
    """
    ranking = rank(candidates, least=2)
    decided_K = ranking.spread_K > 0
    gain_C = sum_tokens(logp_T, candidates) - candidates.reference_C
    if normalise:
        gain_C = gain_C / count_tokens(candidates)
    chosen_K = beta * gain_C[ranking.best_K[decided_K]]
    rejected_K = beta * gain_C[ranking.worst_K[decided_K]]
    margin_K = chosen_K - rejected_K
    logp_C = sum_tokens(logp_T, candidates)
    sums = {
        "chosen_logp": logp_C[ranking.best_K[decided_K]].sum(),
        "rejected_logp": logp_C[ranking.worst_K[decided_K]].sum(),
        "accuracy": (margin_K > 0).sum(),
        "margin": margin_K.sum(),
        "chosen_reward": chosen_K.sum(),
        "rejected_reward": rejected_K.sum(),
    }
    sums |= ranking.chosen(decided_K, candidates) | ranking.totals(decided_K)
    return -logsigmoid(margin_K).sum(), sums


def grpo(
    logp_T: Tensor, candidates: Candidates, standard: bool = False, ratio_cap: float = 2.0
) -> tuple[Tensor, Sums]:
    """-sum of advantage * log p(candidate): Dr. GRPO, arXiv 2503.20783.

    The two corrections of that paper: advantages are not divided by the group's standard
    deviation, and the sum over a candidate's tokens is not divided by its length but by a constant
    (`Grpo.tokens`), the same for all. So the count is that constant times the scored candidates of
    all groups that have two or more: the mean over group and prompts. Groups of equal scores have
    no gradient yet stay in the count, or the divisor would depend on the scores.

    The advantages are those of `train.advantages`, which sees groups that span rows.

    standard: without the corrections, as in arXiv 2402.03300, section 4.1; the count is then the
    scored candidates.

    A rollout's token counts p_now / p_when_sampled times, at most `ratio_cap` times: the gradient
    stays right when the weights have moved on; there is no clipping beside. Candidates out of
    shards were written by others, and nobody knows with which probability: on them it is a
    likelihood weighted by advantage, and nothing bounds how far a bad one is pushed down.
    """
    known = _advantages(candidates)
    logp_C = sum_tokens(_ratio(logp_T, candidates, ratio_cap) * logp_T, candidates)
    if standard:
        logp_C = logp_C / count_tokens(candidates)
    used_C = known.scored_C >= 2
    sums = {
        "spread": known.spread_C.nansum(),
        "cut_points": used_C.sum(),
        "skipped": ((known.scored_C >= 0) & ~used_C).sum(),
        "equal": (known.spread_C == 0).sum(),
    }
    return -(known.advantage_C.nan_to_num(nan=0.0) * logp_C).sum(), sums


def _advantages(candidates: Candidates) -> Advantages:
    assert candidates.advantages, "the step has found them"
    return candidates.advantages


def _ratio(logp_T: Tensor, candidates: Candidates, cap: float) -> Tensor:
    """How much likelier each token is than when it was sampled, [T] without gradient: at most
    `cap`; 1 for stored texts.
    """
    change_T = (logp_T.detach() - candidates.sampled_T).nan_to_num(nan=0.0)
    return change_T.exp().clamp(max=cap)


def drift(logp_T: Tensor, candidates: Candidates, reference: bool) -> Sums:
    """How far the policy is from the weights that sampled its rollouts, and from the reference.

    Means over the rollouts' tokens in nats: `gap` |log p - log p_when_sampled| (with weights of no
    age what engine and trainer differ by), `sampler_kl` and `reference_kl` the estimates of
    KL(sampler || policy) and KL(policy || reference) by one sample each.
    """
    sampled_T = ~candidates.sampled_T.isnan()
    change_T = (logp_T - candidates.sampled_T)[sampled_T]
    sums = {
        "policy/tokens": sampled_T.sum(),
        "policy/gap": change_T.abs().sum(),
        "policy/sampler_kl": -change_T.sum(),
    }
    if reference:
        own_C = candidates.kind_C == ROLLOUT
        gain_C = sum_tokens(logp_T, candidates) - candidates.reference_C
        sums["policy/reference_kl"] = gain_C[own_C].sum()
    return sums


@dataclass(frozen=True, eq=False)
class Ranking:
    """The scored candidates of the cuts that have enough of them.

    members_S: candidate numbers, cut after cut, best first. cut_S: which of the K cuts each belongs
    to. size_K: members of a cut. best_K, worst_K: candidate numbers. spread_K: best score minus
    worst. skipped: cuts with too few scored candidates.
    """

    members_S: Tensor
    cut_S: Tensor
    size_K: Tensor
    best_K: Tensor
    worst_K: Tensor
    spread_K: Tensor
    skipped: int

    def totals(self, used_K: Tensor) -> Sums:
        """How many cuts are learnt from, and why the others are not."""
        return {
            "cut_points": used_K.sum(),
            "skipped": torch.full_like(used_K.sum(), self.skipped),
            "equal": ((self.spread_K == 0) & (self.size_K > 1)).sum(),
        }

    def chosen(self, used_K: Tensor, candidates: Candidates) -> Sums:
        """How often the best of a cut in use is of each kind, and how often it would be by chance:
        the share of that kind among the members.
        """
        kind_C = candidates.kind_C
        best_K, share_S = kind_C[self.best_K], (used_K / self.size_K)[self.cut_S]
        member_S = kind_C[self.members_S]
        sums = {}
        for number, kind in enumerate(candidates.kinds):
            sums[f"chosen_{kind}"] = (used_K & (best_K == number)).sum()
            sums[f"chance_{kind}"] = (share_S * (member_S == number)).sum()
        return sums


def rank(candidates: Candidates, least: int) -> Ranking:
    """The cuts with at least `least` scored candidates, each from best to worst.

    Equal scores stand in the order of the kinds, then as in the row.
    """
    members_S = torch.nonzero(~candidates.score_C.isnan()).squeeze(1)
    for key_C, descending in (
        (candidates.kind_C, False),
        (candidates.score_C, True),
        (candidates.cut_C, False),
    ):
        order_S = torch.argsort(key_C[members_S], descending=descending, stable=True)
        members_S = members_S[order_S]
    cut_S, size_K = _runs(candidates.cut_C[members_S])
    members_S = members_S[size_K[cut_S] >= least]
    cut_S, size_K = _runs(candidates.cut_C[members_S])
    last_K = size_K.cumsum(0) - 1
    best_K, worst_K = members_S[last_K - size_K + 1], members_S[last_K]
    spread_K = candidates.score_C[best_K] - candidates.score_C[worst_K]
    skipped = len(_runs(candidates.cut_C.sort().values)[1]) - len(size_K)
    return Ranking(members_S, cut_S, size_K, best_K, worst_K, spread_K, skipped)


def _runs(cut_S: Tensor) -> tuple[Tensor, Tensor]:
    """Of sorted numbers: which run of equal ones each belongs to [S], and their lengths [K]."""
    found = torch.unique_consecutive(cut_S, return_inverse=True, return_counts=True)
    return found[1], found[2]


def sum_tokens(logp_T: Tensor, candidates: Candidates) -> Tensor:
    """Log-probability of each candidate, [C]."""
    return logp_T.new_zeros(len(candidates.kind_C)).index_add(0, candidates.candidate_T, logp_T)


def count_tokens(candidates: Candidates) -> Tensor:
    """Trained tokens of each candidate, [C] int64."""
    return torch.bincount(candidates.candidate_T, minlength=len(candidates.kind_C))


class Loss:
    """The objective of a phase: a weighted sum of components.

    A step calls `check` and `counts` on the data of its rows, adds the counts up over rows and
    data-parallel ranks, then calls the loss on each row. What the calls return adds up over rows
    and ranks to the step's loss and sums; `report` turns the latter into what a person reads.
    """

    def __init__(self, components: Sequence[Objective], online: bool = False) -> None:
        self.components, self._online = components, online
        self._reference = any(map(needs_reference, components))

    def check(self, candidates: Candidates) -> None:
        """ShardError, naming the row, where a stored reference is needed and missing."""
        for part in self.components:
            if isinstance(part, Dpo) and part.reference == "stored":
                _check_reference(candidates)

    def counts(self, candidates: Candidates) -> Tensor:
        """What divides each component: its count in this row, [N] int64."""
        return torch.stack([_count(part, candidates) for part in self.components])

    def __call__(
        self, logp_T: Tensor, candidates: Candidates, counts_N: Tensor
    ) -> tuple[Tensor, Sums]:
        """This row's part of the step's loss (a scalar with gradient), and its detached sums.

        logp_T: float32. counts_N: of the whole step. The sums are float64 scalars, with the same
        names in the same order for every row.
        """
        loss, sums = logp_T.new_zeros(()), Sums()
        for part, count in zip(self.components, counts_N.clamp(min=1), strict=True):
            total, details = _sum(part, logp_T, candidates)
            loss = loss + part.weight * total / count
            sums[f"loss/{part.name}"] = total / count
            sums |= {f"{part.name}/{name}": value for name, value in details.items()}
        sums = {"loss": loss} | sums
        if self._online:
            sums |= drift(logp_T, candidates, self._reference)
        return loss, {name: value.detach().double() for name, value in sums.items()}


def report(sums: Mapping[str, float]) -> dict[str, float]:
    """A step's sums as a person reads them: totals and losses as they are, the rest as means; a
    mean over nothing is NaN, for 0 would be a measurement.
    """
    values = {}
    for name, value in sums.items():
        part, _, detail = name.rpartition("/")
        plain = part in ("", "loss") or detail in TOTALS
        number = sums.get(f"{part}/cut_points", sums.get(f"{part}/tokens", 1.0))
        values[name] = value if plain else value / number if number else nan
    return values


def _sum(part: Objective, logp_T: Tensor, candidates: Candidates) -> tuple[Tensor, Sums]:
    match part:
        case Nll():
            return nll(logp_T, candidates, part.text)
        case RfNll():
            return rf_nll(logp_T, candidates)
        case Dpo():
            return dpo(logp_T, candidates, part.beta, part.normalise)
        case Grpo():
            return grpo(logp_T, candidates, part.variant == "grpo", part.ratio_cap)


def _count(part: Objective, candidates: Candidates) -> Tensor:
    match part:
        case Nll():
            learnt_C = candidates.kind_C == candidates.kinds.index(part.text)
            return count_tokens(candidates)[learnt_C].sum()
        case RfNll():
            return count_tokens(candidates)[rank(candidates, least=1).best_K].sum()
        case Dpo():
            return (rank(candidates, least=2).spread_K > 0).sum()
        case Grpo():
            divisor = part.tokens if part.variant == "dr_grpo" else 1
            return (~_advantages(candidates).advantage_C.isnan()).sum() * divisor


def _check_reference(candidates: Candidates) -> None:
    ranking = rank(candidates, least=2)
    pair_K2 = torch.stack([ranking.best_K, ranking.worst_K], 1)[ranking.spread_K > 0]
    for number in pair_K2[candidates.reference_C[pair_K2].isnan()].tolist():
        kind = candidates.kinds[int(candidates.kind_C[number])]
        raise ShardError(
            f"row {candidates.ids[number]}: found no stored reference log-probability of its "
            f"{kind}; `prewrite train reference` makes them"
        )
