"""A span of a document and every text that may follow a cut point in it: one tree.

The *trunk* is the span itself, as tokens: a root token (BOS, or the first token of the context),
context, then the chunks that are trained on. A *candidate* is one text for one chunk:
the original, which lies on the trunk and costs nothing, or a branch (a rewrite, later a rollout)
with tokens of its own. Candidates with the same `cut` compete with each other.
"""

from dataclasses import dataclass
from math import nan

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]

ORIGINAL, REWRITE, ROLLOUT = range(3)
"""Numbers of `KINDS`."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """One text for the cut point `cut`: the trunk's tokens before `cut` are its prefix.

    id: the shard row it comes from. kind: its number among the kinds of the recipe. cut: trunk
    position of its first token, at least 1. on_trunk: its tokens but the last are
    trunk[cut:cut + n - 1], so it needs no branch (the last is only ever a label: at a document's
    end it is EOS, which the trunk need not hold). score: the judge's, NaN when not scored.
    reference: summed log-probability under the reference model in nats, NaN when not known.
    sampled: of a rollout, log-probability of each token under the weights that sampled it; empty
    for a stored text.
    """

    id: str
    kind: int
    cut: int
    tokens: Tokens
    on_trunk: bool
    score: float = nan
    reference: float = nan
    sampled: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Tree:
    """A trunk and its candidates; `sample` is the number of the sample in the run's order.

    Only `trunk[:trunk_inputs]` need be laid out: what no candidate has as prefix is left off.
    whole: its candidates compete with those of all trees of the sample, whatever their cut.
    """

    sample: int
    trunk: Tokens
    candidates: tuple[Candidate, ...]
    whole: bool = False

    @property
    def trunk_inputs(self) -> int:
        """How many tokens of the trunk some candidate needs as input."""
        ends = (c.cut + len(c.tokens) - 1 if c.on_trunk else c.cut - 1 for c in self.candidates)
        return max(ends, default=0)

    @property
    def cost(self) -> int:
        """Input tokens of the whole tree: the trunk's, and each branch's own.

        A branch of n tokens costs n: a copy of the token before its cut, and all but its last.
        """
        branches = sum(len(c.tokens) for c in self.candidates if not c.on_trunk)
        return self.trunk_inputs + branches
