"""A small set of real text, rewritten by an instant pass, for what reads sets."""

from pathlib import Path

import pytest

from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.run import run_pass
from prewrite.rewrite.config import RewriteRecipe
from prewrite.rewrite.passes import RewritePass
from tests.pipeline.fake import TOKENIZER, InstantPass


@pytest.fixture(scope="session")
def rewritten(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sample corpus in chunks of 64 tokens; a rewrite is its original in capitals."""
    url = str(tmp_path_factory.mktemp("report") / "set")
    paths = tuple(str(path) for path in sorted(Path("configs/sample").glob("*.jsonl")))
    run_pass(InstantPass(paths, tokens=64), url, RunConfig())
    return url


@pytest.fixture(scope="session")
def cut(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sample corpus in chunks of 64 tokens that nobody rewrote."""
    url = str(tmp_path_factory.mktemp("cut") / "set")
    recipe = {
        "input": {"paths": ["configs/sample/*.jsonl"]},
        "output": url,
        "chunking": {"tokenizer": TOKENIZER, "tokens": 64},
        "rewrite": None,
    }
    run_pass(RewritePass(RewriteRecipe.model_validate(recipe)), url, RunConfig(rows_per_part=40))
    return url
