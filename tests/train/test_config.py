"""The training recipe: what a person writes loads, what cannot be is refused in one sentence."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from prewrite.base.config import load
from prewrite.base.errors import ConfigError
from prewrite.train.config.phases import Dpo, Grpo, Nll, RfNll, end_step
from prewrite.train.config.recipe import TrainRecipe
from tests.base.test_config import keys

GOOD = """
output: data/set
train:
  data: [{set: data/set}, {set: s3://bucket/more, weight: 2, filter: rewrite_score > 1.5}]
  output: data/run
  model: {path: models/any}
  batch: {samples: 8}
  optimizer: {betas: [0.9, 0.99], warmup_steps: 10, lr: 1e-4}
  curriculum:
    - {name: imitate, objective: nll, until: {step: 100}}
    - name: prefer
      objective: {kind: dpo, beta: 0.2}
      until: {samples: 1601, plateau: {steps: 20}}
      learning_rate: restart
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD)
    return str(path)


def phases(*changes: str) -> str:
    """An override that replaces the curriculum; each phase ends 100 steps after the one before."""
    made = [
        {"name": f"p{i}", "objective": "nll", "until": {"step": 100 * i + 100}}
        | yaml.safe_load(text)
        for i, text in enumerate(changes)
    ]
    return f"train.curriculum={yaml.safe_dump(made, default_flow_style=True, width=9999)}"


def test_a_recipe_loads(recipe: str) -> None:
    train = load(TrainRecipe, recipe).train
    assert train.optimizer.betas == [0.9, 0.99]
    imitate, prefer = train.curriculum
    assert imitate.objective == [Nll(kind="nll")]
    assert prefer.objective == [Dpo(kind="dpo", beta=0.2)]
    assert [end_step(phase, 8) for phase in train.curriculum] == [100, 201]
    assert train.steps == 201


@pytest.mark.parametrize(
    ("text", "components", "candidates"),
    [
        ("nll", [Nll(kind="nll")], ["original"]),
        ("{kind: nll, text: rewrite}", [Nll(kind="nll", text="rewrite")], ["rewrite"]),
        ("[rf_nll]", [RfNll(kind="rf_nll")], ["original", "rewrite"]),
        ("grpo", [Grpo(kind="grpo")], ["original", "rewrite"]),
        (
            "[{kind: dpo, normalise: true, reference: stored}, {kind: rf_nll, weight: 0.2}]",
            [Dpo(kind="dpo", normalise=True, reference="stored"), RfNll(kind="rf_nll", weight=0.2)],
            ["original", "rewrite"],
        ),
        (
            "[nll, {kind: nll, text: rewrite, weight: 3}]",
            [Nll(kind="nll"), Nll(kind="nll", text="rewrite", weight=3.0)],
            ["original", "rewrite"],
        ),
    ],
)
def test_an_objective_is_a_name_a_mapping_or_a_list(
    recipe: str, text: str, components: list[Any], candidates: list[str]
) -> None:
    (phase,) = load(TrainRecipe, recipe, [phases(f"objective: {text}")]).train.curriculum
    assert phase.objective == components
    assert phase.candidates == candidates
    assert phase.needs_scores == any(not isinstance(part, Nll) for part in components)


def test_more_texts_than_needed_may_be_laid_out(recipe: str) -> None:
    override = phases("candidates: [original, rewrite]")
    (phase,) = load(TrainRecipe, recipe, [override]).train.curriculum
    assert phase.candidates == ["original", "rewrite"]


CURRICULUM = "train.curriculum"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        # Data and output.
        ("train.data=[]", "train.data: found []; accepted: at least 1 item"),
        ("train.data=[{set: a}, {set: a/}]", "train.data: found the set 'a' twice; accepted: once"),
        (
            "train.data=[{set: a}, {set: b/../a}]",
            "train.data: found the set 'b/../a' twice; accept",
        ),
        ("train.data=[{set: a, weight: 0}]", "train.data.0.weight: found 0; accepted: greater th"),
        ("train.data=[{sets: a}]", "train.data.0: unknown key 'sets'; did you mean 'set'? "),
        ("train.output=s3://b/run", "train.output: found 's3://b/run'; accepted: a folder, no URL"),
        ("train.output=data/set", "train.output: found 'data/set', a set under data; accepted: "),
        ("output=data/run", "train.output: found 'data/run', where `output` puts the shard set; "),
        ("train.output=null", "train.output: found None; accepted: a text"),
        ("train=null", "train: found None; accepted: a mapping"),
        ("train.output=''", "train.output: found ''; accepted: a folder, a file or a URL"),
        ("train.output=/", "train.output: found '/'; accepted: a folder of its own, not the root"),
        (r'train.output="a\0"', "train.output: found a text with a null byte; accepted: a text wi"),
        (r'train.data=[{set: "\0"}]', "train.data.0.set: found a text with a null byte; accepted:"),
        ("train.data=[{set: ''}]", "train.data.0.set: found ''; accepted: a folder, a file or a U"),
        ("train.model.path=''", "train.model.path: found ''; accepted: a folder, a file or a URL"),
        # Parallelism and batches.
        ("train.seed=4294967296", "train.seed: found 4294967296; accepted: less than or equal to"),
        ("train.batch.samples=1048577", "train.batch.samples: found 1048577; accepted: less than"),
        ("train.parallel.tp=0", "train.parallel.tp: found 0; accepted: greater than or equal to 1"),
        ("train.parallel.sequence=true", "train.parallel.tp: found 1; accepted with sequence: 2,"),
        ("train.parallel={tp: 3, sequence: true}", "train.parallel.tp: found 3; accepted with seq"),
        (
            "train.batch.sequence_tokens=1024",
            "train.batch.sequence_tokens: found 1024; accepted: at least m",
        ),
        (
            "train.batch.sequence_tokens=8200",
            "train.batch.sequence_tokens: found 8200; accepted: a multiple",
        ),
        ("train.batch.context_tokens=2048", "train.batch.context_tokens: found 2048; accepted: l"),
        # The optimizer.
        ("train.optimizer.betas=0.9", "train.optimizer.betas: found 0.9; accepted: a list"),
        (
            "train.optimizer.betas=[0.9]",
            "train.optimizer.betas: found [0.9]; accepted: two numbers",
        ),
        ("train.optimizer.betas=[0.9, 1.0]", "train.optimizer.betas: found [0.9, 1.0]; accepted: "),
        (
            "train.optimizer.betas=[a, 0.5]",
            "train.optimizer.betas.0: found 'a'; accepted: a number",
        ),
        (
            "train.optimizer.min_lr=1e-3",
            "train.optimizer.min_lr: found 0.001; accepted: at most lr",
        ),
        ("train.optimizer.schedule=wsd", "train.optimizer.decay_steps: found 0; accepted with sch"),
        ("train.optimizer.decay_steps=5", "train.optimizer.decay_steps: found 5; accepted with sc"),
        (
            "train.optimizer={warmup_steps: 101}",
            "train.optimizer.warmup_steps: warm-up and decay take 101 steps; accepted: at most 100",
        ),
        (
            "train.optimizer={schedule: wsd, warmup_steps: 50, decay_steps: 60}",
            "train.optimizer.decay_steps: warm-up and decay take 110 steps; accepted: at most 100",
        ),
        # The curriculum.
        (f"{CURRICULUM}=[]", f"{CURRICULUM}: found []; accepted: at least 1 item"),
        (f"{CURRICULUM}=nll", f"{CURRICULUM}: found 'nll'; accepted: a list"),
        (phases("name: A b"), f"{CURRICULUM}.0.name: found 'A b'; accepted: [a-z0-9_-]+"),
        (phases("name: a", "name: a"), f"{CURRICULUM}: found the name 'a' twice"),
        (phases("until: null"), f"{CURRICULUM}.0.until: found None; accepted: a mapping"),
        (phases("until: {}"), f"{CURRICULUM}.0.until.step: found neither step nor samples; accept"),
        (phases("until: {step: 9, samples: 9}"), f"{CURRICULUM}.0.until.step: found both step and"),
        (phases("until: {plateau: {steps: 5}}"), f"{CURRICULUM}.0.until.step: found neither step "),
        (
            phases("until: {step: 200}", "until: {samples: 1600}"),
            f"{CURRICULUM}.1.until: ends at step 200, the phase before it at step 200; accepted: ",
        ),
        (
            phases("{}", "until: {step: 150, plateau: {steps: 25}}"),
            f"{CURRICULUM}.1.until.plateau.steps: found 25; accepted: less than half of the "
            "phase's 50 steps",
        ),
        (
            phases("{}", "{until: {step: 105}, learning_rate: restart}"),
            "train.optimizer.warmup_steps: warm-up and decay take 10 steps; accepted: at most 5, ",
        ),
        # Objectives and candidates.
        (phases("objective: dop"), f"{CURRICULUM}.0.objective.kind: found 'dop'; accepted: 'nll',"),
        (phases("objective: 5"), f"{CURRICULUM}.0.objective: found 5; accepted: a mapping"),
        (
            phases("objective: [nll, 5]"),
            f"{CURRICULUM}.0.objective.1: found 5; accepted: a mapping",
        ),
        (phases("objective: []"), f"{CURRICULUM}.0.objective: found []; accepted: at least 1 item"),
        (phases("objective: {beta: 1}"), f"{CURRICULUM}.0.objective.kind: this key is required"),
        (
            phases("objective: {kind: dpo, bta: 1}"),
            f"{CURRICULUM}.0.objective: unknown key 'bta'; did you mean 'beta'? accepted: kind, ",
        ),
        (
            phases("objective: [{kind: dpo, beta: 0}]"),
            f"{CURRICULUM}.0.objective.0.beta: found 0; accepted: greater than 0",
        ),
        (
            phases("objective: {kind: nll, text: rollout}"),
            f"{CURRICULUM}.0.objective.text: found 'rollout'; accepted: original, rewrite, or",
        ),
        (
            phases("objective: [{kind: dpo, reference: frozen}, {kind: dpo, reference: stored}]"),
            f"{CURRICULUM}.0.objective: found dpo twice; accepted: once, with a weight",
        ),
        (phases("objective: [nll, nll]"), f"{CURRICULUM}.0.objective: found nll_original twice; "),
        (
            phases("candidates: [original, original]"),
            f"{CURRICULUM}.0.candidates: found 'original' twice",
        ),
        (
            phases("candidates: [walkout]"),
            f"{CURRICULUM}.0.candidates.0: found 'walkout'; accepted: original, rewrite, rollout",
        ),
        (
            phases("candidates: [rewrite]"),
            f"{CURRICULUM}.0.candidates: found rewrite; accepted: with original, which nll learns",
        ),
        (
            phases("{objective: [nll, dpo], candidates: [original]}"),
            f"{CURRICULUM}.0.candidates: found original; accepted: two of original, rewrite, ",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(recipe: str, override: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(TrainRecipe, recipe, [override])
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{recipe}: {sentence}")


def test_a_constant_rate_has_no_smallest(recipe: str) -> None:
    override = "train.optimizer={schedule: constant, lr: 1e-9, warmup_steps: 0}"
    assert load(TrainRecipe, recipe, [override]).train.optimizer.lr == 1e-9


def test_the_command_line_is_frozen() -> None:
    """A key that comes, goes or gets another default changes what people's recipes mean: change
    tests/train/keys.txt with it, on purpose.
    """
    lines = keys(TrainRecipe, "train: ")
    assert "\n".join(lines) + "\n" == Path("tests/train/keys.txt").read_text()
