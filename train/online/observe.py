"""What a step's rollouts are like: sums over its pools, which add up over ranks, and their means.

`tally` gives the same names in the same order whatever the pools hold, none at all included; so
the sums of all ranks can be added before `report` makes means of them. A mean over nothing is NaN,
which the log keeps as null: 0 would be a measurement. Costs 0.3 ms a rollout of 128
tokens, for the word boundaries.
"""

from collections.abc import Iterator, Sequence
from math import nan

from prewrite.prompts.text import distinct_share, is_refusal, repetition
from prewrite.train.messages import (
    Metrics,
    Rollout,
    RolloutGroup,
    RolloutPrompt,
    is_rollout,
)

TOTALS = ("pools", "verdicts")
"""Sums that are reported as they are."""

MEANS = {
    "spread": ("spread", "scored_pools"),
    "chosen_score": ("chosen_score", "scored_pools"),
    "rejected_score": ("rejected_score", "scored_pools"),
    "equal": ("equal", "scored_pools"),
    "unscored_pools": ("unscored_pools", "pools"),
    "chosen_share": ("chosen_rollouts", "decided_pools"),
    "chance_share": ("chance_rollouts", "decided_pools"),
    "unscored": ("unscored", "rollouts"),
    "length": ("tokens", "rollouts"),
    "length_ratio": ("tokens", "original_tokens"),
    "ended": ("ended", "rollouts"),
    "refusals": ("refusals", "rollouts"),
    "repetition": ("repetition", "repeatable"),
    "distinct": ("distinct", "sampled_pools"),
    "distinct_2": ("distinct_2", "worded_pools"),
    "entropy": ("surprise", "tokens"),
    "verdicts_failed": ("verdicts_failed", "verdicts"),
}
"""What is reported: a sum, and what divides it."""

_SUMS = tuple(dict.fromkeys([*TOTALS, *(name for pair in MEANS.values() for name in pair)]))


def tally(
    groups: Sequence[RolloutGroup], prompts: Sequence[RolloutPrompt], tokens: Sequence[int]
) -> Metrics:
    """Sums over the pools of a step on one rank. prompts: of the groups, in their order; tokens:
    how many the original of each prompt has under the policy's tokenizer.
    """
    sums = dict.fromkeys(_SUMS, 0.0)
    for group, prompt, size in zip(groups, prompts, tokens, strict=True):
        for name, value in _of_pool(group, prompt, size):
            sums[name] += value
    return sums


def report(sums: Metrics) -> Metrics:
    """The sums of a step over all ranks as a person reads them: `rollouts/…`."""
    values = {name: sums[name] for name in TOTALS}
    for name, (part, whole) in MEANS.items():
        values[name] = sums[part] / sums[whole] if sums[whole] else nan
    return {f"rollouts/{name}": value for name, value in values.items()}


def _of_pool(
    group: RolloutGroup, prompt: RolloutPrompt, original_tokens: int
) -> Iterator[tuple[str, float]]:
    yield "pools", 1
    yield from _scores(group.scores)
    yield from _verdicts(group.counts)
    yield from _variety([rollout.text for rollout in group.rollouts])
    names = [name for name in group.scores if is_rollout(name)]
    yield "unscored", len(group.rollouts) - len(names)
    quotes_one = is_refusal(prompt.pool.reference)
    for rollout in group.rollouts:
        yield "original_tokens", original_tokens
        yield "refusals", not quotes_one and is_refusal(rollout.text)
        yield from _of_rollout(rollout)


def _scores(scores: Metrics) -> Iterator[tuple[str, float]]:
    """Best and worst of a pool. Of equal best ones a stored text is chosen, as objectives do."""
    if len(scores) < 2:
        yield "unscored_pools", 1
        return
    best, worst = max(scores.values()), min(scores.values())
    yield "scored_pools", 1
    yield "spread", best - worst
    yield "chosen_score", best
    yield "rejected_score", worst
    yield "equal", best == worst
    if best > worst:
        yield "decided_pools", 1
        stored = [score for name, score in scores.items() if not is_rollout(name)]
        yield "chosen_rollouts", all(score < best for score in stored)
        yield "chance_rollouts", sum(map(is_rollout, scores)) / len(scores)


def _verdicts(counts: dict[str, int]) -> Iterator[tuple[str, float]]:
    for name, count in counts.items():
        kind, _, status = name.partition(":")
        if kind == "verdict":
            yield "verdicts", count
            yield "verdicts_failed", count * (status != "ok")


def _variety(texts: Sequence[str]) -> Iterator[tuple[str, float]]:
    """How far the rollouts of a pool differ; one alone cannot."""
    if len(texts) < 2:
        return
    yield "sampled_pools", 1
    yield "distinct", len(set(texts)) / len(texts)
    if (share := distinct_share(texts, 2)) is not None:
        yield "worded_pools", 1
        yield "distinct_2", share


def _of_rollout(rollout: Rollout) -> Iterator[tuple[str, float]]:
    yield "rollouts", 1
    yield "tokens", len(rollout.tokens)
    yield "ended", rollout.ended
    yield "surprise", -sum(rollout.logprobs)
    if (repeated := repetition(rollout.text)) is not None:
        yield "repeatable", 1
        yield "repetition", repeated
