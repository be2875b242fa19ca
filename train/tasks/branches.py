"""Rollouts as candidates: their tokens become a branch as they were sampled, and are never made to
text and back.
"""

from collections.abc import Iterator
from math import nan

import numpy as np

from prewrite.train.data.trees import ROLLOUT, Candidate
from prewrite.train.messages import RolloutGroup, rollout_name


def rollouts_of(group: RolloutGroup, row: str, cut: int) -> Iterator[Candidate]:
    """The rollouts of a group at the position `cut` of a trunk; one without a score has NaN."""
    for number, rollout in enumerate(group.rollouts):
        yield Candidate(
            id=row,
            kind=ROLLOUT,
            cut=cut,
            tokens=np.array(rollout.tokens, np.int32),
            on_trunk=False,
            score=group.scores.get(rollout_name(number), nan),
            sampled=rollout.logprobs,
        )
