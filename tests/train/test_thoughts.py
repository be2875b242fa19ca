"""What learns a corpus with thoughts thinks by itself, on documents that it has not seen."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from prewrite.base.share import share
from prewrite.prompts.thoughts import CLOSE, OPEN, insert, sentences
from tests.train.data.sets import write_set
from tests.train.small import done, make_model, metrics, settings

pytestmark = pytest.mark.slow

ANIMALS = (
    "fox",
    "crow",
    "hare",
    "mole",
    "toad",
    "wolf",
    "bear",
    "goat",
    "pig",
    "cow",
    "hen",
    "cat",
)
PLACES = ("hill", "barn", "pond", "wood")
TEXTS = [(animal, place) for animal in ANIMALS for place in PLACES]
HELD_OUT = [one for number, one in enumerate(TEXTS) if share(str(number)) >= 0.5][:8]


def text(animal: str, place: str) -> str:
    return f"The {animal} runs to the {place}. It stays there."


def test_it_opens_a_thought_and_closes_it(tmp_path: Path) -> None:
    rows = [
        [{"original": text(*one), "rewrite": insert(sentences(text(*one)), {1: "I see. Why?"})}]
        for one in TEXTS
    ]
    write_set(tmp_path / "set", [rows], criteria=())
    make_model(tmp_path / "model")
    phase = {
        "name": "sft",
        "objective": {"kind": "nll", "text": "rewrite"},
        "filter": "share(doc_id) < 0.5",
        "until": {"step": 30},
    }
    batch = {"samples": 24, "sequence_tokens": 512, "max_seq_len": 64, "context_tokens": 0}
    optimizer = {"lr": 2e-2, "min_lr": 2e-3, "warmup_steps": 2}
    changes: dict[str, Any] = {"batch": batch, "optimizer": optimizer, "checkpoint": {"every": 30}}
    output = done(settings(tmp_path, curriculum=[phase], **changes))
    steps = metrics(output)
    assert steps[-1]["loss/nll_rewrite"] < steps[0]["loss/nll_rewrite"] / 2
    tokenizer = AutoTokenizer.from_pretrained(output / "model")
    for folder, thinks in ((output / "model", True), (tmp_path / "model", False)):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        told = [_continued(model, tokenizer, one) for one in HELD_OUT]
        thoughts = [OPEN in one and CLOSE in one.partition(OPEN)[2] for one in told]
        assert sum(thoughts) > len(thoughts) / 2 if thinks else not any(thoughts)


def _continued(model: AutoModelForCausalLM, tokenizer: AutoTokenizer, one: tuple[str, str]) -> str:
    """The greedy continuation of the first sentence."""
    before = [1, *tokenizer(sentences(text(*one))[0], add_special_tokens=False).input_ids]
    with torch.no_grad():
        found = model.generate(torch.tensor([before]), max_new_tokens=24, do_sample=False)
    return str(tokenizer.decode(found[0, len(before) :]))
