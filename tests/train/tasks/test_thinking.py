"""Thoughts: where they are asked for, how far they are learnt, and what they earn."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from prewrite.engine.encoding import PromptEncoder
from prewrite.engine.tokenizer import PlainTokenizer, load_tokenizer
from prewrite.engine.types import Completion, Engine, Sample
from prewrite.judge.pool import Pool
from prewrite.judge.scorer import PoolScorer, PoolScores
from prewrite.prompts.thoughts import OPEN, insert, strip
from prewrite.train.config.task import ThinkTask
from prewrite.train.data.prompted import Asked, Wanted
from prewrite.train.data.samples import AskedRow
from prewrite.train.messages import Rollout, RolloutPrompt
from prewrite.train.tasks.earned import Earned
from prewrite.train.tasks.gain import GainEarnings
from prewrite.train.tasks.match import MatchEarnings
from prewrite.train.tasks.thinking import THOUGHT, ThinkAsker

QUICKSTART = Path(__file__).parents[3] / "models/smollm2-135m-instruct"
PIECES = ("The town lies on the river.", " It was built in 1742.", " The bridge came later.")
THOUGHTS = {1: "When was it built?", 2: "How does one cross the river?"}
NEXT = " Then came the flood."
TRUE = " The bridge came later."


@pytest.fixture(scope="module")
def encoder() -> PromptEncoder:
    return PromptEncoder(str(QUICKSTART), {})


@pytest.fixture(scope="module")
def tokenizer() -> PlainTokenizer:
    return load_tokenizer(str(QUICKSTART))


def document(status: str = "ok", text: str | None = None) -> list[dict[str, Any]]:
    texts = ["Once upon a time. ", "".join(PIECES), NEXT]
    rewrites = [None, insert(PIECES, THOUGHTS) if text is None else text, None]
    return [
        {
            "id": f"id-{number}",
            "doc_id": "d",
            "chunk": number,
            "chunks": len(texts),
            "original": own,
            "original_tokens": 9,
            "rewrite": rewrite,
            "rewrite_status": status if rewrite else "failed",
        }
        for number, (own, rewrite) in enumerate(zip(texts, rewrites, strict=True))
    ]


def asked(encoder: PromptEncoder, rows: list[dict[str, Any]], sample: int, **keys: Any) -> Any:
    task = ThinkTask.model_validate({"kind": "think", **keys})
    asker = ThinkAsker(task, encoder, end=0, seed=7)
    return asker(AskedRow(rows[1], rows, ("original", "rewrite"), False, None, sample))


def test_every_visit_draws_the_place_of_one_thought(encoder: PromptEncoder) -> None:
    """The prompt is the text before it, without an earlier thought; the true text goes on into the
    next chunk.
    """
    texts = set[tuple[str, str]]()
    for sample in range(20):
        (one,) = asked(encoder, document(), sample)
        assert isinstance(one, Asked) and one.wanted == Wanted(THOUGHT)
        assert asked(encoder, document(), sample) == [one], "the same sample asks the same"
        texts.add((one.pool.context[-1], one.pool.reference))
        assert one.pool.context[0] == "Once upon a time. "
    assert texts == {
        (PIECES[0], f"{PIECES[1]}{PIECES[2]}{NEXT}"),
        (f"{PIECES[0]}{PIECES[1]}", f"{PIECES[2]}{NEXT}"),
    }


def test_the_true_text_is_cut_to_as_many_tokens_as_a_rollout(encoder: PromptEncoder) -> None:
    for sample in range(4):
        (one,) = asked(encoder, document(), sample, suffix=3)
        assert len(encoder.words(one.pool.reference)) == 3


def test_a_prompt_continues_what_next_token_loss_on_the_text_has_taught(
    encoder: PromptEncoder, tokenizer: PlainTokenizer
) -> None:
    """Token for token: or the marker before a thought would be met in pieces never seen."""
    before = tokenizer.encode("Once upon a time. ").ids
    taught = tokenizer.encode(insert(PIECES, {1: THOUGHTS[1]})).ids
    for sample in range(20):
        (one,) = asked(encoder, document(), sample)
        if one.pool.context[-1] == PIECES[0]:
            break
    own = list(one.tokens)
    at = own.index(before[0])
    assert own[at : at + len(before)] == before
    after = own[at + len(before) :]
    assert after == taught[: len(after)], "the prompt is a beginning of the taught tokens"
    assert tokenizer.decode(after) == PIECES[0] + OPEN


@pytest.mark.parametrize(
    ("status", "text"),
    [
        ("failed", insert(PIECES, THOUGHTS)),
        ("ok", "".join(PIECES)),
        ("ok", f"{OPEN} never closed. {''.join(PIECES)}"),
    ],
)
def test_a_row_without_thoughts_asks_nothing(
    encoder: PromptEncoder, status: str, text: str
) -> None:
    assert asked(encoder, document(status, text), 0) == []


def test_a_thought_at_the_end_of_a_document_has_nothing_to_go_on_with(
    encoder: PromptEncoder,
) -> None:
    rows = document(text=insert(PIECES, {3: "And then?"}))
    assert asked(encoder, rows, 0), "the next chunk goes on"
    rows[1]["chunks"] = 2
    assert asked(encoder, rows[:2], 0) == []
    assert strip(rows[1]["rewrite"]) == rows[1]["original"]


@dataclass
class Judged:
    """Gives each text the number of its words / 10, and none to `unread`."""

    unread: str = ""
    asked: list[Pool] = field(default_factory=list)

    async def __call__(self, pools: Sequence[Pool]) -> list[PoolScores]:
        self.asked += pools
        return [PoolScores(self._of(pool.candidates), {}) for pool in pools]

    def _of(self, texts: Mapping[str, str]) -> dict[str, float]:
        known = {name: text for name, text in texts.items() if text != self.unread}
        return {name: len(text.split()) / 10 for name, text in known.items()}


def prompt(tokenizer: PlainTokenizer) -> RolloutPrompt:
    tokens = tuple(tokenizer.encode(f"One. Two.{OPEN}").ids)
    return RolloutPrompt(3, tokens, 0, Pool("row", ("One.", " Two."), TRUE, {}), 0, Wanted(THOUGHT))


def rollout(tokenizer: PlainTokenizer, text: str, ended: bool = False) -> Rollout:
    tokens = (*tokenizer.encode(text).ids, *[0] * ended)
    logprobs = tuple(-float(n) for n in range(len(tokens)))
    return Rollout(text=text, tokens=tokens, logprobs=logprobs, ended=ended)


def matched(tokenizer: PlainTokenizer, judge: Judged, suffix: int, *texts: Rollout) -> Earned:
    task = ThinkTask(kind="think", suffix=suffix)
    earnings = MatchEarnings(task, tokenizer, cast(PoolScorer, judge))
    (earned,) = asyncio.run(earnings([(prompt(tokenizer), texts)]))
    return earned


def test_what_is_past_the_cut_is_neither_judged_nor_learnt(tokenizer: PlainTokenizer) -> None:
    judge, said = Judged(), " How?</think> The bridge came later, and then the flood."
    own = rollout(tokenizer, said, ended=True)
    earned = matched(tokenizer, judge, 4, own)
    (kept,) = earned.kept or ()
    assert kept.text == " How?</think> The bridge came later" and not kept.ended
    assert kept.tokens == own.tokens[: len(kept.tokens)]
    assert kept.logprobs == own.logprobs[: len(kept.tokens)]
    (pool,) = judge.asked
    assert pool.candidates == {"rollout-0": " The bridge came later"}
    assert pool.reference == TRUE
    assert earned.scores == {"rollout-0": 0.4}
    assert earned.values["thought_tokens"] == {"rollout-0": len(kept.tokens) - 4}


def test_a_short_continuation_is_learnt_whole_with_its_end(tokenizer: PlainTokenizer) -> None:
    own = rollout(tokenizer, " How?</think> Later.", ended=True)
    assert matched(tokenizer, Judged(), 4, own).kept == (own,)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (" I think and think", "no_close"),
        ("", "no_close"),
        (" How?</think>", "no_continuation"),
        (" How?</think> \n", "no_continuation"),
        (" <think> How?</think> Later.", "second_marker"),
        (" How?</think> Later.<think>", "second_marker"),
        (" How?</think></think> Later.", "second_marker"),
    ],
)
def test_a_wrong_form_earns_nothing_and_is_counted(
    tokenizer: PlainTokenizer, text: str, reason: str
) -> None:
    judge = Judged()
    earned = matched(tokenizer, judge, 4, rollout(tokenizer, text))
    assert earned.scores == {"rollout-0": 0.0} and earned.counts == {f"form:{reason}": 1}
    assert not judge.asked


def test_markers_past_the_cut_are_no_fault(tokenizer: PlainTokenizer) -> None:
    said = " How?</think> The bridge came later.<think> Why?</think> So."
    earned = matched(tokenizer, Judged(), 4, rollout(tokenizer, said))
    assert earned.scores == {"rollout-0": 0.4} and not earned.counts


def test_a_group_holds_forms_and_what_the_judge_could_read(tokenizer: PlainTokenizer) -> None:
    texts = (" How?</think> Later.", " no end", " How?</think> Never said.")
    judge = Judged(unread=" Never said.")
    earned = matched(tokenizer, judge, 9, *(rollout(tokenizer, text) for text in texts))
    assert earned.scores == {"rollout-0": 0.1, "rollout-1": 0.0}


class Likely:
    """A text of n characters has the log-likelihood -n, and is likelier the more of the words
    `bridge` stand before it; `broken` before it and it cannot be told.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def likelihood(self, context: Sequence[str], text: str) -> Completion:
        before = "".join(context)
        self.asked.append((before, text))
        if "broken" in before:
            return Completion(error="the model is broken")
        value = -len(text) * (1 - 0.25 * before.count("bridge") + 0.125 * before.count("fog"))
        return Completion((Sample("", "stop", logprobs=(value / 2, value / 2)),))


def gained(tokenizer: PlainTokenizer, engine: Likely, *texts: str) -> Earned:
    task = ThinkTask(kind="think", suffix=4, reward="gain", reference="frozen")
    earnings = GainEarnings(task, tokenizer, cast(Engine, engine))
    said = tuple(rollout(tokenizer, text) for text in texts)
    (earned,) = asyncio.run(earnings([(prompt(tokenizer), said)]))
    return earned


def test_a_thought_earns_what_it_adds_to_the_true_text(tokenizer: PlainTokenizer) -> None:
    """Whatever the policy itself went on with; in nats a byte, beside a thought without words."""
    engine = Likely()
    earned = gained(
        tokenizer, engine, " A bridge.</think> No.", " fog</think> x", " none</think> y"
    )
    assert earned.scores == {"rollout-0": 0.25, "rollout-1": -0.125, "rollout-2": 0.0}
    assert earned.values["blank"] == dict.fromkeys(earned.scores, 0.0)
    befores = {before for before, _ in engine.asked}
    assert befores == {
        "One. Two.",
        "One. Two. <think></think>",
        "One. Two. <think> A bridge.</think>",
        "One. Two. <think> fog</think>",
        "One. Two. <think> none</think>",
    }
    assert {text for _, text in engine.asked} == {TRUE}


def test_a_wrong_form_gains_no_more_than_the_worst_of_its_group(tokenizer: PlainTokenizer) -> None:
    fine = " A bridge.</think> No."
    assert gained(tokenizer, Likely(), fine, "open").scores["rollout-1"] == 0.0
    worst = gained(tokenizer, Likely(), fine, " fog</think> x", "open").scores
    assert worst["rollout-2"] == worst["rollout-1"] < 0


def test_a_likelihood_that_cannot_be_told_is_no_score(tokenizer: PlainTokenizer) -> None:
    earned = gained(tokenizer, Likely(), " broken</think> x", " A bridge.</think> No.")
    assert earned.scores == {"rollout-1": 0.25}
    assert earned.counts["verdict:failed"] == 1
