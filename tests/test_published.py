"""The recipes of arXiv 2601.21343 against what it publishes, key by key.

Every key of such a recipe, its defaults included, is of one kind: published, or inferred from what
is, and the same; standing in for what is not published or not used here (STANDS_IN, with the
reason); left open by the paper (OPEN, a line of docs/reproducing.md); or no part of an experiment
(OURS). A value that changes, and a key that is new, fails here until it is of one of them.
"""

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from prewrite.base.config import load
from prewrite.rewrite.config import RewriteRecipe
from prewrite.train.config.recipe import TrainRecipe

CONFIGS = Path(__file__).parents[1] / "configs"
PAGE = CONFIGS.parent / "docs/reproducing.md"

Values = dict[str, Any]

PHASE, POOL = "train.curriculum.0", "train.rollouts.judge"

EVERYWHERE: Values = {
    "chunking.tokens": 128,
    "chunking.exact": True,
    "chunking.cuts": "one",
    "chunking.max_context_tokens": 1920,
    "train.batch.samples": 256,
    "train.batch.max_seq_len": 2048,
    "train.optimizer.schedule": "cosine",
}
CONTINUED: Values = {
    "train.model.init": "pretrained",
    "train.optimizer.lr": 5e-6,
    "train.optimizer.min_lr": 5e-7,  # "min ratio 0.1"
    "train.optimizer.warmup_steps": 100,
    f"{PHASE}.until.step": 2000,
}
SCRATCH: Values = {
    "train.model.init": "scratch",
    "train.optimizer.lr": 5e-4,
    "train.optimizer.min_lr": 5e-5,
    "train.optimizer.warmup_steps": 2000,
    f"{PHASE}.until.step": 21_000,
}
SLIMPAJAMA: Values = {"input.layout": "slimpajama", "input.filter": None, "input.limit": 983_520}
REDPAJAMA: Values = {
    "input.layout": "redpajama-v2",
    "input.filter": "50 <= rps_doc_word_count <= 100000 and 3 <= rps_doc_mean_word_length <= 10 "
    "and rps_doc_symbol_to_word_ratio <= 0.1 and rps_lines_start_with_bulletpoint <= 0.9 "
    "and rps_doc_frac_chars_top_2gram <= 0.2 and rps_doc_ldnoobw_words >= 5 "
    "and rps_doc_ut1_blacklist is not None",
    "input.limit": 257_154,
}
NOT_REWRITTEN: Values = {"rewrite": None, "judge": None}
ROLLOUTS: Values = {
    "train.rollouts.tokens": 128,
    "train.rollouts.cut_points": 1,
    "train.rollouts.temperature": 1.0,
    "train.rollouts.top_p": 1.0,
}
JUDGED: Values = {
    f"{POOL}.readout": "reasoning",
    f"{POOL}.combine": "sum",
    f"{POOL}.sampling.temperature": 1.0,
    f"{POOL}.pools.schedule": "full",
}
GPT_OSS: Values = {f"{POOL}.sampling.top_p": 1.0, f"{POOL} model": "openai/gpt-oss-120b"}
TUNED_8B: Values = {
    f"{POOL}.sampling.top_p": 0.6,
    f"{POOL}.sampling.votes": 5,
    f"{POOL} model": "the tuned Llama-3.1-8B-Instruct",
}


def learns(objective: str, *candidates: str, samples: int = 0, **nll: str) -> Values:
    """What a row of a table learns, and from what."""
    found: Values = {f"{PHASE}.objective.0.kind": objective}
    found |= {f"{PHASE}.objective.0.{key}": value for key, value in nll.items()}
    found |= {f"{PHASE}.candidates.{n}": text for n, text in enumerate(candidates)}
    return found | ({"train.rollouts.samples": samples} | ROLLOUTS if samples else {})


def judged(*criteria: str) -> Values:
    return JUDGED | {f"{POOL}.criteria.{n}": name for n, name in enumerate(criteria)}


NEXT_TOKEN = learns("nll", "original", text="original")
ON_REWRITES = learns("nll", "rewrite", text="rewrite")
BY_TUNED = judged("quality", "safety") | TUNED_8B
NO_ROLLOUTS = {"train.rollouts": None}
TABLE_1 = EVERYWHERE | CONTINUED | NOT_REWRITTEN | {"train.batch.context_tokens": 1920}
ABLATION = EVERYWHERE | REDPAJAMA | {"train.batch.context_tokens": 1920}
TABLE_6, TABLE_2 = ABLATION | CONTINUED, ABLATION | SCRATCH
ONLINE_16 = learns("dpo", "rollout", samples=16)
WITH_ORIGINAL = learns("dpo", "original", "rollout", samples=16)

PUBLISHED: dict[str, Values] = {
    "paper-quality": TABLE_1 | SLIMPAJAMA | ONLINE_16 | judged("quality") | GPT_OSS,
    "paper-factuality": TABLE_1 | SLIMPAJAMA | ONLINE_16 | judged("quality", "factuality")
    | GPT_OSS,
    "paper-safety": TABLE_1 | REDPAJAMA | WITH_ORIGINAL | BY_TUNED,
    "paper-next-token": TABLE_1 | SLIMPAJAMA | NEXT_TOKEN | NO_ROLLOUTS,
    "ablations/next-token": TABLE_6 | NEXT_TOKEN,
    "ablations/sft-rewrite": TABLE_6 | ON_REWRITES,
    "ablations/sft-rollout-no-judge": TABLE_6 | learns("rf_nll", "rollout", samples=1)
    | {"train.rollouts.judge": None, "train.rollouts.prefer.0": "rollout"},
    "ablations/dpo-rewrite-1-no-judge": TABLE_6 | learns("dpo", "rewrite", "rollout", samples=1)
    | {"train.rollouts.judge": None, "train.rollouts.prefer.0": "rewrite",
       "train.rollouts.prefer.1": "rollout"},
    "ablations/rf-nll-rewrite-1": TABLE_6 | BY_TUNED
    | learns("rf_nll", "rewrite", "rollout", samples=1),
    "ablations/rf-nll-original-rewrite-1": TABLE_6 | BY_TUNED
    | learns("rf_nll", "original", "rewrite", "rollout", samples=1),
    "ablations/dpo-original-1": TABLE_6 | BY_TUNED
    | learns("dpo", "original", "rollout", samples=1),
    "ablations/dpo-rewrite-1": TABLE_6 | BY_TUNED | learns("dpo", "rewrite", "rollout", samples=1),
    "ablations/dpo-original-16": TABLE_6 | BY_TUNED | WITH_ORIGINAL,
    "ablations/dpo-original-rewrite-16": TABLE_6 | BY_TUNED
    | learns("dpo", "original", "rewrite", "rollout", samples=16),
    "ablations/dpo-original-pivot-16": TABLE_6 | BY_TUNED | WITH_ORIGINAL
    | {f"{POOL}.pools.schedule": "pivot"},
    "ablations/dpo-16": TABLE_6 | BY_TUNED | ONLINE_16,
    "ablations/scratch-next-token": TABLE_2 | NEXT_TOKEN,
    "ablations/scratch-sft-rewrite": TABLE_2 | ON_REWRITES,
    "ablations/scratch-rf-nll-original-rewrite": TABLE_2
    | learns("rf_nll", "original", "rewrite"),
    "ablations/scratch-rf-nll-rewrite-1": TABLE_2 | BY_TUNED
    | learns("rf_nll", "rewrite", "rollout", samples=1),
}  # fmt: skip

STANDS_IN: dict[str, tuple[Any, str]] = {
    f"{POOL} model": ("openai/gpt-oss-120b", "the tuned 8B judge is not published"),
    f"{POOL}.sampling.votes": (1, "GPT-OSS-120B stands in, whose votes are not published"),
    f"{POOL}.sampling.top_p": (1.0, "as the paper asks GPT-OSS-120B"),
    "train.batch.context_tokens": (1792, "leaves room for rewrites of more than 128 tokens"),
}
"""Published keys that may have another value, that value, and why."""

UNPUBLISHED_MODELS: Values = {
    "train.model.path": ("TinyLlama/TinyLlama_v1.1", "configs/policy-1.4b"),
    "rewrite model": ("meta-llama/Llama-3.1-8B-Instruct",),
}

OPEN: Values = {
    "judge.weights": {},
    "judge.pools.order": "balanced",
    "train.rollouts.judge.sampling.votes": 1,
    "objective.0.beta": 0.1,
    "objective.0.normalise": False,
    "objective.0.reference": "frozen",
    "train.optimizer.betas.0": 0.9,
    "train.optimizer.betas.1": 0.95,
    "train.optimizer.eps": 1e-8,
    "train.optimizer.weight_decay": 0.1,
    "train.optimizer.clip_grad": 1.0,
    "input.duplicates": "keep",
    "input.share.0": 0.0,
    "input.share.1": 0.9,
    "sampling.max_tokens": (1024, 512),
    "rewrite.sampling.max_tokens": None,  # as many as a chunk has: 128, as published
    "rewrite.sampling.temperature": 0.6,
    "rewrite.sampling.top_p": 0.6,
    "rewrite.template": "safety",
    "max_context_tokens": 1920,
    "judge.sampling.reasks": 1,
}
"""The end of a key that the paper does not tell → our value, or values. The most fitting end is
taken."""

OURS = (
    "input.paths", "input.text_field", "input.max_bad_rows", "input.max_record_bytes",
    "input.split_bytes", "output", "engines", "run", "chunking.tokenizer", "chunking.seed",
    "rewrite.engine", "rewrite.sampling.seed", "rewrite.length", "rewrite.templates",
    "rewrite.form", "rewrite.thoughts", "rewrite.input", "judge", "train.data",
    "train.output", "train.seed", "train.parallel",
    "train.task", "train.batch.sequence_tokens", "train.model.revision", "train.model.dtype",
    "train.alerts",
    "train.checkpoint", "train.non_finite", "train.optimizer.decay_steps", f"{PHASE}.name",
    f"{PHASE}.objective.0.weight", f"{PHASE}.filter", f"{PHASE}.learning_rate",
    f"{PHASE}.until", "train.rollouts.engine", "train.rollouts.sync_every",
    "train.rollouts.max_staleness", "train.rollouts.sleep", "train.rollouts.tolerance",
    "train.rollouts.timeout", "train.rollouts.dump_every", "train.rollouts.replay",
    "train.rollouts.probe", "train.rollouts.prefer", "train.rollouts.judge.engine",
    "train.rollouts.judge.input", "train.rollouts.judge.min_mass",
    "train.rollouts.judge.min_votes", "train.rollouts.judge.calibration",
    "train.rollouts.judge.sampling.seed", "train.rollouts.judge.pools.seed",
)  # fmt: skip
"""Beginnings of keys about places, hardware, seeds and speed, and what is not read; `judge` is that
of a set, which its own test looks at."""


def flat(value: Any, key: str = "") -> Values:
    """Dotted key → value; an item of a list has its number, an empty value stands for itself."""
    if not isinstance(value, dict | list):
        return {key.removeprefix("."): value}
    items: Any = value.items() if isinstance(value, dict) else enumerate(value)
    found = {k: v for name, one in items for k, v in flat(one, f"{key}.{name}").items()}
    return found or {key.removeprefix("."): value}


@cache
def recipe(name: str, *overrides: str) -> Values:
    """All that the commands read of a recipe, models by who uses them."""
    path = str(CONFIGS / f"{name}.yaml")
    made = load(RewriteRecipe, path, overrides)
    train = load(TrainRecipe, path, overrides)
    found = flat(made.model_dump(mode="json")) | flat(train.model_dump(mode="json"))
    rollouts = train.train.rollouts
    if made.rewrite:
        found["rewrite model"] = made.engines[made.rewrite.engine].model
    if rollouts and rollouts.judge:
        found[f"{POOL} model"] = made.engines[str(rollouts.judge.engine)].model
    return found


def open_value(key: str) -> tuple[bool, Any]:
    """Whether the paper leaves a key open, and what we have there."""
    ends = [end for end in OPEN if f".{key}".endswith(f".{end}")]
    return bool(ends), OPEN[max(ends, key=len)] if ends else None


def is_ours(key: str) -> bool:
    return any(f"{key}.".startswith(f"{one}.") for one in OURS)


def is_unused(key: str, published: Values) -> bool:
    """Whether it is of rollouts that a variant of the paper does not sample."""
    return key.startswith("train.rollouts") and "train.rollouts.samples" not in published


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_published_value_is_that_of_the_recipe(name: str) -> None:
    found = recipe(name)
    for key, value in PUBLISHED[name].items():
        ours = found[key]
        if ours != value:
            assert key in STANDS_IN and ours == STANDS_IN[key][0], f"{key}: {ours!r}, not {value!r}"


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_other_key_is_open_or_no_part_of_an_experiment(name: str) -> None:
    published = PUBLISHED[name]
    for key, value in recipe(name).items():
        if key in published or is_unused(key, published):
            continue
        if key in UNPUBLISHED_MODELS:
            assert value in UNPUBLISHED_MODELS[key], key
            continue
        is_open, ours = open_value(key)
        if is_open and not key.startswith("judge."):
            assert value in ours if isinstance(ours, tuple) else value == ours, key
        else:
            assert is_ours(key), f"{key} = {value!r}: published, standing in, open or ours?"


def test_what_stands_in_is_said() -> None:
    """No entry is left over: each is a difference of some recipe from the paper."""
    used = {
        key
        for name, values in PUBLISHED.items()
        for key, value in values.items()
        if recipe(name)[key] != value
    }
    assert used == STANDS_IN.keys()


def test_the_table_has_every_recipe_of_the_paper() -> None:
    shared = {"paper", "scratch", "evaluation"}
    files = {path.stem for path in CONFIGS.glob("paper-*.yaml")}
    files |= {f"ablations/{p.stem}" for p in CONFIGS.glob("ablations/*.yaml")} - {
        f"ablations/{name}" for name in shared
    }
    assert files == PUBLISHED.keys()


def test_the_set_of_the_ablations_is_judged_as_their_rollouts_are() -> None:
    """The from-scratch variant without rollouts learns from the scores of the set."""
    found = recipe("ablations/dpo-original-rewrite-16")
    for key in ("criteria.0", "criteria.1", "readout", "combine", "sampling.votes",
                "sampling.temperature", "sampling.top_p", "sampling.max_tokens"):  # fmt: skip
        assert found[f"judge.{key}"] == found[f"{POOL}.{key}"], key


@pytest.mark.parametrize("name", ["paper-safety", "ablations/dpo-original-16"])
def test_a_tuned_judge_is_a_line_in_the_head(name: str) -> None:
    lines = (CONFIGS / "paper-safety.yaml").read_text().splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("#   train.rollouts.judge.en"))
    engine = lines[at].removeprefix("#   ").removesuffix(" \\")
    sampling = lines[at + 1].strip('#" ')
    found = recipe(name, engine, sampling)
    for key in ("votes", "temperature", "top_p"):
        key = f"{POOL}.sampling.{key}"
        assert found[key] == PUBLISHED[name][key]
    assert found[f"{POOL} model"] == "meta-llama/Llama-3.1-8B-Instruct"


def test_the_page_lists_what_is_open_and_what_stands_in() -> None:
    page = PAGE.read_text()
    for words in (
        "`judge.weights`", "`judge.pools.order`", "`judge.sampling.votes`", "beta: …",
        "`reference`", "`normalise`", "`train.optimizer`", "`input.duplicates`", "`input.share`",
        "`judge.sampling.max_tokens`", "TinyLlama", "1,792", "983,520", "257,154",
    ):  # fmt: skip
        assert words in page, words


def test_from_scratch_says_that_it_is_another_experiment() -> None:
    head = (CONFIGS / "from-scratch.yaml").read_text().splitlines()[1]
    assert head.startswith("# Not an experiment of ")


def cost(questions: int, alone: int, rollouts: int) -> tuple[float, float]:
    """GPU-hours of a run and of its judge by the arithmetic of docs/plan.md. questions: about the
    pairs of a pool; alone: about single texts.
    """
    page = (CONFIGS.parent / "docs/plan.md").read_text()
    names: Values = {}
    exec(page.partition("```python\nFLOPS")[2].partition("```")[0].join(["FLOPS", ""]), names)
    hours, pools, context = (names[name] for name in ("hours", "pools", "context"))
    judge = hours("120b", questions * pools, 260 + context / questions, 300)
    judge += hours("120b", alone * pools, 300, 300)
    sampled = hours("policy", rollouts * pools, context / rollouts, 128)
    return judge + sampled + names["found"]["train"], judge


@pytest.mark.parametrize(
    ("name", "questions", "alone"),
    [("quality", 128, 0), ("factuality", 128, 16), ("safety", 136, 17)],
)
def test_a_head_has_the_cost_of_its_run(name: str, questions: int, alone: int) -> None:
    head = (CONFIGS / f"paper-{name}.yaml").read_text().partition("\ninput:")[0]
    told = head.replace("\n#", "").replace(",", "")
    found = re.search(r"and (\d+) GPU-hours for the run (\d+) of them the judge's", told)
    assert found
    for said, expected in zip(found.groups(), cost(questions, alone, 16), strict=True):
        assert float(said) == pytest.approx(expected, rel=0.01)


def test_the_other_rows_of_the_paper_are_lines_that_a_recipe_takes() -> None:
    """The table of override lines: 1 to 16 rollouts, with and without the rewrite."""
    row = r"^\| .* \| (`[^|]*`) \| `(train\.[^`|]*)` \|$"
    rows = re.findall(row, PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 3
    for names, line in rows:
        for name in re.findall(r"`([^`]+)`", names):
            found = recipe(name, *shlex.split(line))
            assert found["train.rollouts.samples"] < 16
            assert found["train.output"] != recipe(name)["train.output"]
    pivot = f"{POOL}.pools.schedule=pivot"
    both = recipe("paper-quality", pivot, f"{PHASE}.candidates=[original, rollout]")
    assert both[f"{POOL}.pools.schedule"] == "pivot"
