"""What a rewrite pass depends on, and what it does not."""

import shutil
from pathlib import Path

import pytest

from base.config import load
from base.fingerprint import differences
from rewrite.config import RewriteRecipe
from rewrite.passes import RewritePass


def config_of(folder: Path, *overrides: str) -> dict[str, object]:
    paths = f"input.paths=['{folder}/*.jsonl']"
    return RewritePass(load(RewriteRecipe, "configs/quickstart.yaml", [paths, *overrides])).config()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    shutil.copytree("configs/sample", tmp_path / "corpus")
    return tmp_path / "corpus"


def test_a_corpus_may_move(corpus: Path, tmp_path: Path) -> None:
    before = config_of(corpus)
    corpus.rename(tmp_path / "elsewhere")
    assert config_of(tmp_path / "elsewhere") == before


@pytest.mark.parametrize(
    "override",
    [
        "run.workers=8",
        "run.max_failed=0.5",
        "engines.main.concurrency=4",
        "engines.main.args={kv_cache_memory_bytes: 1000000}",
        "input.max_bad_rows=0.5",
        "judge=null",
        "output=elsewhere",
    ],
)
def test_what_changes_no_row_may_change(corpus: Path, override: str) -> None:
    assert config_of(corpus, override) == config_of(corpus)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("engines.main.args={quantization: fp8}", "engine.args.quantization"),
        ("engines.main.dtype=float16", "engine.dtype"),
        ("rewrite.template=safety", "template"),
        ("rewrite.sampling.top_p=0.7", "rewrite.sampling.top_p"),
        ("chunking.tokens=64", "chunking.tokens"),
        ("input.limit=2", "input.limit"),
    ],
)
def test_what_changes_rows_is_named(corpus: Path, override: str, key: str) -> None:
    lines = differences(config_of(corpus), config_of(corpus, override))
    assert any(line.startswith(f"{key}: ") for line in lines), lines


def test_a_longer_input_file_is_another_input(corpus: Path) -> None:
    before = config_of(corpus)
    with open(corpus / "c4.jsonl", "a") as stream:
        stream.write('{"text": "more"}\n')
    assert "input.listing" in differences(before, config_of(corpus))[0]
