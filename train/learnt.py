"""Which cut points of a step are learnt from, and why the others are not.

A cut point is a position of a document at which texts compete. It is learnt from where a component
of the objective has a gradient: for `nll` a text of its kind, for `rf_nll` a text with a score, for
`dpo` a best and a worst text that differ in score and in tokens, for `grpo` scored texts that do,
or with `kl` any two of them; the same answer to two prompts of a group is two texts. A step without
a cut point that is learnt from on any rank is *empty*: it makes no optimizer step, or decay and
momentum alone would move weights. The rows of a rank are looked at together, for what competes may
lie in several. Costs a pass over their candidates on the CPU, before any forward pass.

Shape suffixes: those of `train.objectives`, K for all cuts of the rows; P the counts of `POINTS`.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from prewrite.train.config.phases import Dpo, Grpo, Nll, Objective, RfNll, learnt_only
from prewrite.train.data.rows import Candidates, PackedSequence, joined
from prewrite.train.objectives import count_tokens, rank

POINTS = ("learnt", "equal", "unscored", "texts", "unscored_texts")
"""What is counted of rows: cut points by what came of them, those that lack a text left out; its
texts, and those without a score."""


def cut_points(parts: Sequence[Objective], rows: Sequence[PackedSequence]) -> Tensor:
    """`POINTS` of rows under the components `parts`: [P] int64."""
    candidates, text_C = joined([row.candidates for row in rows]), _texts(rows)
    cut_C, scored_C = candidates.cut_C, ~candidates.score_C.isnan()
    size = int(cut_C.max()) + 1 if len(cut_C) else 0
    texts_K, scored_K = (torch.bincount(c, minlength=size) for c in (cut_C, cut_C[scored_C]))
    learnt_K = torch.zeros(size, dtype=torch.bool)
    for part in parts:
        learnt_K[_learnt(part, candidates, text_C)] = True
    least = 1 if any(isinstance(part, RfNll) for part in parts) else 2
    compared_K = ~learnt_K & (texts_K >= least) & (not learnt_only(parts))
    equal_K = compared_K & (scored_K >= 2)
    counts = learnt_K, equal_K, compared_K & ~equal_K, torch.ones_like(scored_C), ~scored_C
    return torch.stack([found.sum() for found in counts])


def _learnt(part: Objective, candidates: Candidates, text_C: Tensor) -> Tensor:
    """The cuts from which a component learns."""
    match part:
        case Nll():
            return candidates.cut_C[candidates.kind_C == candidates.kinds.index(part.text)]
        case RfNll():
            return candidates.cut_C[~candidates.score_C.isnan()]
        case Grpo() if part.kl:  # which tells equal scores apart, once the reference is known
            ranking = rank(candidates, least=2)
            return candidates.cut_C[ranking.best_K]
        case Dpo() | Grpo():
            return _decided(candidates, text_C, best_and_worst=isinstance(part, Dpo))


def _decided(candidates: Candidates, text_C: Tensor, best_and_worst: bool) -> Tensor:
    """The cuts whose scored texts, or the best and worst of them, differ in score and tokens."""
    ranking = rank(candidates, least=2)
    if best_and_worst:
        other_K = text_C[ranking.best_K] != text_C[ranking.worst_K]
    else:
        other_S = text_C[ranking.members_S] != text_C[ranking.best_K][ranking.cut_S]
        other_K = torch.zeros_like(ranking.size_K).index_add(0, ranking.cut_S, other_S.long()) > 0
    return candidates.cut_C[ranking.best_K[(ranking.spread_K > 0) & other_K]]


def _texts(rows: Sequence[PackedSequence]) -> Tensor:
    """Candidates of the rows with the same number have the same tokens after the same trunk, [C]:
    an answer to both orders of a pair is no copy of itself.
    """
    known, numbers = dict[tuple[bytes, bytes], int](), list[int]()
    for row in rows:
        sizes = count_tokens(row.candidates).tolist()
        trunks = dict[int, bytes]()
        for at_T in torch.split(row.at_T, sizes) if sizes else ():
            tree = int(row.layout_S4[at_T[0], 0]) if len(at_T) else -1
            if tree not in trunks:
                trunks[tree] = _trunk(row, tree)
            text = trunks[tree], row.labels_S[at_T].numpy().tobytes()
            numbers.append(known.setdefault(text, len(known)))
    return torch.tensor(numbers, dtype=torch.int64)


def _trunk(row: PackedSequence, tree: int) -> bytes:
    is_trunk_S = (row.layout_S4[:, 0] == tree) & (row.layout_S4[:, 1] == 0)
    return row.tokens_S[is_trunk_S].numpy().tobytes()
