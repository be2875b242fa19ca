"""Rows: what one forward pass of the model sees, several trees packed into one sequence.

Shape suffixes: S tokens of the row, T trained tokens (labels of all candidates, one after the
other), C candidates.
"""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates of a row as the objectives see them.

    candidate_T (int64): which candidate a trained token belongs to. cut_C (int64): candidates with
    the same number compete. kind_C (int64): trees.ORIGINAL, REWRITE, ROLLOUT. score_C (float32):
    the judge's, NaN when not scored. reference_C (float32): summed log-probability under the
    reference model, NaN when not known. ids: shard row of each candidate.
    """

    candidate_T: Tensor
    cut_C: Tensor
    kind_C: Tensor
    score_C: Tensor
    reference_C: Tensor
    ids: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Row:
    """One packed sequence: a micro-batch of size one.

    tokens_S, labels_S, positions_S (int64): model inputs, labels, explicit RoPE positions.
    layout_S4 (int32): (tree, branch, position, root) of each token; the attention rule is
    `train.model.attention`'s. at_T (int64): where in the row the label of a trained token stands.
    used: tokens that are no padding. samples: numbers of the samples in it.
    """

    tokens_S: Tensor
    labels_S: Tensor
    positions_S: Tensor
    layout_S4: Tensor
    at_T: Tensor
    candidates: Candidates
    used: int
    samples: tuple[int, ...]
