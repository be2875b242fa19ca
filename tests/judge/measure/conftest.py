"""A small set of real text, rewritten by an instant pass, for what reads sets."""

from pathlib import Path

import pytest

from prewrite.pipeline.config import RunConfig
from prewrite.pipeline.run import run_pass
from tests.pipeline.fake import InstantPass


@pytest.fixture(scope="session")
def rewritten(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The sample corpus in chunks of 64 tokens; a rewrite is its original in capitals."""
    url = str(tmp_path_factory.mktemp("report") / "set")
    paths = tuple(str(path) for path in sorted(Path("configs/sample").glob("*.jsonl")))
    run_pass(InstantPass(paths, tokens=64), url, RunConfig())
    return url
