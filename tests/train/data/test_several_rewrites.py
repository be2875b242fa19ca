"""Sets of several templates: any of their texts may be a candidate, and only those are laid out."""

from pathlib import Path
from typing import Any

import pytest

from prewrite.base.errors import ConfigError
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.loader import Loader
from prewrite.train.objectives import Loss
from tests.train.data.sets import BOS, EOS, config, tokenizer, write_set

TEXTS = ("original", "rewrite", "rewrite_b", "rewrite_c")
THREE = ["original", "rewrite", "rewrite_c"]


def phases(**changes: Any) -> list[dict[str, Any]]:
    return [{"name": "one", "objective": "dpo", "until": {"step": 9}, **changes}]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Six documents of three chunks; every second text by `c` failed."""
    rows = [
        [
            {t: f" {t} {document} {chunk}" for t in TEXTS if t != "rewrite_c" or chunk % 2}
            | {f"{text}_score": number / 10 for number, text in enumerate(TEXTS)}
            for chunk in range(3)
        ]
        for document in range(6)
    ]  # fmt: skip
    folder = tmp_path_factory.mktemp("several")
    return write_set(folder / "set", [rows], rewrites=("a", "b", "c"))


def loader(recipe: TrainConfig, tmp_path: Path) -> Loader:
    return Loader(recipe, tokenizer(), BOS, EOS, str(tmp_path / "cache"))


def recipe_of(url: str, **phase: Any) -> TrainConfig:
    batch = {"samples": 4, "sequence_tokens": 512, "max_seq_len": 128, "context_tokens": 16}
    return config(url, batch=batch, curriculum=phases(**phase))


def test_a_phase_lays_out_the_texts_that_it_names(url: str, tmp_path: Path) -> None:
    recipe = recipe_of(url, candidates=THREE)
    assert recipe.kinds == ("original", "rewrite", "rollout", "rewrite_c")
    with loader(recipe, tmp_path) as made:
        batch = made.batch(0, recipe.curriculum[0])
        counts = made.learnable(recipe.curriculum[0])
    assert counts["learnt"] > 0
    assert batch.counts["rewrite_c"] > 0 and "rewrite_b" not in batch.counts
    assert batch.counts["no_rewrite"] == batch.counts["cut_points"] - batch.counts["rewrite_c"]
    for row in batch.rows:
        scores = dict(
            zip(row.candidates.kind_C.tolist(), row.candidates.score_C.tolist(), strict=True)
        )
        expected = {0: 0.0, 1: 0.1, 3: 0.3}
        assert all(score == pytest.approx(expected[kind]) for kind, score in scores.items())


def test_the_objective_counts_each_by_its_name(url: str, tmp_path: Path) -> None:
    recipe = recipe_of(
        url, candidates=THREE, objective=["rf_nll", {"kind": "nll", "text": "rewrite_c"}]
    )
    with loader(recipe, tmp_path) as made:
        (row, *_) = made.batch(0, recipe.curriculum[0]).rows
    loss = Loss(recipe.curriculum[0].objective)
    counts_N = loss.counts(row.candidates)
    kinds, tokens_T = row.candidates.kind_C, row.candidates.candidate_T
    assert int(counts_N[1]) == int((kinds[tokens_T] == 3).sum())
    _, sums = loss(row.candidates.score_C[tokens_T].float(), row.candidates, counts_N)
    best = int((kinds == 3).sum()), int((kinds == 1).sum())
    assert sums["rf_nll/chosen_rewrite_c"] == best[0]
    assert sums["rf_nll/chosen_rewrite"] == best[1] - best[0]


def test_all_that_any_phase_names_is_stored_as_reference(url: str, tmp_path: Path) -> None:
    recipe = recipe_of(url, candidates=THREE)
    with loader(recipe, tmp_path) as made:
        rows = [row for *_, some in made.stored() for row in some]
    kinds = {kind for row in rows for kind in row.candidates.kind_C.tolist()}
    assert kinds == {0, 1, 3}


def test_a_set_that_holds_no_such_text_is_refused(url: str, tmp_path: Path) -> None:
    plain = write_set(tmp_path / "plain", [[[{"original": "One.", "rewrite": "Two."}]]])
    sentence = (
        r"^train\.curriculum\.0\.candidates: found 'rewrite_c', which train\.data\.0\.set, "
        f"{plain}, does not hold; accepted with it: original, rewrite$"
    )
    with pytest.raises(ConfigError, match=sentence):
        loader(recipe_of(plain, candidates=THREE), tmp_path)


def test_other_texts_make_other_samples_and_so_another_run(url: str, tmp_path: Path) -> None:
    found = []
    for kinds in (THREE, ["original", "rewrite"]):
        with loader(recipe_of(url, candidates=kinds), tmp_path) as made:
            found.append(made.identity()["sets"][url])
    assert found[0].pop("texts") == THREE and found[0] == found[1]
