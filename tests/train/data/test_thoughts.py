"""Texts with thoughts are learnt like any other: every token, markers too, of the half that is
named.
"""

from pathlib import Path

import numpy as np
import pytest

from prewrite.base.share import share
from prewrite.prompts.thoughts import CLOSE, OPEN, insert, sentences
from prewrite.train.config.sections import TrainConfig
from prewrite.train.data.loader import Loader
from prewrite.train.objectives import Loss
from tests.train.data.sets import BOS, EOS, config, ids, tokenizer, write_set

DOCUMENTS = 16
HALF = {n for n in range(DOCUMENTS) if share(str(n)) < 0.5}


def original(document: int) -> str:
    return f"Ship {document} is late. It will come at noon. Then it goes on."


def augmented(document: int) -> str:
    thought = f"What keeps ship {document}? Wind, I suppose."
    return insert(sentences(original(document)), {1: thought, 2: "And after it?"})


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    rows = [[{"original": original(n), "rewrite": augmented(n)}] for n in range(DOCUMENTS)]
    url = write_set(tmp_path_factory.mktemp("thoughts") / "set", [rows], criteria=())
    phase = {
        "name": "sft",
        "objective": {"kind": "nll", "text": "rewrite"},
        "filter": "share(doc_id) < 0.5",
        "until": {"step": 4},
    }
    batch = {"samples": 2, "sequence_tokens": 256, "max_seq_len": 128, "context_tokens": 0}
    return config(url, batch=batch, curriculum=[phase])


def test_every_token_of_one_half_is_learnt(recipe: TrainConfig, tmp_path: Path) -> None:
    assert 0 < len(HALF) < DOCUMENTS
    phase = recipe.curriculum[0]
    wanted = {(*ids(augmented(n)), EOS) for n in HALF}
    seen = set[tuple[int, ...]]()
    with Loader(recipe, tokenizer(), BOS, EOS, str(tmp_path / "cache")) as made:
        for step in range(2 * DOCUMENTS):
            for row in made.batch(step, phase).rows:
                candidates = row.candidates
                assert set(candidates.kind_C.tolist()) <= {1}
                labels_T = row.labels_S.flatten()[row.at_T].numpy()
                of_T = candidates.candidate_T.numpy()
                seen |= {tuple(labels_T[of_T == one].tolist()) for one in np.unique(of_T)}
                assert int(Loss(phase.objective).counts(candidates)[0]) == len(labels_T)
    assert seen == wanted
    text = tokenizer().decode(min(seen))
    assert text.count(OPEN) == text.count(CLOSE) == 2
