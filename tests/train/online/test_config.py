"""The online phase in a recipe: what fits loads, what cannot be is refused in one sentence."""

from pathlib import Path

import pytest

from prewrite.base.config import load
from prewrite.base.errors import ConfigError
from prewrite.train.config.recipe import TrainRecipe

GOOD = """
output: data/set
engines:
  policy: {kind: vllm, model: models/any}
  judge: {kind: endpoint, urls: ["http://127.0.0.1:1/v1"], model: any}
train:
  data: [{set: data/set}]
  output: data/run
  model: {path: models/any}
  batch: {samples: 8, sequence_tokens: 4096, max_seq_len: 1024, context_tokens: 256}
  optimizer: {warmup_steps: 10}
  curriculum:
    - {name: prefer, objective: dpo, until: {step: 100, win_rate: 0.5}}
    - {name: explore, objective: grpo, candidates: [rollout], until: {step: 200}}
  rollouts:
    engine: policy
    judge: {engine: judge, criteria: [quality]}
    samples: 8
    probe: {set: data/held-out}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    path = tmp_path / "recipe.yaml"
    path.write_text(GOOD)
    return str(path)


def test_a_recipe_with_a_late_phase_loads(recipe: str) -> None:
    train = load(TrainRecipe, recipe).train
    assert [phase.online for phase in train.curriculum] == [False, True]
    assert train.curriculum[1].stored == []
    assert train.rollouts and train.rollouts.judge
    assert train.rollouts.judge.criteria == ["quality"]


def phase(text: str) -> str:
    return f"train.curriculum=[{{name: p, until: {{step: 100}}, {text}}}]"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.rollouts=null", "train.rollouts.probe: required by curriculum.0.until.win_rate"),
        (
            "train={data: [{set: a}], output: b, model: {path: c}, optimizer: {warmup_steps: 1}, "
            "curriculum: [{name: p, objective: dpo, candidates: [rollout], until: {step: 9}}]}",
            "train.rollouts: this key is required for the phase p",
        ),
        ("train.rollouts.probe=null", "train.rollouts.probe: required by curriculum.0.until.win_r"),
        (
            "train.rollouts.probe.set=data/set/",
            "train.rollouts.probe.set: found 'data/set/', a set under data; accepted: another one",
        ),
        (
            "train.rollouts.probe.set=data/other/../set",
            "train.rollouts.probe.set: found 'data/other/../set', a set under data; accepted: a",
        ),
        (
            "train.rollouts.samples=25",
            "train.batch.sequence_tokens: found 4096; accepted with 25 rollouts of 128 tokens: at "
            "least 4224",
        ),
        (
            "train.rollouts.tokens=769",
            "train.rollouts.tokens: found 769; accepted: at most max_seq_len without "
            "context_tokens, 768",
        ),
        (
            "engines.policy.max_model_len=1023",
            "engines.policy.max_model_len: found 1023; accepted for train.rollouts.engine: at "
            "least train.batch.max_seq_len, 1024",
        ),
        ("train.rollouts.sync_every=2", "train.rollouts.sync_every: found 2; accepted: at most 1"),
        (
            "train.rollouts={engine: policy, judge: {engine: judge}, sleep: true, "
            "max_staleness: 1}",
            "train.rollouts.sleep: found true; accepted with max_staleness 0",
        ),
        ("train.rollouts.engine=polici", "train.rollouts.engine: found 'polici'; did you mean"),
        (
            "train.rollouts.engine=judge",
            "engines.judge: found endpoint any; accepted for train.rollouts.engine: vllm "
            "models/any, the model that is trained",
        ),
        (
            "engines.policy.model=models/other",
            "engines.policy: found vllm models/other; accepted for train.rollouts.engine: vllm mod",
        ),
        ("train.rollouts.judge.engine=x", "train.rollouts.judge.engine: found 'x'; accepted"),
        ("train.rollouts.judge.criteria=[qualiti]", "judge.criteria: found 'qualiti'"),
        (
            "train.rollouts.judge.pools.schedule=pivot",
            "train.curriculum.1.candidates: found rollout; accepted with train.rollouts.judge.pools"
            ".schedule pivot: with original, which all others meet",
        ),
        (
            "train.rollouts.judge=null",
            "train.rollouts.judge: found neither judge nor prefer; accepted with task.kind ",
        ),
        (
            "train.rollouts.prefer=[rollout]",
            "train.rollouts.judge: found judge and prefer; accepted with task.kind continue: judge",
        ),
        (
            "train.rollouts={engine: policy, prefer: [rewrite, rewrite]}",
            "train.rollouts.prefer: found 'rewrite' twice",
        ),
        (
            "train.rollouts={engine: policy, prefer: [rollout], probe: {set: a}}",
            "train.rollouts.probe: found with prefer; accepted with a judge, whom it asks",
        ),
        (
            "train={data: [{set: a}], output: b, model: {path: models/any}, "
            "optimizer: {warmup_steps: 1}, rollouts: {engine: policy, prefer: [rewrite]}, "
            "curriculum: [{name: p, objective: dpo, candidates: [rewrite, rollout], "
            "until: {step: 9}}]}",
            "train.rollouts.prefer: found rewrite; accepted: with rollout, a candidate of the "
            "phase p",
        ),
        ("train.rollouts.cut_points=0", "train.rollouts.cut_points: found 0; accepted: "),
        (
            phase("objective: {kind: dpo, reference: stored}, candidates: [original, rollout]"),
            "train.curriculum.0.objective: found reference: stored; accepted with rollouts",
        ),
        (
            phase("objective: nll, candidates: [original, rollout]"),
            "train.curriculum.0.candidates: found rollout; accepted with an objective that ",
        ),
    ],
)
def test_what_cannot_be_is_one_sentence(recipe: str, override: str, sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(TrainRecipe, recipe, [override])
    line = str(caught.value).splitlines()[0]
    assert line.startswith(f"{recipe}: {sentence}")


def test_filters_may_split_a_set_for_the_probe(recipe: str) -> None:
    changed = ["train.data=[{set: data/set, filter: source != 'c4'}]"]
    changed += ["train.rollouts.probe={set: data/set, filter: source == 'c4'}"]
    assert load(TrainRecipe, recipe, changed).train.rollouts


@pytest.mark.parametrize("criterion", ["factuality", "factuality-strict", "thinking_match"])
def test_the_reference_is_no_candidate(recipe: str, criterion: str) -> None:
    judge = f"train.rollouts.judge.criteria=[quality, {criterion}]"
    load(TrainRecipe, recipe, [judge])
    for text in ("original, rollout", "rewrite, original, rollout"):
        online = phase(f"objective: dpo, candidates: [{text}]")
        with pytest.raises(ConfigError) as raised:
            load(TrainRecipe, recipe, [judge, online])
        name = "factuality" if criterion != "thinking_match" else criterion
        assert str(raised.value) == (
            f"{recipe}: train.curriculum.0.candidates: found original; accepted with {name} among "
            "train.rollouts.judge.criteria, whose reference it is: other texts"
        )
    load(TrainRecipe, recipe, [judge, phase("objective: dpo, candidates: [original, rewrite]")])


def test_a_criterion_without_a_reference_takes_the_original(recipe: str) -> None:
    online = phase("objective: dpo, candidates: [original, rollout]")
    for criterion in ("safety", "factuality-alone", "coherence"):
        load(TrainRecipe, recipe, [f"train.rollouts.judge.criteria=[{criterion}]", online])
    load(TrainRecipe, recipe, ["train.rollouts.judge.pools.schedule=pivot", online])


def test_the_longest_prefix_and_a_rollout_fill_a_sequence(recipe: str) -> None:
    """As in arXiv 2601.21343: 1,920 and 128 tokens in 2,048."""
    batch = "train.batch={max_seq_len: 2048, context_tokens: 1920, sequence_tokens: 8192}"
    load(TrainRecipe, recipe, [batch, "train.rollouts.tokens=128"])
