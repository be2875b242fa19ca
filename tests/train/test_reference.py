"""Stored references train as frozen ones do, and nothing stale is read."""

import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.train.small import Command, curve, done, make_model, settings

pytestmark = pytest.mark.slow

PARTS = ["00000-00000.pq", "00001-00000.pq"]


def test_stored_references_train_as_frozen_ones(
    whole: Command, small: Path, tmp_path: Path
) -> None:
    shutil.copytree(small / "set", tmp_path / "set")
    train = settings(small, str(tmp_path / "run"), data=[{"set": str(tmp_path / "set")}])
    train["curriculum"][1]["objective"][0] = {"kind": "dpo", "reference": "stored"}
    _says(train, 1, "run `prewrite train reference` with this configuration first")
    kept = Command(train, "reference", ranks=2)
    assert kept.end() == 0, kept.text
    (folder,) = (tmp_path / "set/_references").iterdir()
    assert sorted(os.listdir(folder)) == [*PARTS, "manifest.json"]
    assert all(kept.text.count(part) == 1 for part in PARTS)

    # One that is damaged is made again; another layout computes the same.
    first = pq.read_table(folder / PARTS[1]).to_pydict()
    damaged = bytearray((folder / PARTS[1]).read_bytes())
    values = pq.read_metadata(folder / PARTS[1]).row_group(0).column(2)
    damaged[values.data_page_offset + values.total_compressed_size - 4] ^= 4
    (folder / PARTS[1]).write_bytes(damaged)
    _says(train, 1, f"{PARTS[1]}: not there, damaged, or of another part or model; run `prewrite")
    again = Command(train | {"parallel": {"pp": 2}}, "reference", ranks=2)
    assert again.end() == 0 and again.text == f"reference: {folder}/{PARTS[1]}\n"
    second = pq.read_table(folder / PARTS[1]).to_pydict()
    assert second.pop("log_prob") == pytest.approx(first.pop("log_prob"), rel=1e-5)
    assert second == first

    assert curve(done(train)) == pytest.approx(curve(whole.output), rel=1e-5)

    other = train | {"output": str(tmp_path / "other")}
    window = other | {"batch": other["batch"] | {"max_seq_len": 48}}
    _says(window, 1, "run `prewrite train reference`")
    make_model(tmp_path / "model", initializer_range=0.1)
    model = other | {"model": {"path": str(tmp_path / "model")}}
    _says(model, 1, "run `prewrite train reference`")


def _says(train: dict[str, Any], code: int, part: str) -> None:
    command = Command(train)
    assert command.end() == code, command.text
    assert part in command.text and "Traceback" not in command.text, command.text
