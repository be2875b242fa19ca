"""Votes: what several answers say together, and how each criterion is sampled."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from prewrite.engine.config import VllmConfig
from prewrite.engine.types import Completion, Request, Sample
from prewrite.judge.config import JudgeConfig, JudgeSections, PoolsConfig
from prewrite.judge.criteria import load_criterion
from prewrite.judge.judge import Judge
from prewrite.judge.panel import told_disagreement
from prewrite.judge.passes import judge_pass
from prewrite.judge.pool import Pool, play
from prewrite.judge.readout import Verdict
from prewrite.judge.retry import ByVotes
from prewrite.judge.scorer import RowScorer
from prewrite.judge.votes import counted
from prewrite.pipeline.passes import Document
from tests.judge.test_scorer import row
from tests.scripted import Scripted, asked

SAFETY, COHERENCE = asked("safety"), asked("coherence")
SAMPLING = {"votes": 4, "temperature": 0.7, "top_p": 1, "seed": 3}
ENGINE = VllmConfig(kind="vllm", model="m")
OTHER = {"safety": {"temperature": 1, "aggregate": "majority"}}


def config(**changed: Any) -> JudgeConfig:
    section = {"engine": "e", "criteria": ["quality", "safety"], "readout": "reasoning"}
    both = {"sampling": SAMPLING, "sampling_by_criterion": OTHER}
    return JudgeConfig.model_validate(section | both | changed)


@pytest.mark.parametrize(
    ("values", "mean", "majority"),
    [
        ([1, 1, 0, 1], 0.75, [1]),
        ([0, 0, 1], 1 / 3, [0]),
        ([1, 0], 0.5, [0.5]),
        ([0.8, 0.4, 0], 0.4, [0]),  # two were read from probabilities
        ([], None, []),
    ],
)
def test_a_majority_is_the_value_that_most_name(
    values: list[float], mean: float | None, majority: list[float]
) -> None:
    assert counted(SAFETY, values, "majority") == majority
    assert counted(SAFETY, values, "mean") == values
    assert mean is None or sum(values) / len(values) == pytest.approx(mean)


def test_verdicts_with_a_tie_and_criteria_without_verdicts_have_a_majority_too() -> None:
    assert counted(COHERENCE, [1, 0.5, 0.5, 0], "majority") == [0.5]
    assert counted(COHERENCE, [1, 1, 0, 0, 0.5], "majority") == [0.5]
    assert counted(load_criterion("variety"), [0.25], "majority") == [0.25]


@pytest.mark.parametrize(("how", "score"), [("mean", 0.625), ("majority", 0.75)])
def test_a_pair_in_both_orders_counts_by_its_votes(how: Any, score: float) -> None:
    """a wins three of four votes where it stands first, and two of four as second."""
    votes = {0: [1.0, 1.0, 0.0, 1.0], 1: [0.0, 0.0, 1.0, 1.0]}

    async def ask(question: Any) -> list[Verdict]:
        return [Verdict("said", value, None, "ok") for value in votes[question.order]]

    pool = Pool("row", ("before ",), "", {"a": "text a", "b": "text b"})
    pools = PoolsConfig(order="both")
    found = asyncio.run(play(asked("quality"), pool, ask, pools, False, how))
    assert found.scores["a"] == pytest.approx(score)
    assert len(found.answers) == 2


def test_a_criterion_takes_from_the_sampling_what_it_leaves_out() -> None:
    about = config().about(SAFETY).sampling
    assert (about.votes, about.temperature, about.top_p, about.seed) == (4, 1, 1, 3)
    assert about.aggregate == "majority"
    assert config().about(asked("quality")).sampling.model_dump() == config().sampling.model_dump()
    again = JudgeConfig.model_validate(config().model_dump(mode="json"))
    assert again == config()


def test_each_criterion_is_asked_with_its_own_sampling() -> None:
    answers = {"safe": "Verdict: (B)", "better": "Verdict: (1)"}

    def answer(request: Request) -> Completion:
        text = "".join(request.prompt.user)
        verdict = answers["safe" if "safe to learn from" in text else "better"]
        votes = [Sample(verdict, "stop")] * (request.sampling.n - 1)
        return Completion((Sample(verdict.replace("B", "A"), "stop"), *votes))

    engine, judge = Scripted(answer), config()
    scorer = RowScorer([Judge("e", engine, judge)], judge)
    outcome = asyncio.run(scorer(Document([row(0, "one", "two")], 0)))
    (found,) = outcome.rows
    assert found["original_safety"] == found["rewrite_safety"] == 0, "three of four say so"
    sampled = {(r.sampling.n, r.sampling.temperature) for r in engine.asked}
    assert sampled == {(4, 0.7), (4, 1)}
    assert len(outcome.judgements) == 4 * len(engine.asked), "every vote is kept"


def test_a_distribution_has_no_majority() -> None:
    """Its one verdict is a probability, which counts as it is; `sampling` is not read."""
    assert [config().aggregate(one) for one in (SAFETY, asked("quality"))] == ["majority", "mean"]
    assert config(readout="distribution").aggregate(SAFETY) == "mean"


def test_another_round_asks_every_criterion_for_as_many_votes_as_are_missing() -> None:
    judge = ByVotes(Judge("e", None, config()), 1).of(2)
    for criterion in (SAFETY, asked("quality")):
        sampling = judge.config.about(criterion).sampling
        assert sampling.votes == 2 and sampling.seed != 3
    assert judge.config.about(SAFETY).sampling.aggregate == "majority"


def test_a_panel_disagrees_by_its_majorities() -> None:
    rows = [
        {"judge": judge, "candidate": "original", "value": value}
        for judge, values in (("a", [1, 1, 0]), ("b", [1, 0, 1]))
        for value in values
    ]
    assert told_disagreement(SAFETY, rows, "majority") == 0
    assert told_disagreement(SAFETY, [{**rows[0], "value": 0}, *rows[3:]], "majority") == 0.5


def test_a_set_judged_before_these_keys_keeps_its_fingerprint() -> None:
    bare = config(sampling=SAMPLING, sampling_by_criterion={})
    dumped = bare.model_dump(mode="json")
    assert "sampling_by_criterion" not in dumped and "aggregate" not in dumped["sampling"]
    own = [judge_pass("set", one, {"e": ENGINE})._settings(SAFETY) for one in (bare, config())]
    assert own[0] != own[1] and own[1]["sampling"]["aggregate"] == "majority"
    others = [judge_pass("set", one, {"e": ENGINE})._settings(asked("quality"))
              for one in (bare, config())]  # fmt: skip
    assert others[0] == others[1], "another sampling for safety costs no verdict on quality"


def test_a_criterion_that_is_not_judged_is_refused() -> None:
    recipe = {
        "output": "out",
        "engines": {"e": {"kind": "vllm", "model": "m"}},
        "judge": {"engine": "e", "sampling_by_criterion": {"safty": {"votes": 1}}},
    }
    with pytest.raises(ValueError, match="sampling_by_criterion: found 'safty'; did you mean 'saf"):
        JudgeSections.model_validate(recipe)


def test_a_wrong_value_is_found_under_its_criterion() -> None:
    with pytest.raises(ValueError, match=r"sampling_by_criterion\.safety\.votes"):
        config(sampling_by_criterion={"safety": {"votes": 0}})


ONLY_SAFETY: dict[str, Any] = {"criteria": ["safety"], "sampling_by_criterion": {}}


def votes(*verdicts: str) -> Completion:
    """Answers to one question; one that is empty cannot be read."""
    texts = [f"Verdict: ({verdict})" if verdict else "Hm." for verdict in verdicts]
    return Completion(tuple(Sample(text, "stop") for text in texts))


@pytest.mark.parametrize(("least", "score"), [(1, 0.5), (2, 0.5), (3, None), (4, None)])
def test_fewer_votes_than_asked_for_are_no_verdict(least: int, score: float | None) -> None:
    """Nobody rewrote the row; of four votes two can be read."""
    judge = config(**ONLY_SAFETY, min_votes=least, sampling=SAMPLING | {"reasks": 0})
    engine = Scripted(lambda _: votes("A", "", "B", ""))
    alone = row(0, "one", None) | {"rewrite_status": "none"}
    scorer = RowScorer([Judge("e", engine, judge)], judge, ["original"])
    outcome = asyncio.run(scorer(Document([alone], 0)))
    assert outcome.rows[0]["original_safety"] == outcome.rows[0]["original_score"] == score
    assert outcome.failed == (score is None)
    if score is None:
        assert outcome.counts == {"status:none": 1, "verdict:too_few": 2, "verdict:unparsable": 2}
        assert [v["value"] for v in outcome.judgements] == [None] * 4
        assert [v["answer"] for v in outcome.judgements][0] == "Verdict: (A)", "what it said stays"
        assert Counter(one.reason for one in outcome.failures)["too_few"] == 2


def test_a_pair_counts_where_both_orders_have_enough_votes() -> None:
    judge = config(criteria=["quality"], sampling_by_criterion={}, min_votes=4)

    def answer(request: Request) -> Completion:
        second = "<first>two" in "".join(request.prompt.user)
        return votes("1", "1", "1", "" if second else "1")

    scorer = RowScorer([Judge("e", Scripted(answer, primes=False), judge)], judge)
    outcome = asyncio.run(scorer(Document([row(0, "one", "two")], 0)))
    assert outcome.rows[0]["original_quality"] is None
    assert outcome.counts["verdict:ok"] == 4 and outcome.counts["verdict:too_few"] == 3


def test_the_least_number_of_votes_is_part_of_what_verdicts_depend_on() -> None:
    bare, least = config(**ONLY_SAFETY), config(**ONLY_SAFETY, min_votes=3)
    assert "min_votes" not in bare.model_dump(mode="json"), "older sets keep their fingerprints"
    passes = [judge_pass("set", one, {"e": ENGINE}) for one in (bare, least)]
    assert [one._settings(SAFETY).get("min_votes") for one in passes] == [None, 3]
    variety = load_criterion("variety")
    assert passes[0]._settings(variety) == passes[1]._settings(variety), "nobody votes there"


@pytest.mark.parametrize(
    ("changed", "most"),
    [
        ({"min_votes": 5}, "'safety' and readout: reasoning: at most 4"),
        (
            {"min_votes": 2, "readout": "distribution"},
            "'safety' and readout: distribution: at most 1",
        ),
        (
            {"min_votes": 4, "sampling_by_criterion": {"safety": {"votes": 3}}},
            "'safety' and readout: reasoning: at most 3",
        ),
    ],
)
def test_more_than_are_asked_for_are_refused(changed: dict[str, Any], most: str) -> None:
    section = {"engine": "e", "criteria": ["safety"], "readout": "reasoning", "sampling": SAMPLING}
    recipe = {
        "output": "out",
        "engines": {"e": {"kind": "vllm", "model": "m"}},
        "judge": section | changed,
    }
    with pytest.raises(ValueError, match=f"judge.min_votes: found .; accepted with {most}"):
        JudgeSections.model_validate(recipe)
    ok = recipe | {"judge": section | changed | {"min_votes": 1}}
    JudgeSections.model_validate(ok)


def test_a_function_has_one_vote_and_that_is_enough() -> None:
    judge = config(**ONLY_SAFETY | {"criteria": ["variety"]}, min_votes=4)
    outcome = asyncio.run(RowScorer([], judge)(Document([row(0, "one two " * 9, "two")], 0)))
    assert outcome.rows[0]["original_variety"] is not None
