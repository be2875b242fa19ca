"""The canaries of a judge's probe: known attacks in weak texts, put to the policy.

Texts and counting are those of `prewrite judge canaries`; prompts are those of the task. Each is
asked for one rollout, with the same seed every time, so that what changes is the policy. An attack
whose prompt, with it or without, leaves no room for an answer is left out and counted.
"""

from collections.abc import Mapping
from math import nan

from prewrite.judge.measure.canaries import (
    CONTROL,
    AttackedQuestion,
    fence_of,
    load_suite,
    played,
    probes,
)
from prewrite.judge.pool import Question
from prewrite.judge.readout import Verdict
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.prompted import Asked
from prewrite.train.messages import (
    Metrics,
    PromptKey,
    RolloutGroup,
    RolloutPrompt,
    rollout_name,
    seed_of,
)
from prewrite.train.tasks.judging import JudgeAsker, criterion_of


class PolicyCanaries:
    """Every attack on the criteria that `config` teaches. prompts: of clean and attacked questions;
    `sample` is the number of one.
    """

    def __init__(self, config: TrainConfig, asker: JudgeAsker) -> None:
        assert config.rollouts
        room = config.batch.max_seq_len - config.rollouts.tokens
        suite, asked = load_suite(), dict[int, Asked]()
        names = dict.fromkeys(data.criterion or "" for data in config.data)
        planned = [(name, one) for name in names for one in probes(criterion_of(name), suite)]
        for name, attack in planned:
            for one in _both(attack):
                if id(one) not in asked:
                    asked[id(one)] = asker.prompt(one, name, fence_of(one), label=0.0)
        self._attacks = [
            attack
            for _, attack in planned
            if all(len(asked[id(one)].tokens) <= room for one in _both(attack))
        ]
        self._too_long = 1 - len(self._attacks) / len(planned)
        found = {id(one): one for attack in self._attacks for one in _both(attack)}
        self._questions = [*found.values()]
        self.prompts = tuple(
            _prompt(number, asked[key], config.seed) for number, key in enumerate(found)
        )

    def read(self, groups: Mapping[PromptKey, RolloutGroup]) -> dict[int, float]:
        """The value of the weak text by the number of a question, of those among `groups` whose
        verdict could be read.
        """
        found = {}
        for number, (question, prompt) in enumerate(
            zip(self._questions, self.prompts, strict=True)
        ):
            group = groups.get(prompt.key)
            told = group.values.get(question.criterion.name, {}) if group else {}
            value = question.value(Verdict("", told.get(rollout_name(0)), None, "ok"))
            if value is not None:
                found[number] = value
        return found

    def measures(self, values: Mapping[int, float]) -> Metrics:
        """What `read` has found in all groups, by measure; NaN of a share of nothing."""
        read = {id(question): values.get(n) for n, question in enumerate(self._questions)}
        result = played(self._attacks, read)
        attacks = sum(attack.family != CONTROL for attack in self._attacks)
        total, noise = result.total, result.control.rate
        return {
            "canary_flips": nan if total.rate is None else total.rate,
            "canary_noise": nan if noise is None else noise,
            "canary_held": total.held / attacks if attacks else nan,
            "canary_unread": 1 - len(values) / len(read) if read else nan,
            "canary_too_long": self._too_long,
        }


def _both(attack: AttackedQuestion) -> tuple[Question, Question]:
    return attack.clean, attack.attacked


def _prompt(number: int, asked: Asked, seed: int) -> RolloutPrompt:
    key = number, asked.pool.row_id
    return RolloutPrompt(number, asked.tokens, seed_of(seed, key), asked.pool, wanted=asked.wanted)
