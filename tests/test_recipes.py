"""The recipes for real work: each is accepted by every command that it is for, as it stands.

The models it names stand in a cache of the Hugging Face hub as look-alikes: their shape is real
where it matters (the policy's, which is 1.4B), their tokenizer is a part of the quick-start
model's, and their weights are a header and a hole. The corpora are small and in their published
form. Nothing is replaced in a recipe.
"""

import json
import os
import shutil
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import pytest
import yaml

from prewrite.base.config import laid_over, load
from prewrite.base.share import share
from prewrite.judge.provenance import NAME
from prewrite.prompts.thoughts import insert
from prewrite.shards.schema import Row
from prewrite.train.config.recipe import TrainRecipe
from prewrite.train.model.shape import load_shape
from prewrite.train.model.weights import sizes
from prewrite.train.names import RECORD
from prewrite.train.owned import FORMAT
from tests.rewrite import published
from tests.shards.making import row, write_set
from tests.train.small import make_set

ROOT = Path(__file__).parents[1]
QUICKSTART = ROOT / "models/smollm2-135m-instruct"
RECIPES = sorted(path.name for path in (ROOT / "configs").glob("*.yaml"))
ROUNDS = "improve.yaml"
"""Tried in tests/evaluation/improve: its commands read several recipes."""
REAL = [name for name in RECIPES if name not in ("quickstart.yaml", ROUNDS)]
PAPER = [name for name in REAL if name.startswith(("paper-", "from-scratch"))]
TEACH = [name for name in REAL if name.startswith("train-")]
"""Those that learn from sets and a judge that other commands have made."""
START, ACCEPTED = "train-rewriter-start.yaml", "data/improve"
"""Learns accepted rewrites of a set of the rounds, without rollouts."""
AUGMENT, THOUGHTS = "thinking.yaml", "data/thinking"
"""Makes a set and learns it, and leaves what is measured to others."""
MODELS = (
    "TinyLlama/TinyLlama_v1.1",
    "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Meta-Llama-3-8B",
    "meta-llama/Llama-3.3-70B-Instruct",
    "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "mistralai/Mistral-Nemo-Instruct-2407",
)
TOKENS = 32_000
HELD_OUT = ("ordinary", "unsafe")
MAKE_A_SET, LEARN = ("rewrite", "judge"), ("train", "evaluate")


def whole(name: str) -> dict[str, Any]:
    """A recipe with those that it is based on."""
    below: dict[str, Any] = yaml.safe_load((ROOT / "configs" / name).read_text())
    return laid_over(whole(below.pop("base")), below) if "base" in below else below


# The others end with the scored set; a set that is only cut has no judge.
TRIED = [
    (name, it)
    for name in REAL
    for it in MAKE_A_SET
    + (LEARN if name in PAPER else LEARN[:1] if name in (*TEACH, AUGMENT) else ())
    if it != "judge" or whole(name).get("judge")
    if it == "train" or name != START
]

# One process for all commands: what they import takes longer than what they do.
_SCRIPT = """
import contextlib, io, json, sys
from prewrite.commands import main
told = {}
for name, command, arguments in json.loads(sys.argv[1]):
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = main([command, *arguments])
    told[f"{name} {command}"] = [code, out.getvalue(), errors.getvalue()]
print(json.dumps(told))
"""


def in_hub(hub: Path, name: str) -> None:
    """A look-alike of a model in the hub's cache."""
    folder = hub / f"models--{name.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs/main").write_text("0" * 40)
    positions = 131_072 if name.startswith("meta-llama/") else 2048
    look_alike(folder / "snapshots" / ("0" * 40), positions)


def look_alike(folder: Path, positions: int) -> None:
    """A shape of TinyLlama's kind, a tokenizer, weights of zeros."""
    tokenizer_of_the_quick_start(folder)
    shape = json.loads((ROOT / "configs/policy-1.4b/config.json").read_text())
    shape |= {"num_hidden_layers": 22, "num_key_value_heads": 4, "num_attention_heads": 32}
    shape["max_position_embeddings"] = positions
    (folder / "config.json").write_text(json.dumps(shape))
    shutil.copy(QUICKSTART / "chat_template.jinja", folder)
    no_weights(folder)


def no_weights(folder: Path) -> None:
    """A safetensors file with all tensors of the model in `folder`, which takes no room."""
    header: dict[str, Any] = {}
    end = 0
    for name, size in sizes(load_shape(str(folder))).items():
        begin, end = end, end + 2 * prod(size)
        header[name] = {"dtype": "BF16", "shape": size, "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)


def tokenizer_of_the_quick_start(folder: Path) -> None:
    """Its first tokens, as many as the models of the recipes have embeddings."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in QUICKSTART.glob("*token*"):
        shutil.copy(file, folder)
    whole = json.loads((QUICKSTART / "tokenizer.json").read_text())
    model = whole["model"]
    known = {token: number for token, number in model["vocab"].items() if number < TOKENS}
    pairs = (merge.split(" ") if isinstance(merge, str) else merge for merge in model["merges"])
    model["merges"] = [[a, b] for a, b in pairs if {a, b, a + b} <= known.keys()]
    model["vocab"] = known
    (folder / "tokenizer.json").write_text(json.dumps(whole))


def what_teaches(root: Path) -> None:
    """The sets and models that the recipes of `TEACH` begin with: cut and labelled, spoiled, with
    thoughts; documents of each split.
    """
    docs = [f"d{number}" for number in range(9999)]
    low = [doc for doc in docs if share(doc) < 0.945][:8]
    high = [doc for doc in docs if share(doc) >= 0.995][:8]
    bare = [_labelled(doc, n) for n, doc in enumerate(low + high)]
    for output in {whole(name)["output"] for name in TEACH} - {THOUGHTS}:
        write_set(str(root / output), bare, criteria=["safety"], rewrites=None)
    write_set(str(root / THOUGHTS), [_with_thoughts(doc) for doc in low + high])
    spoiled = [_spoiled(doc) for doc in low + high]
    for name in ("train-judge-pairs", "train-judge-left-out"):
        write_set(str(root / f"data/{name}"), spoiled, criteria=["quality"])
    accepted = [[row(doc) | (_SAFE if n % 2 else _MENDED)] for n, doc in enumerate(low)]
    write_set(str(root / ACCEPTED), accepted, criteria=["quality", "safety"])
    for run, task in {"judge": "judge", "thinking": "continue", "policy": "continue"}.items():
        model = root / f"runs/{run}/model"
        look_alike(model, positions=131_072)
        (model / NAME).write_text(json.dumps({"task": task}))
        (model.parent / RECORD).write_text(json.dumps({"format": FORMAT}))


_SAFE = {"rewrite_status": "copied", "original_safety": 1.0}
_MENDED = {"original_safety": 0.0, "original_score": 0.0, "rewrite_score": 1.0}


def _labelled(doc: str, number: int) -> list[Row]:
    """Two chunks of which the first is context; verdicts on the other."""
    first, second = (row(doc, chunk, 2) | {"rewrite": None} for chunk in range(2))
    first |= {"rewrite_status": "skipped"}
    return [first, second | {"rewrite_status": "none", "original_safety": float(number % 2)}]


def _with_thoughts(doc: str) -> list[Row]:
    found = row(doc, 0, 1)
    pieces = found["original"].partition(" ")
    return [found | {"rewrite": insert(pieces, {1: "Why?"})}]


def _spoiled(doc: str) -> list[Row]:
    first, second = (row(doc, chunk, 2) for chunk in range(2))
    first |= {"rewrite": None, "rewrite_status": "skipped"}
    return [first, second | {"original_quality": 1.0, "rewrite_quality": 0.0}]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str, str]]:
    """`RECIPE COMMAND` → exit code, output and errors of its dry run."""
    root = tmp_path_factory.mktemp("recipes")
    shutil.copytree(ROOT / "configs", root / "configs")
    tokenizer_of_the_quick_start(root / "configs/policy-1.4b")
    published.slimpajama(root / "corpus/slimpajama")
    published.redpajama_v2(root / "corpus/redpajama-v2")
    published.fineweb_edu(root / "corpus/fineweb-edu")
    for corpus in ("cc-high", "dclm", "finemath"):
        published.plain(root / "corpus" / corpus)
    for name in MODELS:
        in_hub(root / "hub", name)
    for kind in HELD_OUT:
        make_set(root / f"data/held-out-{kind}", seed=1)
    calls = []
    what_teaches(root)
    others = [whole(name) for name in REAL if name not in TEACH]
    for output, rewritten in {(one["output"], bool(one.get("rewrite"))) for one in others}:
        if output == THOUGHTS:
            continue
        make_set(root / output, bare=not rewritten)
    for name, command in TRIED:
        arguments = ["--config", f"configs/{name}", "--dry-run"]
        if command == "judge":
            arguments += [f"judge.input=data/{name.removesuffix('.yaml')}", "output=data/again"]
        calls.append([name, command, arguments])
    environment = {"HF_HUB_CACHE": str(root / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, json.dumps(calls)],
        cwd=root,
        env={**os.environ, **environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(("name", "command"), TRIED)
def test_a_dry_run_accepts_it(
    told: dict[str, tuple[int, str, str]], name: str, command: str
) -> None:
    code, out, errors = told[f"{name} {command}"]
    assert code == 0, errors
    assert yaml.safe_load(out[: out.rindex("\n\n")] if "\n\n" in out else out)


@pytest.mark.parametrize("name", [*REAL, ROUNDS])
def test_what_a_recipe_costs_stands_above_it(name: str) -> None:
    head = (ROOT / "configs" / name).read_text().partition("\ninput:")[0]
    assert "# Hardware: " in head and "# Expected cost" in head


def test_a_recipe_without_training_says_so() -> None:
    """What `LEARN` is not tried with has no section for it."""
    for name in set(REAL) - {*PAPER, *TEACH, AUGMENT}:
        recipe = yaml.safe_load((ROOT / "configs" / name).read_text())
        assert recipe.keys().isdisjoint(LEARN)


@pytest.mark.parametrize("name", [name for name in TEACH if name != START])
def test_a_recipe_that_teaches_has_a_task_and_what_it_earns_by(name: str) -> None:
    train = load(TrainRecipe, str(ROOT / "configs" / name)).train
    assert train.prompted and train.rollouts and train.rollouts.probe
    assert [phase.objective[0].kind for phase in train.curriculum] == ["grpo"]


def test_hyper_parameters_are_those_of_the_paper(told: dict[str, tuple[int, str, str]]) -> None:
    """arXiv 2601.21343, continued training and training from scratch."""
    for name in PAPER:
        recipe = whole(name)
        train, scratch = recipe["train"], name == "from-scratch.yaml"
        assert train["batch"]["samples"] == 256
        assert train["curriculum"][-1]["until"]["step"] == (21_000 if scratch else 2_000)
        if train["rollouts"]:
            assert train["rollouts"]["samples"] == (1 if scratch else 16)
        assert (recipe["chunking"]["tokens"], recipe["chunking"]["cuts"]) == (128, "one")
        assert f"steps 1 to {train['curriculum'][0]['until']['step']}" in told[f"{name} train"][1]


def test_the_shape_from_scratch_is_that_of_the_paper(
    told: dict[str, tuple[int, str, str]],
) -> None:
    """1.4B parameters, Llama 2."""
    out = told["from-scratch.yaml train"][1]
    (line,) = [line for line in out.splitlines() if line.startswith("model ")]
    assert round(int(line.split()[2].replace(",", "")) / 1e9, 1) == 1.4, line
