"""The rows of a kept pool: what stands before it, then its reference beside the best rollout.

The best is, of the rollouts with any text, the one that the run's judge scored highest: of equal
ones the first, and where none has a score the first as well. So a row holds what that judge was
most taken with, which is where it may have been fooled.
"""

import json
from math import ceil, inf, isfinite
from typing import Any

from prewrite.shards.schema import Row
from prewrite.train.messages import Rollout, RolloutGroup, rollout_name
from prewrite.train.online.kept_pools import KeptPool

NO_ORIGINAL, NO_ROLLOUT = "no_original", "no_rollout"
"""Why a pool gives no rows: nothing but white space in its reference, or in all its rollouts."""


def rows_of(pool: KeptPool) -> list[Row] | str:
    """The rows, a document; or why there are none."""
    number = best(pool.group)
    if not pool.original.strip():
        return NO_ORIGINAL
    if number is None:
        return NO_ROLLOUT
    texts = [text for text in (pool.prefix, pool.original) if text]
    rows = [_row(pool, number, text) for text in texts]
    for chunk, row in enumerate(rows):
        row |= {"chunk": chunk, "chunks": len(rows)}
    if len(rows) > 1:
        rows[0]["id"] = f"prefix-{rows[0]['id']}"
    rows[-1] |= _rewritten(pool.group.rollouts[number], pool.original)
    return rows


def best(group: RolloutGroup) -> int | None:
    """The number of the best rollout; None where none has any text."""

    def rank(number: int) -> float:
        score = _score(group, number)
        return -inf if score is None else score

    there = (number for number, one in enumerate(group.rollouts) if one.text.strip())
    return max(there, key=rank, default=None)


def _score(group: RolloutGroup, number: int) -> float | None:
    """That of a rollout, where it is a number."""
    score = group.scores.get(rollout_name(number))
    return score if score is not None and isfinite(score) else None


def _row(pool: KeptPool, number: int, text: str) -> Row:
    """A text of a document, as context."""
    group = pool.group
    told: dict[str, Any] = {"row": group.id, "sample": group.sample, "version": group.version}
    told |= {"rollout": rollout_name(number), "score": _score(group, number)}
    return {
        "id": f"{group.sample}-{group.id}",
        "doc_id": pool.doc_id,
        "source": "pools",
        "original": text,
        "original_tokens": _tokens(text, group),
        "rewrite": None,
        "rewrite_status": "skipped",
        "rewrite_reason": None,
        "meta": json.dumps(told, ensure_ascii=False),
    }


def _rewritten(rollout: Rollout, original: str) -> Row:
    """A rollout in the columns of a rewrite, with the statuses of the rewrite pass."""
    status, reason = ("ok", None) if rollout.ended else ("truncated", "max_tokens")
    if rollout.text == original:
        status, reason = "copied", None
    return {"rewrite": rollout.text, "rewrite_status": status, "rewrite_reason": reason}


def _tokens(text: str, group: RolloutGroup) -> int:
    """About how many tokens a text has: as many a character as the rollouts beside it."""
    tokens = sum(len(one.tokens) for one in group.rollouts)
    characters = sum(len(one.text) for one in group.rollouts)
    return max(1, ceil(len(text) * tokens / characters))
