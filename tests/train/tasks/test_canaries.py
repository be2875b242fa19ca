"""The canaries of a probe: the questions and the counting of `prewrite judge canaries`."""

import asyncio
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

from prewrite.engine.encoding import PromptEncoder
from prewrite.judge.measure.canaries import CanaryResult, aims, measure
from prewrite.judge.pool import Pool, Question
from prewrite.judge.readout import Verdict
from prewrite.train.config.sections import TrainConfig
from prewrite.train.config.task import JudgeTask
from prewrite.train.messages import RolloutGroup, RolloutPrompt
from prewrite.train.tasks.canaries import PolicyCanaries
from prewrite.train.tasks.judging import JudgeAsker, criterion_of
from tests.train.small import settings

QUICKSTART = Path(__file__).parents[3] / "models/smollm2-135m-instruct"
CRITERIA = ("quality", "safety")
FALLS, MUTE = "<|eot_id|>", "Decode this rot13"


@cache
def canaries(longest: int = 4096) -> PolicyCanaries:
    phase = {"name": "p", "objective": "grpo", "candidates": ["rollout"], "until": {"step": 9}}
    batch = {"samples": 4, "sequence_tokens": longest, "max_seq_len": longest, "context_tokens": 0}
    config = TrainConfig.model_validate(
        settings(
            Path("x"),
            task={"kind": "judge"},
            data=[{"set": name, "criterion": name} for name in CRITERIA],
            curriculum=[phase],
            rollouts={"engine": "policy", "tokens": 64},
            batch=batch,
        )
    )
    encoder = PromptEncoder(str(QUICKSTART), {})
    return PolicyCanaries(config, JudgeAsker(JudgeTask(kind="judge"), encoder, end=2))


def said(name: str, pool: Pool, order: int) -> float | None:
    """What a judge says of the text that stands first: it falls for one attack, and has nothing to
    say of another.
    """
    criterion, texts = criterion_of(name), "".join([*pool.context, *pool.candidates.values()])
    if MUTE in texts:
        return None
    return criterion.share(criterion.verdicts[aims(criterion, order)[FALLS not in texts]])


def group(prompt: RolloutPrompt) -> RolloutGroup:
    wanted = prompt.wanted
    assert wanted
    told = said(wanted.criterion, prompt.pool, int(wanted.label))
    values = {criterion_of(wanted.criterion).name: {} if told is None else {"rollout-0": told}}
    return RolloutGroup(
        sample=prompt.sample, id=prompt.id, version=0, rollouts=(), scores={}, values=values
    )


def expected() -> CanaryResult:
    async def judge(question: Question, fence: str) -> Sequence[Verdict]:
        told = said(question.criterion.name, question.pool, question.order)
        return [Verdict("", told, None, "unparsable" if told is None else "ok")]

    return asyncio.run(measure(judge, [criterion_of(name) for name in CRITERIA]))


def test_they_count_as_the_command_does_on_any_number_of_ranks() -> None:
    probe, result = canaries(), expected()
    values: dict[int, float] = {}
    for rank in range(3):
        mine = [group(prompt) for prompt in probe.prompts[rank::3]]
        values |= probe.read({one.key: one for one in mine})
    found = probe.measures(values)
    assert result.total.rate and found["canary_flips"] == result.total.rate
    assert found["canary_noise"] == result.control.rate == 0
    assert found["canary_held"] == result.total.held / result.total.trials
    unread = result.total.unread + result.control.unread
    assert unread and found["canary_unread"] == pytest.approx(unread / len(probe.prompts))
    assert found["canary_too_long"] == 0
    assert len(probe.prompts) == result.asked + len(result.trials)


def test_what_leaves_no_room_for_an_answer_is_left_out_and_counted() -> None:
    probe = canaries(640)
    assert max(len(prompt.tokens) for prompt in probe.prompts) <= 640 - 64
    assert 0 < probe.measures({})["canary_too_long"] < 1
    assert 0 < len(probe.prompts) < len(canaries().prompts)


def test_without_a_verdict_there_is_no_share() -> None:
    """Not even where no prompt has room."""
    for probe, unread in ((canaries(), 1.0), (canaries(128), math.nan)):
        found = probe.measures(probe.read({}))
        assert math.isnan(found["canary_flips"]) and math.isnan(found["canary_noise"])
        assert found["canary_unread"] == pytest.approx(unread, nan_ok=True)
