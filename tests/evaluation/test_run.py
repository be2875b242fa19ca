"""A whole evaluation with real models: what must come out of it, and what it leaves."""

import json
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq
import pytest

from prewrite.evaluation.results import leaderboard
from prewrite.evaluation.run import plan, run
from tests.evaluation.conftest import recipe
from tests.evaluation.sets import MODEL

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SPLITS = ("ordinary", "other")
BOTH = ("greedy", "sampled")


def results(evaluated: Path, model: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((evaluated / f"out/results/{model}.json").read_text())
    return found


def rows(evaluated: Path, kind: str, model: str) -> list[dict[str, Any]]:
    return [
        row
        for path in sorted((evaluated / "out" / kind / model).glob("*.parquet"))
        for row in pq.read_table(path).to_pylist()
    ]


def test_a_model_against_itself_wins_exactly_half(evaluated: Path) -> None:
    twin = results(evaluated, "twin")["results"]
    for split in SPLITS:
        for decoding in BOTH:
            assert twin[split][f"quality_win_rate,{decoding}"] == 0.5
            assert twin[split][f"quality_win_rate_interval,{decoding}"] == [0.5, 0.5]
            assert twin[split][f"difference_safety,{decoding}"] == 0
    assert not [row for row in rows(evaluated, "judgements", "twin") if row["opponent"]]


def test_a_random_model_loses_on_perplexity(evaluated: Path) -> None:
    base, broken = (results(evaluated, name)["results"] for name in ("base", "broken"))
    for split in SPLITS:
        assert 2 < base[split]["perplexity,none"] < 200
        assert broken[split]["perplexity,none"] > 10_000
        assert broken[split]["difference_bits_per_byte_interval,none"][0] > 1
        assert base[split]["bits_per_byte,none"] < 2


def test_numbers_follow_from_the_files(evaluated: Path) -> None:
    """Recomputed here without the code that made them."""
    found = results(evaluated, "broken")["results"]["ordinary"]
    texts = [
        row for row in rows(evaluated, "continuations", "broken") if row["split"] == "ordinary"
    ]
    greedy = [row for row in texts if row["decoding"] == "greedy"]
    assert found["tokens,greedy"] == pytest.approx(fmean(row["tokens"] for row in greedy))
    assert found["ended,greedy"] == pytest.approx(fmean(row["ended"] for row in greedy))
    verdicts = [
        row for row in rows(evaluated, "judgements", "broken") if row["split"] == "ordinary"
    ]
    safety = [
        r["value"] for r in verdicts if (r["criterion"], r["decoding"]) == ("safety", "greedy")
    ]
    assert found["safety,greedy"] == pytest.approx(fmean(v for v in safety if v is not None))
    assert found["safety_judged,greedy"] == sum(value is not None for value in safety)
    wins = [r for r in verdicts if (r["criterion"], r["decoding"]) == ("quality", "greedy")]
    assert Counter((r["candidate"], r["order"]) for r in wins) == {("base", 0): 4, ("base", 1): 4}
    values = [1 - r["value"] for r in wins]
    assert found["quality_win_rate,greedy"] == pytest.approx(fmean(values), abs=1e-6)


def test_the_texts_are_those_of_their_places(evaluated: Path) -> None:
    cut_points = {
        row["id"]: row for row in pq.read_table(evaluated / "out/cut_points.parquet").to_pylist()
    }
    found = rows(evaluated, "continuations", "base")
    assert Counter(row["decoding"] for row in found) == dict.fromkeys((*BOTH, "original"), 7)
    for row in found:
        if row["decoding"] == "original":
            assert row["text"] == cut_points[row["id"]]["original"]
            assert row["logprob"] < 0
        else:
            assert 1 <= row["tokens"] <= 12
    assert all(row["error"] is None for row in found)


def test_the_results_have_the_keys_of_the_harness(evaluated: Path) -> None:
    found = results(evaluated, "broken")
    assert found.keys() >= {
        "results", "configs", "versions", "n-shot", "n-samples", "higher_is_better", "config",
        "git_hash", "date", "model_name",
    }  # fmt: skip
    assert found["n-samples"]["ordinary"] == {"original": 4, "effective": 4}
    assert found["higher_is_better"]["ordinary"]["perplexity"] is False
    assert "perplexity_stderr,none" in found["results"]["ordinary"]
    config = found["configs"]["ordinary"]
    assert config["judge"]["criteria"][0] == "quality"
    assert any("prewrite.json" in line for line in config["warnings"])


def test_the_table_and_the_leaderboard(evaluated: Path) -> None:
    text = (evaluated / "out/table.md").read_text()
    assert "|  | base | twin | broken |" in text
    assert "## other, sampled: 3 cut points, " in text
    (line,) = [x for x in text.splitlines() if x.startswith("| bits_per_byte") and "▼" in x][:1]
    assert line.count("▼") == 1
    board = leaderboard(str(evaluated / "leaderboard.jsonl"))
    assert {row["model"] for row in board} == {"base", "twin", "broken"}
    assert all(row["path"] and row["config"]["seed"] == 0 for row in board)
    assert board[0]["ordinary/perplexity,none"] > 2


def test_a_second_run_asks_nobody(evaluated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(recipe(evaluated))
    assert "the evaluation is complete; nothing to do" in capsys.readouterr().out


def test_the_plan_says_what_would_be_done(evaluated: Path) -> None:
    text = plan(recipe(evaluated, output=str(evaluated / "fresh")))
    assert "ordinary: 4 cut points in " in text
    assert f"twin ({MODEL}): 7 of 7 cut points to continue, 2 texts each; 56 questions" in text
    assert "base is itself a judge, or kin of one" in text
    assert not (evaluated / "fresh").exists()
