"""What a rewrite pass depends on, and what it does not."""

import shutil
from pathlib import Path

import pytest

from prewrite.base.config import load
from prewrite.base.errors import ConfigError
from prewrite.base.fingerprint import differences
from prewrite.judge.config import JudgeRecipe
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.passes import RewritePass


def identity_of(folder: Path, *overrides: str) -> dict[str, object]:
    paths = f"input.paths=['{folder}/*.jsonl']"
    return RewritePass(
        load(RewriteRecipe, "configs/quickstart.yaml", [paths, *overrides])
    ).identity()


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    shutil.copytree("configs/sample", tmp_path / "corpus")
    return tmp_path / "corpus"


def test_a_corpus_may_move(corpus: Path, tmp_path: Path) -> None:
    before = identity_of(corpus)
    corpus.rename(tmp_path / "elsewhere")
    assert identity_of(tmp_path / "elsewhere") == before


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
    assert identity_of(corpus, override) == identity_of(corpus)


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("engines.main.args={quantization: fp8}", "engine.args.quantization"),
        ("engines.main.dtype=float16", "engine.dtype"),
        ("rewrite.template=safety", "template"),
        ("rewrite.sampling.top_p=0.7", "rewrite.sampling.top_p"),
        ("chunking.tokens=64", "chunking.tokens"),
        ("input.limit=2", "input.limit"),
        ("input.share=[0, 0.9]", "input.share"),
        ("chunking.exact=true", "chunking.exact"),
    ],
)
def test_what_changes_rows_is_named(corpus: Path, override: str, key: str) -> None:
    lines = differences(identity_of(corpus), identity_of(corpus, override))
    assert any(line.startswith(f"{key}: ") for line in lines), lines


def test_keys_that_came_later_leave_older_sets_their_fingerprint(corpus: Path) -> None:
    found = RewritePass(
        load(RewriteRecipe, "configs/quickstart.yaml", [f"input.paths=['{corpus}/*.jsonl']"])
    ).identity()
    assert "share" not in found["input"] and "exact" not in found["chunking"]


def test_a_longer_input_file_is_another_input(corpus: Path) -> None:
    before = identity_of(corpus)
    with open(corpus / "c4.jsonl", "a") as stream:
        stream.write('{"text": "more"}\n')
    assert "input.listing" in differences(before, identity_of(corpus))[0]


@pytest.mark.parametrize(
    ("pattern", "output", "refused"),
    [
        ("corpus", "corpus/out", True),
        ("corpus/", "corpus", True),
        ("link", "corpus/a/b", True),
        ("corpus", "link/out", True),
        ("corpus/**/*.jsonl", "corpus/out", True),
        ("link/**", "corpus/out", True),
        ("corpus/*/*/*.parquet", "corpus/out", True),
        ("corpus/*/*.parquet", "corpus/out", False),
        ("corpus/*/*/*.json", "corpus/out", True),
        ("corpus/out/_prewrite/commits/*.json", "corpus/out", True),
        ("c*/[ao]ut/*/*.jsonl", "corpus/out", True),
        ("c*/[ao]ut/*.jsonl", "corpus/out", False),
        ("corpus/*.jsonl", "corpus/out", False),
        ("corpus/**/*.jsonl.gz", "corpus/out", False),
        ("corpus/c4.jsonl", "corpus/out", False),
        ("corpus", "corpus-2", False),
        ("memory://corpus/**", "corpus/out", False),
    ],
)
def test_an_output_that_the_next_start_would_read_is_refused(
    corpus: Path, tmp_path: Path, pattern: str, output: str, refused: bool
) -> None:
    (tmp_path / "link").symlink_to(corpus)
    there = pattern if "://" in pattern else f"{tmp_path}/{pattern}"
    given = [f"input.paths=['{there}']", f"output={tmp_path}/{output}"]
    before = sorted(tmp_path.rglob("*"))
    if refused:
        with pytest.raises(ConfigError, match="whose files input.paths would read as corpus: '"):
            load(RewriteRecipe, "configs/quickstart.yaml", given)
    else:
        load(RewriteRecipe, "configs/quickstart.yaml", given)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_output_in_the_judged_set_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set/_rewrites").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "set")
    for output in ("set", "link", "set/more", "link/_judgements", "x/../set"):
        given = [f"judge.input={tmp_path}/set", f"output={tmp_path}/{output}"]
        with pytest.raises(ConfigError, match="which is or lies in judge.input; accepted: another"):
            load(JudgeRecipe, "configs/quickstart.yaml", given)
    given = [f"judge.input={tmp_path}/set/_rewrites", f"output={tmp_path}/set"]
    load(JudgeRecipe, "configs/quickstart.yaml", given)
