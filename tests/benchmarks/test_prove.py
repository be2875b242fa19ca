"""The proof that tasks learn, as far as it can be told without learning: prompts are those of the
passes, known answers earn what they are worth, and one seed of each part runs to its figures.
"""

import asyncio
from math import isfinite
from pathlib import Path
from typing import Any

import pytest

from benchmarks.prove import counting, improve, judge, measured, rewriter, words
from benchmarks.prove.passes import rewrites_asked, verdicts_asked
from benchmarks.prove.pools import gap, pools
from benchmarks.prove.runs import (
    COUNTS,
    WORDS,
    config_of,
    engine_config,
    judge_section,
    rewriter_section,
)
from prewrite.train.messages import Rollout, RolloutPrompt
from prewrite.train.online.earnings import earnings_of

FEW = 8


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("prove")
    for part in (rewriter, judge):
        (folder / part.__name__).mkdir()
        part.prepare(folder / part.__name__)
    return folder


def prompts(place: Path, part: Any, section: dict[str, Any]) -> tuple[RolloutPrompt, ...]:
    return measured.held_prompts(section, place / part.__name__ / "held", part.HELD)


def earned(section: dict[str, Any], prompt: RolloutPrompt, *texts: str) -> dict[str, float]:
    """What answers that ended earn."""
    config = config_of(section)
    assert config.rollouts
    engines = {"policy": engine_config(Path(config.model.path))}
    rollouts = [Rollout(text=text, tokens=(), logprobs=(), ended=True) for text in texts]
    weigh = earnings_of(config.task, config.rollouts, engines)
    (found,) = asyncio.run(weigh([(prompt, tuple(rollouts))]))
    return {text: found.scores[f"rollout-{n}"] for n, text in enumerate(texts)}


def test_a_rewriters_prompts_and_what_known_answers_earn(place: Path) -> None:
    folder = place / rewriter.__name__
    section = rewriter_section(folder, "run", 0, "start", "set", 2)
    asked = prompts(place, rewriter, section)
    rows = words.rows(3, rewriter.HELD)
    passes = asyncio.run(rewrites_asked(str(folder / "start"), rows, WORDS["template"]))
    assert {one.tokens for one in asked} == passes
    for prompt in asked[:FEW]:
        original = prompt.pool.reference
        mended = words.clean(original)
        found = earned(section, prompt, original, words.REFUSAL, mended)
        if prompt.wanted and prompt.wanted.copies:
            assert found == {original: 1.0, words.REFUSAL: 0.0, mended: 1.0}
        else:
            kept = words.tidy("", original, original)
            assert found == pytest.approx({original: kept / 2, words.REFUSAL: 0.0, mended: 1.0})
            assert kept < 1


def test_a_judges_prompts_and_what_known_verdicts_earn(place: Path) -> None:
    folder = place / judge.__name__
    section = judge_section(folder, "run", 0, "start", "set", 2)
    asked = prompts(place, judge, section)
    known = {one.pool.row_id for one in asked}
    rows = [
        *counting.rows("known", 3, judge.HELD, held=True),
        *counting.rows("left", 4, judge.HELD, held=True, kinds=(counting.LEFT_OUT,)),
        *counting.rows("new", 5, judge.HELD, held=True, of="new"),
    ]
    some = [row for row in rows if row["id"] in known]
    passes = asyncio.run(verdicts_asked(str(folder / "start"), some, COUNTS))
    assert {one.tokens for one in asked} == passes
    first, second, none = "Verdict: (1)", "Verdict: (2)", "Verdict: (1) or (2)"
    for prompt in asked[: 2 * FEW]:
        right, wrong = (second, first) if prompt.turn else (first, second)
        expected = {right: 1.0, wrong: 0.0, none: 0.0}
        assert earned(section, prompt, right, wrong, none) == expected


def test_no_text_is_both_trained_on_and_held_out() -> None:
    trained = {row["rewrite"] for row in counting.rows("train", 1, 2000, held=False)}
    assert not trained & {row["rewrite"] for row in counting.rows("known", 3, 500, held=True)}
    series = counting.series()
    assert not {*series["known"]} & {*series["new"]}
    assert not {row["original"] for row in words.rows(1, 500)} & {
        row["original"] for row in words.rows(3, 500)
    }


def test_the_gap_of_a_judge() -> None:
    truth = {"a": 1.0, "b": 0.0, "c": 0.0}
    assert gap({"a": 0.9, "b": 0.5, "c": 0.1}, truth) == 1
    assert gap({"a": 0.1, "b": 0.5, "c": 0.9}, truth) == -1
    assert gap(dict.fromkeys(truth, 0.5), truth) == gap({}, truth) == 0
    assert all(sum(truth.values()) == 1 for _, truth in pools())


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("part", "warm"),
    [(rewriter, 3), pytest.param(judge, 200, marks=pytest.mark.long)],  # 200: it knows the form
    ids=["rewriter", "judge"],
)
def test_one_seed_runs_to_its_figures(
    part: Any, warm: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"HELD": FEW, "ROWS": 64, "KINDS": ("trained",)}.items():
        monkeypatch.setattr(part, name, value)
    found = part.prove(tmp_path, [0], steps=2, warm=warm)
    (seed,) = found["seeds"]
    assert set(seed) == {"seed", "warm", "trained"}
    for kind in ("warm", "trained"):
        assert all(isfinite(one["mean"]) for one in seed[kind].values())


def test_the_anchors_of_the_rounds_share_no_text_with_what_is_trained_on() -> None:
    trained = {row["original"] for row in improve.pairs("train", 11, 300)}
    assert not trained & {row["original"] for row in improve.pairs("anchor", 20, 300)}
    for row in improve.pairs("train", 11, 30):
        better, worse = (row[name] for name in ("original", "rewrite"))
        if row["rewrite_politer"] == 1:
            better, worse = worse, better
        assert words.clean(better).split() == better.split() and not words.decent("", "", worse)
        assert len(better.split()) == len(worse.split())


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_round_runs_to_its_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps a candidate: nothing is learnt, every command is real."""
    for name, value in {"ROWS": 192, "HELD": 24, "ROUNDS": 1, "GAIN": 0.6}.items():
        monkeypatch.setattr(improve, name, value)
    found = improve.prove(tmp_path, steps=2, warm=60)
    assert [one["part"] for one in found["rounds"]] == ["judge", "rewriter", "policy"]
    assert all(isfinite(one["gain"]) for one in found["rounds"])
    assert (tmp_path / "rounds/index.html").exists()
