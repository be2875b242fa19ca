"""A real run on a set of several templates, against references that the real command stored."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.train.data.sets import write_set
from tests.train.small import Command, curve, done, make_model, settings

pytestmark = pytest.mark.slow

THREE = ["original", "rewrite", "rewrite_b"]


def test_stored_references_of_all_texts_train_as_frozen_ones(tmp_path: Path) -> None:
    make_model(tmp_path / "model")
    draw = np.random.default_rng(0)
    rows = [
        [
            {text: f" {text} of {document}, the {chunk}th" for text in THREE}
            | {f"{text}_score": float(draw.random()) for text in THREE}
            for chunk in range(4)
        ]
        for document in range(16)
    ]
    write_set(tmp_path / "set", [rows], tokens=16, rewrites=("a", "b"))
    train = settings(tmp_path)
    train["curriculum"][1] |= {"candidates": THREE}
    frozen = curve(done(train))
    train["curriculum"][1]["objective"][0] = {"kind": "dpo", "reference": "stored"}
    train["output"] = str(tmp_path / "stored")
    kept = Command(train, "reference")
    assert kept.end() == 0, kept.text
    (folder,) = (tmp_path / "set/_references").iterdir()
    table = pq.read_table(folder / "00000-00000.pq")
    assert set(table["kind"].to_pylist()) == set(THREE)
    assert curve(done(train)) == pytest.approx(frozen, rel=1e-5)
