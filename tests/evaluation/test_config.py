"""The evaluation's recipe: what a person writes loads, what cannot be is refused in a sentence."""

from pathlib import Path

import pytest

from prewrite.base.config import load
from prewrite.base.errors import ConfigError
from prewrite.evaluation.config import EvaluateRecipe
from tests.base.test_config import keys

GOOD = """
output: data/set
engines:
  main: {kind: vllm, model: models/any, dtype: float32}
  big: {kind: endpoint, urls: ["http://127.0.0.1:9/v1"], model: big}
evaluate:
  models: {base: models/any, trained: runs/one/model}
  base: base
  engine: main
  judge: {engine: big}
  prefixes:
    ordinary: {set: data/held-out}
    unsafe: {set: data/unsafe, filter: source == 'web', cut_points: 64}
  output: runs/evaluation
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD)
    return str(path)


def test_a_model_gets_the_engine_with_its_own_folder(recipe: str) -> None:
    loaded = load(EvaluateRecipe, recipe, ["engines.main.revision=abc"])
    engine = loaded.engine("trained")
    assert (engine.model, engine.revision, engine.dtype) == ("runs/one/model", None, "float32")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("evaluate.base=bse", "evaluate.base: found 'bse'; accepted: base, trained"),
        ("evaluate.engine=big", "evaluate.engine: found endpoint 'big'; accepted: a vllm engine"),
        ("evaluate.engine=min", "evaluate.engine: found 'min'; did you mean 'main'?"),
        ("evaluate.judge.engine=bg", "evaluate.judge.engine: found 'bg'; did you mean 'big'?"),
        ("evaluate.judge.criteria=[qualty]", "judge.criteria: found 'qualty'; accepted: coherence"),
        ("evaluate.judge.pools.order=random", "evaluate.judge.pools.order: found 'random'"),
        ("evaluate.tokens=0", "evaluate.tokens: found 0"),
        ("evaluate.models={a/b: x}", "evaluate.models"),
        ("evaluate.prefixes={}", "evaluate.prefixes: found {}; accepted: at least 1 item"),
        ("engines.main.max_model_len=128", "evaluate.tokens: found 128; accepted: less than"),
        ("evaluate.output=data/../models/any", "where evaluate.models.base reads 'models/any'"),
        ("evaluate.output=runs/one/model/new", "where evaluate.models.trained reads 'runs/one/mod"),
        ("evaluate.output=data/held-out", "where evaluate.prefixes.ordinary.set reads 'data/held"),
        ("evaluate.models.base=runs/evaluation/scores/x", "where evaluate.models.base reads"),
        ("evaluate.leaderboard=data/unsafe/part-0.parquet", "inside of evaluate.prefixes.unsafe"),
    ],
)
def test_a_mistake_is_one_sentence(recipe: str, change: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(EvaluateRecipe, recipe, [change])
    assert sentence in str(error.value)


def test_the_command_line_is_frozen() -> None:
    """A key that comes, goes or gets another default changes what people's recipes mean: change
    tests/evaluation/keys.txt with it, on purpose.
    """
    lines = keys(EvaluateRecipe, "evaluate: ")
    assert "\n".join(lines) + "\n" == Path("tests/evaluation/keys.txt").read_text()
