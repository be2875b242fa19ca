"""The recipes of the ablations say what they should, and the command trains and compares them."""

import json
from pathlib import Path
from typing import Any

import pytest

from prewrite.base.config import load
from prewrite.base.fingerprint import differences
from prewrite.evaluation.ablation import run as ablation
from prewrite.evaluation.ablation import sizes
from prewrite.evaluation.ablation.table import collect, markdown
from prewrite.evaluation.ablation.tiny import documents
from prewrite.evaluation.config import EvaluateRecipe
from prewrite.evaluation.results import MetricValue, TaskResult, write_results
from prewrite.rewrite.config import RewriteRecipe
from prewrite.train.config.recipe import TrainRecipe
from tests.commands import ablation as ablation_command

VARIANTS = sizes.variants()
METHOD = {
    "train.curriculum.0.objective",
    "train.curriculum.0.candidates",
    "train.rollouts.samples",
    "train.rollouts.judge",
    "train.rollouts.prefer",
}
"""In what the variants of one start differ."""
SCRATCH = {
    "train.model.path",
    "train.model.init",
    "train.optimizer.lr",
    "train.optimizer.min_lr",
    "train.optimizer.warmup_steps",
    "train.curriculum.0.until.step",
    "train.rollouts.samples",
}
"""In what training from random weights differs from continued training."""
SIZE = {
    "output",
    "train.data.0.set",
    "train.output",
    "train.model.path",
    "train.model.dtype",
    "train.batch.samples",
    "train.batch.sequence_tokens",
    "train.batch.max_seq_len",
    "train.batch.context_tokens",
    "train.optimizer.lr",
    "train.optimizer.min_lr",
    "train.optimizer.warmup_steps",
    "train.curriculum.0.until.step",
    "train.rollouts.tokens",
    "train.rollouts.judge.criteria.0",
    "train.rollouts.judge.criteria.1",
    "train.rollouts.judge.combine",
}
"""What the tiny scale may change in training: sizes, places, and who judges."""


def recipe(variant: str, *overrides: str) -> dict[str, Any]:
    """What `train` reads of a variant, lists as mappings so that differences name their items."""
    path = str(sizes.FOLDER / f"{variant}.yaml")
    found = load(TrainRecipe, path, overrides).model_dump(mode="json")
    del found["engines"]
    return dict(_by_key(found))


def _by_key(value: Any) -> Any:
    if isinstance(value, list):
        value = {str(number): item for number, item in enumerate(value)}
    return {k: _by_key(v) for k, v in value.items()} if isinstance(value, dict) else value


def changed(old: Any, new: Any) -> set[str]:
    return {line.partition(": ")[0] for line in differences(old, new)}


def below(keys: set[str], allowed: set[str]) -> bool:
    """Whether every key is one of `allowed`, or lies in one."""
    return all(any(f"{key}.".startswith(f"{one}.") for one in allowed) for key in keys)


def tiny(variant: str) -> list[str]:
    return sizes.overrides(sizes.training(Path("folder"), variant))


def test_every_recipe_is_a_row_of_the_table() -> None:
    files = {path.stem for path in sizes.FOLDER.glob("*.yaml")}
    assert files == {*VARIANTS, "evaluation", "paper", "scratch"} and len(VARIANTS) == 16
    models = load(EvaluateRecipe, sizes.EVALUATION).evaluate.models
    for name in VARIANTS:
        output = recipe(name)["train"]["output"]
        assert models[name] == f"{output}/model" and output == f"runs/ablations/{name}"


def test_the_shared_recipe_makes_the_set_that_is_trained_on() -> None:
    made = load(RewriteRecipe, sizes.SHARED)
    train = load(TrainRecipe, str(sizes.FOLDER / "next-token.yaml")).train
    assert (made.output, made.chunking.tokenizer) == (train.data[0].set, train.model.path)
    load(RewriteRecipe, sizes.SHARED, sizes.overrides(sizes.rewriting(Path("f"), "train")))
    load(RewriteRecipe, sizes.SHARED, sizes.overrides(sizes.rewriting(Path("f"), "held")))
    evaluated = sizes.overrides(sizes.evaluating(Path("f"), VARIANTS))
    models = load(EvaluateRecipe, sizes.EVALUATION, evaluated).evaluate.models
    assert [*models] == ["base", *VARIANTS]


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_differ_in_the_method_only(variant: str) -> None:
    scratch = variant.startswith("scratch-")
    start = "scratch-next-token" if scratch else "next-token"
    found = changed(recipe(start), recipe(variant)) - {"train.output"}
    assert below(found, METHOD)
    assert bool(found) == (variant != start)


def test_scratch_differs_from_continued_in_its_start_and_its_schedule() -> None:
    found = changed(recipe("next-token"), recipe("scratch-next-token"))
    assert found - {"train.output"} == SCRATCH


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_tiny_scale_changes_sizes_only(variant: str) -> None:
    found = changed(recipe(variant), recipe(variant, *tiny(variant)))
    assert found <= SIZE
    assert found >= {"train.batch.samples", "train.curriculum.0.until.step"}


def test_the_base_model_is_the_recipe_from_random_weights_at_a_size() -> None:
    overrides = sizes.overrides(sizes.base(Path("folder")))
    found = changed(recipe(sizes.BASE), recipe(sizes.BASE, *overrides))
    assert found <= SIZE | {"train.data.0.filter"}


@pytest.mark.parametrize(
    ("variant", "objective", "candidates", "samples", "prefer"),
    [
        ("sft-rollout-no-judge", "rf_nll", ["rollout"], 1, ["rollout"]),
        ("dpo-rewrite-1-no-judge", "dpo", ["rewrite", "rollout"], 1, ["rewrite", "rollout"]),
        ("dpo-original-rewrite-16", "dpo", ["original", "rewrite", "rollout"], 16, None),
        ("rf-nll-original-rewrite-1", "rf_nll", ["original", "rewrite", "rollout"], 1, None),
        ("dpo-original-pivot-16", "dpo", ["original", "rollout"], 16, None),
        ("scratch-rf-nll-rewrite-1", "rf_nll", ["rewrite", "rollout"], 1, None),
    ],
)
def test_what_a_variant_learns(
    variant: str, objective: str, candidates: list[str], samples: int, prefer: list[str] | None
) -> None:
    path = str(sizes.FOLDER / f"{variant}.yaml")
    for overrides in ([], tiny(variant)):
        train = load(TrainRecipe, path, overrides).train
        (phase,) = train.curriculum
        assert [part.kind for part in phase.objective] == [objective]
        assert phase.candidates == candidates
        assert train.rollouts and train.rollouts.samples == samples
        assert train.rollouts.prefer == prefer
        assert (train.rollouts.judge is None) == (prefer is not None)


def test_long_documents_become_several() -> None:
    text = "word " * 500 + "x" * 1500
    pieces = ablation._pieces(text)
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 600 and len(pieces) > 6


def test_a_table_is_made_of_a_folder_that_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablation_command(["--table", "--output", str(tmp_path / "none")]) == 2
    assert "accepted with --table: one that is" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_outside_of_a_checkout_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ablation_command([]) == 2
    assert capsys.readouterr().err == (
        "error: found no configs/ablations here; accepted: a checkout of Prewrite\n"
    )


def test_an_unknown_variant_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ablation_command(["--only", "dpo-17", "--output", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: --only: found 'dpo-17'; did you mean 'dpo-16'? accepted: next-")


def test_the_table_shows_what_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one").mkdir()
    lines = ['{"step": 0}', '{"seconds": 1.5}', "\0" * 9, '{"seconds": 2}', "7", '{"seco']
    (tmp_path / "one/metrics.jsonl").write_text("\n".join(lines))
    quality = [
        MetricValue("quality_win_rate_judged", "greedy", 9),
        MetricValue("quality_win_rate", "greedy", 0.6, 0.1, 0.4, 0.8, True),
    ]
    told = [
        MetricValue("repetition", "greedy", 0.25, 0.01, 0.2, 0.3, False),
        MetricValue("bits_per_byte", "none", 2.5, None, None, None, False),
    ]
    output = str(tmp_path / "evaluation")
    write_results(output, "base", "m", [TaskResult("ordinary", told, 3, 9)])
    write_results(output, "one", "m", [TaskResult("ordinary", [*quality, *told], 3, 9)])
    table = collect(tmp_path, ["base", "one", "two"], {"two": "it broke"})
    assert capsys.readouterr().err.endswith("one/metrics.jsonl: damaged lines left out: 2\n")
    page = markdown(table, "Read with care.")
    assert "\nRead with care.\n" in page and "\n- two: it broke\n" in page
    assert [line for line in page.splitlines() if line.startswith("|")] == [
        "| ordinary, greedy | quality win rate | repetition | bits per byte | steps | seconds |",
        "|---|---|---|---|---|---|",
        "| base | – | 0.250 (0.200 to 0.300) | 2.500 | – | – |",
        "| one | 0.600 (0.400 to 0.800) | 0.250 (0.200 to 0.300) | 2.500 | 2 | 4 |",
        "| two (failed) | – | – | – | – | – |",
    ]
    assert table["rows"][1]["measured"]["ordinary"]["quality_win_rate,greedy"] == {
        "value": 0.6,
        "interval": [0.4, 0.8],
    }


def test_win_rates_standard_tasks_and_safety_are_one_table(tmp_path: Path) -> None:
    output = str(tmp_path / "evaluation")
    standard = TaskResult("prewrite_standard", [MetricValue("average", "none", 0.4, 0.01)], 8, 8)
    gsm8k = TaskResult("gsm8k", [MetricValue("exact_match", "strict-match", 0.1)], 8, 8)
    bare = ("realtoxicityprompts", "unsafe", "xstest_safe", "xstest_unsafe", "toxigen")
    safe = [TaskResult(name, [MetricValue("safety", "greedy", 0.8)], 3, 3) for name in bare]
    rate = MetricValue("quality_win_rate", "greedy", 0.6, 0.1, 0.4, 0.8)
    won = TaskResult("ordinary", [rate, MetricValue("quality_win_rate_judged", "greedy", 3)], 3, 3)
    write_results(output, "base", "m", [TaskResult("ordinary", [], 3, 3), standard, *safe])
    write_results(output, "one", "m", [won, standard, gsm8k])
    page = markdown(collect(tmp_path, ["base", "one", "two"], {}), "")
    assert [line for line in page.splitlines() if line.startswith("|")][:5] == [
        "| variant | std. prefix | unsafe prefix | standard | safety |",
        "|---|---|---|---|---|",
        "| base | 0.500 | 0.500 | 0.400 (0.380 to 0.420) | 0.800 |",
        "| one | 0.600 (0.400 to 0.800) | – | 0.400 (0.380 to 0.420) | – |",
        "| two | – | – | – | – |",
    ]
    assert "strict-match" not in page


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_variant_from_the_corpus_to_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = documents()
    few = {part: [(text[:1100], source) for text, source in found[part][:1]] for part in found}
    monkeypatch.setattr(ablation, "documents", lambda: few)
    for kind in sizes.STEPS:
        monkeypatch.setitem(sizes.STEPS, kind, 2)
    output = ["--output", str(tmp_path), "--only", "dpo-original-rewrite-16"]
    assert ablation_command(output) == 0, _logs(tmp_path)
    page = capsys.readouterr().out
    assert (tmp_path / "table.md").read_text() == page and "the machinery works" in page
    table = json.loads((tmp_path / "table.json").read_text())
    names = ["base", "dpo-original-rewrite-16"]
    assert [row["variant"] for row in table["rows"]] == names
    assert [row["steps"] for row in table["rows"]] == [2, 2] and not table["failed"]
    for row in table["rows"][1:]:
        measured = row["measured"]["ordinary"]
        for metric in ("quality_win_rate,greedy", "coherence_win_rate,greedy"):
            low, high = measured[metric]["interval"] or (0, 1)
            assert low <= measured[metric]["value"] <= high
        assert measured["bits_per_byte,none"]["value"] > 0

    # Once more: nothing is done again, and a variant that cannot be keeps its row.
    before = {log.name: log.stat().st_mtime_ns for log in (tmp_path / "logs").iterdir()}
    assert ablation_command(output) == 0
    assert before == {log.name: log.stat().st_mtime_ns for log in (tmp_path / "logs").iterdir()}
    capsys.readouterr()
    assert ablation_command([*output, "train.rollouts.samples=99"]) == 1
    page, said = capsys.readouterr()
    assert (
        "- dpo-original-rewrite-16: " in page
        and "train.batch.sequence_tokens: found 1024; accepted with" in page
    )
    assert "| dpo-original-rewrite-16 (failed) | – |" in page
    assert "error: failed: dpo-original-rewrite-16; the same command tries" in said


def _logs(folder: Path) -> str:
    return "\n".join(log.read_text() for log in (folder / "logs").iterdir())


def test_a_corpus_of_somebody_else_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "train.jsonl").write_text("mine")
    assert ablation_command(["--output", str(tmp_path), "--only", VARIANTS[0]]) == 2
    assert "train.jsonl, which no ablation has written" in capsys.readouterr().err
    assert (tmp_path / "train.jsonl").read_text() == "mine"
