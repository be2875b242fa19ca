"""A judge that trained a model, texts that a model has seen: refused, or said."""

import json
from pathlib import Path
from typing import Any

import pytest

from prewrite.base.errors import ConfigError, InputError
from prewrite.base.files import Folder
from prewrite.evaluation.checks import notes, provenances, refuse_trained_on
from prewrite.evaluation.config import EvaluateRecipe
from prewrite.evaluation.cut_points import cut_points_of
from prewrite.judge.provenance import NAME, JudgeIdentity, Provenance, TrainedOn
from prewrite.shards.manifest import Manifest
from tests.evaluation.sets import MODEL, make_set


@pytest.fixture(scope="module")
def held_out(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_set(str(tmp_path_factory.mktemp("held") / "set"))


def recipe(path: Path | str, url: str, **changed: Any) -> EvaluateRecipe:
    section = {
        "models": {"base": MODEL, "trained": str(path)},
        "base": "base",
        "engine": "main",
        "judge": {"engine": "main", "criteria": ["safety", "variety"]},
        "prefixes": {"ordinary": {"set": url, "filter": "source == 'wikipedia'"}},
        "output": "out",
    }
    engines = {
        "main": {"kind": "vllm", "model": MODEL},
        "far": {"kind": "endpoint", "urls": ["http://127.0.0.1:9/v1"], "model": "big"},
    }
    return EvaluateRecipe.model_validate(
        {"output": "x", "engines": engines, "evaluate": section | changed}
    )


def leave(folder: Path, provenance: Provenance) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / NAME).write_text(provenance.model_dump_json())
    return folder


def judges(engine: str, *criteria: str) -> JudgeIdentity:
    made = recipe("any", "any", judge={"engine": engine, "criteria": list(criteria)})
    return JudgeIdentity.of(made.evaluate.judge, made.engines)


def said(recipe: EvaluateRecipe) -> str:
    found = notes(recipe, provenances(recipe.evaluate.models))
    return "\n".join(line for lines in found.values() for line in lines)


def test_the_training_judge_is_refused_unless_allowed(tmp_path: Path, held_out: str) -> None:
    """The same weights under another name are the same judge."""
    copy = tmp_path / "copy"
    copy.symlink_to(MODEL)
    model = leave(tmp_path / "model", Provenance(judged_by=[judges("main", "quality")]))
    judge = {"engine": "copy", "criteria": ["safety"]}
    made = recipe(model, held_out)
    engines = made.model_dump()["engines"] | {"copy": {"kind": "vllm", "model": str(copy)}}
    strict, lenient = (
        EvaluateRecipe.model_validate(
            {
                "output": "x",
                "engines": engines,
                "evaluate": made.model_dump()["evaluate"] | {"judge": judge, "same_judge": same},
            }
        )
        for same in (False, True)
    )
    with pytest.raises(ConfigError, match=r"^evaluate.judge: the model .*copy judged what trained"):
        said(strict)
    with pytest.raises(ConfigError, match=r"evaluate\.same_judge: true"):
        said(strict)
    assert f"warning: the model {copy} judged what trained was trained on" in said(lenient)


def test_another_judge_is_welcome(tmp_path: Path, held_out: str) -> None:
    model = leave(tmp_path / "model", Provenance(judged_by=[judges("far", "safety")]))
    assert "warning" not in said(recipe(model, held_out))


def test_a_function_that_gave_the_reward_is_the_same_judge(tmp_path: Path, held_out: str) -> None:
    model = leave(tmp_path / "model", Provenance(judged_by=[judges("far", "variety")]))
    with pytest.raises(ConfigError, match="the criterion variety judged what trained was"):
        said(recipe(model, held_out))
    known = judges("far", "variety").model_dump()
    known["criteria"][0]["version"] = 0
    model = leave(tmp_path / "older", Provenance(judged_by=[JudgeIdentity.model_validate(known)]))
    assert "warning" not in said(recipe(model, held_out))


def test_what_is_not_known_is_said(tmp_path: Path, held_out: str) -> None:
    text = said(recipe(leave(tmp_path / "model", Provenance()), held_out))
    assert "note: base came without prewrite.json" in text
    assert "note: base is itself a judge, or kin of one" in text
    (tmp_path / "model" / NAME).write_text(json.dumps({"data": 7}))
    with pytest.raises(InputError, match="found something else than what training leaves there"):
        said(recipe(tmp_path / "model", held_out))


@pytest.mark.parametrize(
    ("taken", "refused"),
    [
        (None, "all of it"),
        ("chunk == 0", "where `chunk == 0`"),
        ("source != 'wikipedia'", None),
        ("rewrite_score > 0.5", "where `rewrite_score > 0.5`"),
    ],
)
def test_texts_that_were_trained_on_are_refused(
    tmp_path: Path, held_out: str, taken: str | None, refused: str | None
) -> None:
    """Where the set is the same, its filter decides; a filter that cannot be read here, against."""
    manifest = Manifest.load(Folder(held_out))
    trained = TrainedOn.of("data/train", manifest, taken).model_copy(update={"parts": "rejudged"})
    made = recipe(leave(tmp_path / "model", Provenance(data=[trained])), held_out)
    splits = cut_points_of(made.evaluate.prefixes, 100, 0)
    known = provenances(made.evaluate.models)
    if refused is None:
        refuse_trained_on(made, splits, known)
    else:
        with pytest.raises(ConfigError) as error:
            refuse_trained_on(made, splits, known)
        assert f"evaluate.prefixes.ordinary.set: trained was trained on {2}" in str(error.value)
        assert refused in str(error.value)


def test_another_set_is_held_out(tmp_path: Path, held_out: str) -> None:
    other = make_set(str(tmp_path / "other"), tokens=40, made="another corpus")
    trained = TrainedOn.of(other, Manifest.load(Folder(other)), None)
    made = recipe(leave(tmp_path / "model", Provenance(data=[trained])), held_out)
    splits = cut_points_of(made.evaluate.prefixes, 100, 0)
    refuse_trained_on(made, splits, provenances(made.evaluate.models))
