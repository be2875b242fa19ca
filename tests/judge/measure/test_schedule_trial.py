"""Replaying a schedule on recorded verdicts: what it kept, and that it asks nothing."""

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import prewrite.judge.judge
from prewrite.base.errors import EngineError
from prewrite.engine.types import Completion, Request
from prewrite.judge.config import PoolsConfig
from prewrite.judge.criteria import load_criterion
from prewrite.judge.measure.config import MeasuredRecipe
from prewrite.judge.measure.schedule_trial import compared, plan, pools, replayed, table
from prewrite.judge.pool import Pool, Question, Result
from prewrite.judge.readout import Verdict
from prewrite.judge.votes import Aggregate
from tests.scripted import Scripted, said

QUALITY = load_criterion("quality")
TEXT = (
    "The town of Aberdale lies on the river Orm, and its bridge was built in 1742. "
    "In 1801 the mill of John Carter burnt down. The people of Aberdale built another one. "
    "It stood until 1920, when the railway from Orm to Kingsport came. Nobody mourned the mill."
)
OTHER = "Bees make honey from nectar, which they carry to the hive in a stomach of its own. " * 4


def row(number: int, doc: str, text: str, rewrite: str | None = None) -> dict[str, Any]:
    return {"id": f"id-{number}", "doc_id": doc, "original": text, "rewrite": rewrite}


def sampled() -> list[Any]:
    return [
        (row(0, "a", TEXT, "A better text."), ("before ",)),
        (row(1, "a", "Too short."), ()),
        (row(2, "b", OTHER), ()),
    ]


def test_a_pool_has_the_original_its_rewrite_and_corruptions() -> None:
    first, *_ = pools(sampled(), 17, 0)
    assert (first.row_id, first.context, first.reference) == ("id-0", ("before ",), TEXT)
    assert first.candidates["original"] == TEXT
    assert first.candidates["rewrite"] == "A better text."
    assert len(first.candidates) == len({*first.candidates.values()}) == 17
    kinds = {name.partition("-")[0] for name in first.candidates} - {"original", "rewrite"}
    assert {"shuffled", "repeated", "inserted", "falsified"} <= kinds


def test_a_row_too_short_for_so_many_texts_gives_no_pool() -> None:
    assert "id-1" not in [pool.row_id for pool in pools(sampled(), 3, 0)]


def test_pools_are_reproducible() -> None:
    assert pools(sampled(), 9, 0) == pools(sampled(), 9, 0)
    assert pools(sampled(), 9, 0) != pools(sampled(), 9, 1)


def play(size: int, graded: bool = True) -> tuple[Result, dict[Any, Result], list[Question]]:
    asked: list[Question] = []

    async def ask(question: Question) -> Sequence[Verdict]:
        asked.append(question)
        assert question.opponent
        gap = int(question.candidate) - int(question.opponent)
        value = 1 / (1 + math.exp((gap if question.order else -gap) / 4))
        return [Verdict("1", value if graded else float(value > 0.5), 1.0, "ok")]

    names = {str(number): f"text {number}" for number in range(size)}
    one = Pool("row", (), "", names)
    full, again = asyncio.run(replayed(QUALITY, one, ask, PoolsConfig(), graded))
    return full, again, asked


def test_a_replay_asks_nothing_beyond_every_pair_in_both_orders() -> None:
    full, again, asked = play(17)
    assert len(asked) == len(full.answers) == 17 * 16
    assert len(again["auto"].answers) < 50
    assert len(again["ranks"].answers) == 68


def test_votes_of_a_majority_are_replayed_as_such() -> None:
    async def ask(question: Question) -> Sequence[Verdict]:
        won = float(question.order == 0)  # `a` stands first there
        return [Verdict("1", vote, 1.0, "ok") for vote in (won, won, 1 - won)]

    texts = Pool("row", (), "", {"a": "one", "b": "two"})
    cases: list[tuple[Aggregate, float]] = [("mean", 2 / 3), ("majority", 1)]
    for how, expected in cases:
        played = replayed(QUALITY, texts, ask, PoolsConfig(), False, how)
        full, again = asyncio.run(played)
        for one in (full, *again.values()):
            assert one.scores["a"] == pytest.approx(expected)


def test_a_faithful_judge_loses_nothing() -> None:
    full, again, _ = play(17)
    found = compared([full], [again["auto"]])
    assert (found["pools"], found["same_highest"], found["same_lowest"]) == (1, 1, 1)
    assert found["gap"] == pytest.approx(1)
    assert isinstance(found["rank_correlation"], float) and found["rank_correlation"] > 0.9
    assert found["calls"] == len(again["auto"].answers)


def result(**scores: float) -> Result:
    return Result([], scores)


def test_figures_by_hand() -> None:
    full = [result(a=0.9, b=0.5, c=0.1), result(a=0.2, b=0.8), result()]
    again = [result(a=0.6, b=0.7, c=0.2), result(a=0.2, b=0.8), result()]
    found = compared(full, again)
    assert found["pools"] == 2
    assert found["gap"] == pytest.approx((0.4 + 0.6) / (0.8 + 0.6))
    assert (found["same_highest"], found["same_lowest"]) == (0.5, 1)
    assert found["rank_correlation"] == pytest.approx((0.5 + 1) / 2)


def test_without_a_score_there_is_no_figure() -> None:
    found = compared([result(), result(a=0.5)], [result(), result()])
    assert found == {"pools": 0, "calls": 0} | dict.fromkeys(
        ("gap", "same_highest", "same_lowest", "rank_correlation")
    )


def test_a_judge_that_sees_no_difference_has_no_gap() -> None:
    level = result(a=0.5, b=0.5)
    assert compared([level], [level])["gap"] is None


def recipe(output: Path) -> MeasuredRecipe:
    engine = {"kind": "vllm", "model": "models/smollm2-135m-instruct"}
    judge = {"engine": "e", "input": "set"}
    measure = {"schedule": {"rows": 2, "candidates": 9}}
    return MeasuredRecipe.model_validate(
        {"output": str(output), "engines": {"e": engine}, "judge": judge, "measure": measure}
    )


def test_the_plan_names_the_cost(tmp_path: Path) -> None:
    assert plan(recipe(tmp_path)) == "ask 144 questions about 2 rows of set, replay the schedules"


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """A judge that likes what comes first in the alphabet."""
    from prewrite.judge.measure import schedule_trial as replay

    def answer(request: Request) -> Completion:
        user = "".join(request.prompt.user)
        first, second = (user.split(f"<{tag}>")[1].split("<")[0] for tag in ("first", "second"))
        share = 0.7 if first < second else 0.3
        return said("", "stop", **{"1": share, "2": 1 - share})

    monkeypatch.setattr(prewrite.judge.judge, "get_engine", lambda _: Scripted(answer))
    monkeypatch.setattr(replay, "sample", lambda *_: sampled())
    replay.run(recipe(tmp_path))
    written = json.loads((tmp_path / "schedule.json").read_text())
    assert [one["schedule"] for one in written["schedules"]] == ["auto", "ranks"]
    auto, ranks = written["schedules"]
    assert (auto["judge"], auto["criterion"], auto["pools"]) == ("e", "quality", 2)
    assert auto["calls"] < 22 and ranks["calls"] == 36
    assert "auto" in capsys.readouterr().out
    assert table(written["schedules"], 9).row_count == 2


def test_a_judge_of_whom_nothing_can_be_read_is_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prewrite.judge.measure import schedule_trial as replay

    silent = Scripted(lambda request: Completion((), error="HTTP 503: no capacity"))
    monkeypatch.setattr(prewrite.judge.judge, "get_engine", lambda _: silent)
    monkeypatch.setattr(replay, "sample", lambda *_: sampled())
    with pytest.raises(EngineError, match="judge schedule: .* not one .*HTTP 503: no capacity"):
        replay.run(recipe(tmp_path))
    assert not (tmp_path / "schedule.json").exists()
