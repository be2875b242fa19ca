"""A judge's head computes in float32, and whoever shares its engine is told."""

from pathlib import Path
from typing import Any

import pytest

from prewrite.base.config import load
from prewrite.base.errors import ConfigError
from prewrite.engine.config import EndpointConfig, VllmConfig
from prewrite.engine.vllm_engine import arguments, load_sentence
from prewrite.evaluation.config import EvaluateRecipe
from prewrite.judge.config import JudgeRecipe, JudgeSections, heads

MODEL = str(Path("models/smollm2-135m-instruct").resolve())
FLOAT32 = {"hf_overrides": {"head_dtype": "float32"}}


def vllm(**keys: Any) -> VllmConfig:
    return VllmConfig.model_validate({"kind": "vllm", "model": MODEL} | keys)


def sections(judge: Any, **engines: dict[str, Any]) -> JudgeSections:
    section = {"engine": [*engines], "criteria": ["safety"]} | judge
    return JudgeSections.model_validate({"output": "out", "engines": engines, "judge": section})


def test_the_head_is_in_float32_unless_the_recipe_says_otherwise() -> None:
    assert vllm().head is None and vllm().as_judge().args == FLOAT32
    assert vllm().as_judge().identity() != vllm().identity()
    assert vllm().as_judge().as_judge() == vllm().as_judge()
    other = vllm(args={"hf_overrides": {"rope_theta": 1e6}, "seed": 1}).as_judge()
    assert other.args == {
        "hf_overrides": {"rope_theta": 1e6, "head_dtype": "float32"},
        "seed": 1,
    }
    own = vllm(args={"hf_overrides": {"head_dtype": "model"}})
    assert own.as_judge() == own and own.head == "model"


def test_a_model_in_float32_has_such_a_head_and_stays_what_it_was() -> None:
    assert vllm(dtype="float32").as_judge() == vllm(dtype="float32")
    assert vllm(dtype="float32").head == "float32"


def test_vllm_takes_it() -> None:
    """The pinned vLLM's own words for it, for a model in bfloat16; no weights are loaded."""
    import torch
    from vllm.config import ModelConfig

    for config, head in ((vllm(), torch.bfloat16), (vllm().as_judge(), torch.float32)):
        overrides = arguments(config).get("hf_overrides", {})
        assert ModelConfig(model=MODEL, dtype="bfloat16", hf_overrides=overrides).head_dtype == head


def test_a_quantised_head_is_told_what_to_do() -> None:
    error = ValueError("A head_dtype different from the model dtype is only supported for …")
    assert "accepted: args.hf_overrides.head_dtype: model" in load_sentence(vllm(), error)


def test_every_judge_of_a_recipe_has_it() -> None:
    url = {"kind": "endpoint", "urls": ["http://localhost:1/v1"], "model": "m"}
    found = sections({}, main={"kind": "vllm", "model": MODEL}, big=url)
    assert found.engines["main"] == vllm().as_judge()
    assert isinstance(found.engines["big"], EndpointConfig)
    assert found.judge and heads(found.judge, found.engines, ["main"]) == [
        "  main: its head computes in float32, also where it does not judge",
        "  big: an endpoint; in what type its head computes is unknown",
    ]
    again = JudgeSections.model_validate(found.model_dump(mode="json"))
    assert again == found


def test_who_is_not_asked_stays_as_it_is() -> None:
    found = sections({"criteria": ["variety"]}, main={"kind": "vllm", "model": MODEL})
    assert found.engines["main"] == vllm()
    assert found.judge and heads(found.judge, found.engines) == []


def test_the_judge_of_an_evaluation_has_it_too() -> None:
    evaluate = {
        "models": {"base": MODEL},
        "base": "base",
        "engine": "policy",
        "judge": {"engine": "judge", "criteria": ["safety"]},
        "prefixes": {"p": {"set": "data/set"}},
        "output": "out/evaluation",
    }
    engine = {"kind": "vllm", "model": MODEL}
    recipe = EvaluateRecipe.model_validate(
        {"output": "out", "engines": {"policy": engine, "judge": engine}, "evaluate": evaluate}
    )
    assert recipe.engines == {"policy": vllm(), "judge": vllm().as_judge()}


def test_overrides_that_are_none(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "output: out\nengines: {main: {kind: vllm, model: m, args: {hf_overrides: float32}}}\n"
        "judge: {engine: main, input: in}\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(JudgeRecipe, str(recipe))
    sentence = "engines.main.args.hf_overrides: found 'float32'; accepted: a mapping"
    assert sentence in str(caught.value)
