"""What the groups of a prompted task have earned in a step: sums over ranks, and shares.

A group is all prompts of a row. The names follow from the recipe, so they are the same for every
step and rank.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import nan

from prewrite.train.config.sections import TrainConfig
from prewrite.train.config.task import JudgeTask, ThinkTask
from prewrite.train.messages import Metrics, RolloutGroup, RolloutPrompt
from prewrite.train.tasks.gain import BLANK
from prewrite.train.tasks.judging import criterion_of
from prewrite.train.tasks.rewriting import COPIED, MENDED
from prewrite.train.tasks.thinking import FORMS as THOUGHT_FORMS
from prewrite.train.tasks.thinking import THOUGHT, THOUGHT_TOKENS

FORMS = (
    "refusal",
    "no_text",
    "not_unicode",
    "leaked_prompt",
    "leaked_tags",
    "only_reasoning",
    "copied",
    "too_short",
    "too_long",
    "max_tokens",
    "unparsable",
    *THOUGHT_FORMS,
)
"""Why the form of a rollout can be wrong: the reasons of `prompts.checks`, of a verdict, and of a
thought.
"""

_FORM = "form:"


class Watched:
    """The measures of the task of `config`."""

    def __init__(self, config: TrainConfig) -> None:
        self._means = tuple[str, ...]()
        if isinstance(config.task, JudgeTask):
            names = (criterion_of(data.criterion or "").name for data in config.data)
            self._kinds = tuple(dict.fromkeys(names))
        elif isinstance(config.task, ThinkTask):
            self._kinds = (THOUGHT,)
            self._means = (THOUGHT_TOKENS, BLANK) if config.task.reference else (THOUGHT_TOKENS,)
        else:
            self._kinds = (COPIED, MENDED)
        self._of_groups = ("mixed", "all_zero", "all_one", "equal", "alone")

    def tally(
        self,
        prompts: Sequence[RolloutPrompt],
        groups: Mapping[tuple[int, str], RolloutGroup],
    ) -> Metrics:
        """The sums of a step on one rank."""
        sums = dict.fromkeys(["groups", "rollouts", *self._of_groups], 0.0)
        sums |= {f"form/{reason}": 0.0 for reason in FORMS}
        for kind in self._kinds:
            sums |= {f"reward/{kind}": 0.0, f"scored/{kind}": 0.0}
        sums |= {f"{part}/{name}": 0.0 for name in self._means for part in ("sum", "count")}
        for name, value in _found(prompts, groups):
            sums[name] += value
        for name in self._means:
            told = [v for group in groups.values() for v in group.values.get(name, {}).values()]
            sums[f"sum/{name}"] += sum(told)
            sums[f"count/{name}"] += len(told)
        return sums

    def report(self, sums: Metrics) -> Metrics:
        """As a person reads them: shares of the groups and of the rollouts, mean rewards; NaN of
        one over nothing.
        """
        found = {f"rewards/{name}": _share(sums, name, "groups") for name in self._of_groups}
        found |= {f"form/{name}": _share(sums, f"form/{name}", "rollouts") for name in FORMS}
        means = {k: _share(sums, f"reward/{k}", f"scored/{k}") for k in self._kinds}
        found |= {f"rewards/{n}": _share(sums, f"sum/{n}", f"count/{n}") for n in self._means}
        return found | {f"rewards/of_{kind}": value for kind, value in means.items()}


def all_failed(values: Metrics) -> str | None:
    """The one reason for which the form of every rollout of a step is wrong, if there is one."""
    names = (name for name in FORMS if values.get(f"form/{name}") == 1.0)
    return next(names, None)


def _found(
    prompts: Sequence[RolloutPrompt], groups: Mapping[tuple[int, str], RolloutGroup]
) -> Iterator[tuple[str, float]]:
    scores = defaultdict[tuple[int, str], list[float]](list)
    for prompt in prompts:
        group = groups.get(prompt.key)
        if group is None or prompt.wanted is None:
            continue
        earned = [*group.scores.values()]
        scores[prompt.sample, prompt.pool.row_id] += earned
        yield "rollouts", len(group.rollouts)
        yield f"reward/{prompt.wanted.kind}", sum(earned)
        yield f"scored/{prompt.wanted.kind}", len(earned)
        for name, count in group.counts.items():
            if name.startswith(_FORM):
                yield f"form/{name.removeprefix(_FORM)}", count
    for told in scores.values():
        yield "groups", 1
        yield _of_group(told), 1


def _of_group(scores: Sequence[float]) -> str:
    if len(scores) < 2:
        return "alone"
    if min(scores) < max(scores):
        return "mixed"
    return {0.0: "all_zero", 1.0: "all_one"}.get(scores[0], "equal")


def _share(sums: Metrics, part: str, whole: str) -> float:
    return sums[part] / sums[whole] if sums[whole] else nan
