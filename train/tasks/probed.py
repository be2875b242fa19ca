"""What a probe of a prompted task measures: sums and what divides them, which add up over ranks.

The names are the same whatever the groups hold. Each prompt has one rollout.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import nan

from prewrite.prompts.text import is_refusal
from prewrite.train.config.task import JudgeTask, PromptedTask, ThinkTask
from prewrite.train.data.texts import TextTokens
from prewrite.train.messages import Metrics, RolloutGroup, RolloutPrompt, rollout_name
from prewrite.train.tasks.rewriting import MENDED
from prewrite.train.tasks.thinking import THOUGHT_TOKENS

_Values = Iterator[tuple[str, float]]
"""Name and value of one rollout or pair; a measure is their mean."""

REWRITING = (
    "reward",
    "reward_copied",
    "reward_mended",
    "overlap_copied",
    "overlap_mended",
    "copied_mended",
    "refused",
    "unread",
)
JUDGING = ("reward", "both_orders", "says_first", "unread")
THINKING = ("reward", THOUGHT_TOKENS, "unread")


def tally(
    task: PromptedTask,
    prompts: Sequence[RolloutPrompt],
    groups: Mapping[tuple[int, str], RolloutGroup],
    texts: TextTokens,
) -> Metrics:
    """`name` the sum and `name/count` what divides it, for all measures of the task."""
    sums = {key: 0.0 for name in _measures(task) for key in (name, f"{name}/count")}
    pairs = [(one, groups[one.key]) for one in prompts if one.key in groups]
    found = [pair for one in pairs for pair in _of_rollout(one[1])]
    if isinstance(task, JudgeTask):
        found += _of_pairs(pairs)
    elif isinstance(task, ThinkTask):
        found += [pair for one in pairs for pair in _of_thought(one[1])]
    else:
        found += [pair for one in pairs for pair in _of_rewrite(*one, texts)]
    for name, value in found:
        sums[name] += value
        sums[f"{name}/count"] += 1
    return sums


def _measures(task: PromptedTask) -> Sequence[str]:
    if isinstance(task, JudgeTask):
        return JUDGING
    return THINKING if isinstance(task, ThinkTask) else REWRITING


def means(sums: Metrics) -> Metrics:
    """The measures; NaN of one over nothing."""
    names = [name for name in sums if f"{name}/count" in sums]
    return {
        name: sums[name] / sums[f"{name}/count"] if sums[f"{name}/count"] else nan for name in names
    }


def _of_rollout(group: RolloutGroup) -> _Values:
    reward = group.scores.get(rollout_name(0))
    if group.rollouts:
        yield "unread", float(reward is None or group.counts.get("form:unparsable", 0) > 0)
    if reward is not None:
        yield "reward", reward


def _of_thought(group: RolloutGroup) -> _Values:
    for length in group.values.get(THOUGHT_TOKENS, {}).values():
        yield THOUGHT_TOKENS, length


def _of_rewrite(prompt: RolloutPrompt, group: RolloutGroup, texts: TextTokens) -> _Values:
    if not group.rollouts or not prompt.wanted:
        return
    (rollout,), kind = group.rollouts, prompt.wanted.kind
    original, said = prompt.pool.reference, rollout.text
    if (reward := group.scores.get(rollout_name(0))) is not None:
        yield f"reward_{kind}", reward
    shared = overlap(*(texts((text.strip(), False)).tolist() for text in (said, original)))
    yield f"overlap_{kind}", shared
    yield "refused", float(is_refusal(said) and not is_refusal(original))
    if kind == MENDED:
        yield "copied_mended", float(said.strip() == original.strip())


def _of_pairs(pairs: Iterable[tuple[RolloutPrompt, RolloutGroup]]) -> _Values:
    rewards = defaultdict[tuple[int, str], list[float]](list)
    for prompt, group in pairs:
        values = (found.get(rollout_name(0)) for found in group.values.values())
        rewards[prompt.sample, prompt.pool.row_id] += [group.scores.get(rollout_name(0), nan)]
        if len(prompt.pool.candidates) > 1:
            yield from (("says_first", value) for value in values if value is not None)
    for told in rewards.values():
        if len(told) > 1 and all(value == value for value in told):
            yield "both_orders", min(told)


def overlap(one: Sequence[int], other: Sequence[int]) -> float:
    """Tokens that both have, counted as often as both have them, over the longer one's (two empty
    texts: 1). The figure's formula in arXiv 2601.21343 is not published; this is ours.
    """
    longest = max(len(one), len(other))
    return (Counter(one) & Counter(other)).total() / longest if longest else 1.0
